import type { KnowledgeDocument } from '../db.ts';
import { notFound } from '../errors.ts';
import { fromId, toId } from '../id.ts';
import { addDocument, deleteDocument, updateDocument } from '../knowledge/document.ts';
import { type KnowledgePassage, searchKnowledge } from '../knowledge/search.ts';
import { type GraphContext, requireScope } from './context.ts';
import type { Graph } from './graph.ts';
import { projectOf, readableProject, within, writableProject } from './narrow.ts';
import { connection, pageArgs, readPage, toPage } from './page.ts';
import { resultUnion } from './result.ts';

/** One document of the caller's projects, or null; for a client token that is narrowed to a project, of that one only. */
export async function findDocument(context: GraphContext, id: string): Promise<KnowledgeDocument | null> {
  const uuid = fromId('KnowledgeDocument', id);
  if (!uuid) return null;
  return context.core.db.prisma.knowledgeDocument.findFirst({
    where: { id: uuid, version: { gt: 0 }, ...within(context) },
  });
}

/** KnowledgeDocument, KnowledgePassage, `knowledgeDocuments`, `searchKnowledge`, `addKnowledgeDocument`, `update…`, `delete…`. */
export function addKnowledge(graph: Graph): void {
  const Document = addDocumentType(graph);
  addQueries(graph, Document);
  addMutations(graph, Document);
}

function addDocumentType({ builder, Node }: Graph) {
  return builder.prismaObject('KnowledgeDocument', {
    description: 'A text that searches and pipelines of its project find passages of.',
    interfaces: [Node],
    fields: (t) => ({
      id: t.id({ description: 'Id of the document.', resolve: ({ id }) => toId('KnowledgeDocument', id) }),
      title: t.exposeString('title', { description: 'Searches find its words in every passage.' }),
      category: t.exposeString('category', {
        nullable: true,
        description: 'For searches of one category; null: none.',
      }),
      tags: t.exposeStringList('tags', { description: 'For searches of what has all of some tags.' }),
      weight: t.exposeFloat('weight', {
        description: 'What the score of each passage is multiplied by, 0 to 10; 0: searches do not find it.',
      }),
      contentType: t.exposeString('contentType', { description: 'What its text was read from, as "text/markdown".' }),
      sizeBytes: t.expose('sizeBytes', { type: 'SafeInt', description: 'Of what its text was read from, in bytes.' }),
      passageCount: t.exposeInt('passageCount', {
        description: 'Into how many passages of up to 800 characters its text was cut.',
      }),
      createdAt: t.expose('createdAt', { type: 'DateTime', description: 'When it was added.' }),
      updatedAt: t.expose('updatedAt', { type: 'DateTime', description: 'When it was last changed.' }),
    }),
  });
}

type DocumentType = ReturnType<typeof addDocumentType>;

function addQueries(graph: Graph, Document: DocumentType): void {
  const { builder } = graph;
  const Passage = builder.objectRef<KnowledgePassage>('KnowledgePassage').implement({
    description:
      'A piece of a document that a search found. score = weight × (0.35 × fullTextScore + 0.15 × trigramScore + 0.5 × semanticScore).',
    fields: (t) => ({
      document: t.field({ type: Document, description: 'What it is a piece of.', resolve: ({ document }) => document }),
      text: t.exposeString('text', { description: 'At most 800 characters.' }),
      score: t.exposeFloat('score', { description: 'What the passages are ordered by, 0 to 10.' }),
      fullTextScore: t.exposeFloat('fullTextScore', {
        description: "The share of the query's words that it or its title has, in any form of the word, 0 to 1.",
      }),
      trigramScore: t.exposeFloat('trigramScore', {
        description: 'How similar its words are to those of the query in spelling, 0 to 1.',
      }),
      semanticScore: t.exposeFloat('semanticScore', {
        description:
          'How near it is in meaning, 0 to 1; 0 until it is embedded, which begins when a document is added.',
      }),
      weight: t.exposeFloat('weight', { description: "The document's weight, 0 to 10." }),
    }),
  });
  const Connection = connection<KnowledgeDocument>(
    graph,
    'KnowledgeDocument',
    'KnowledgeDocument',
    Document,
    'Documents, newest first.',
  );
  builder.queryFields((t) => ({
    knowledgeDocuments: t.field({
      type: Connection,
      description: 'The documents of a project, newest first. Scope tasks:read.',
      args: { projectId: t.arg.id({ required: true, description: 'Of which project.' }), ...pageArgs(builder, 20) },
      resolve: async (_root, { projectId, ...args }, context) => {
        requireScope(context, 'tasks:read');
        const page = readPage('KnowledgeDocument', args, 20);
        const scope = await readableProject(context, projectId);
        if (!scope) return toPage([], page);
        const rows = await context.core.db.prisma.knowledgeDocument.findMany({
          where: { projectId: scope.projectId, version: { gt: 0 }, ...(page.after && { id: { lt: page.after } }) },
          orderBy: { id: 'desc' },
          take: page.take,
        });
        return toPage(rows, page);
      },
    }),
    searchKnowledge: t.field({
      type: [Passage],
      description:
        "The passages of a project's documents that say most about a query, the best first: by words, in other spellings too, and by meaning. Scope tasks:read.",
      args: {
        projectId: t.arg.id({ required: true, description: 'Of which project.' }),
        query: t.arg.string({ required: true, description: 'Words or a question, 1 to 2,000 characters.' }),
        first: t.arg.int({ defaultValue: 5, description: 'How many, 1 to 20.' }),
        category: t.arg.string({ description: 'Documents of this category only. Default: all.' }),
        tags: t.arg.stringList({
          description: 'Documents that have all of these tags only, at most 20. Default: all.',
        }),
      },
      resolve: async (_root, { projectId, query, first, category, tags }, context) => {
        requireScope(context, 'tasks:read');
        const scope = await readableProject(context, projectId);
        return scope ? searchKnowledge(context.core, scope, { query, first: first ?? 5, category, tags }) : [];
      },
    }),
  }));
}

function addMutations(graph: Graph, Document: DocumentType): void {
  const { builder } = graph;
  const Success = builder.objectRef<{ document: KnowledgeDocument }>('KnowledgeDocumentSuccess').implement({
    description: 'Searches find it by its words at once, and by its meaning as soon as a worker has embedded it.',
    fields: (t) => ({
      document: t.field({ type: Document, description: 'The document.', resolve: ({ document }) => document }),
    }),
  });
  const result = resultUnion(graph, 'KnowledgeDocumentResult', Success, [
    'ValidationError',
    'NotFoundError',
    'LimitExceededError',
  ]);
  const Deleted = builder.objectRef<{ id: string }>('DeleteKnowledgeDocumentSuccess').implement({
    description: 'The document and its passages are gone. What runs were given of it they keep.',
    fields: (t) => ({ id: t.exposeID('id', { description: 'Of what is gone.' }) }),
  });
  const deleted = resultUnion(graph, 'DeleteKnowledgeDocumentResult', Deleted, ['NotFoundError']);
  const { Add, Update } = addInputs(graph);

  builder.mutationFields((t) => ({
    addKnowledgeDocument: t.field({
      type: result.ref,
      description:
        'Adds a text, Markdown, HTML or PDF to the knowledge of a project: at most 10 MB and 5,000 passages of up to 800 characters. Scope tasks:write.',
      args: { input: t.arg({ type: Add, required: true, description: 'The document.' }) },
      resolve: (_root, { input }, context) =>
        result.answer(context, ['tasks:write'], async () => {
          const scope = await writableProject(context, input.projectId);
          const assetProjectId = context.caller.only?.projectId;
          const document = await addDocument(
            context.core,
            { ...scope, assetProjectId },
            {
              title: input.title,
              text: input.text ?? undefined,
              assetId: input.assetId == null ? undefined : fromId('Asset', input.assetId),
              contentType: input.contentType ?? 'text/markdown',
              category: input.category,
              tags: input.tags ?? undefined,
              weight: input.weight ?? undefined,
            },
          );
          return { document };
        }),
    }),
    updateKnowledgeDocument: t.field({
      type: result.ref,
      description: 'Changes what is given of a document; another text takes the place of the whole. Scope tasks:write.',
      args: {
        id: t.arg.id({ required: true, description: 'Id of the document.' }),
        input: t.arg({ type: Update, required: true, description: 'What is to change.' }),
      },
      resolve: (_root, { id, input }, context) =>
        result.answer(context, ['tasks:write'], async () => {
          const document = await updateDocument(context.core, await ownDocument(context, id), {
            title: input.title ?? undefined,
            text: input.text ?? undefined,
            category: input.category,
            tags: input.tags ?? undefined,
            weight: input.weight ?? undefined,
          });
          return { document };
        }),
    }),
    deleteKnowledgeDocument: t.field({
      type: deleted.ref,
      description: 'Deletes a document with its passages. Scope tasks:write.',
      args: { id: t.arg.id({ required: true, description: 'Id of the document.' }) },
      resolve: (_root, { id }, context) =>
        deleted.answer(context, ['tasks:write'], async () => {
          await deleteDocument(context.core, await ownDocument(context, id));
          return { id };
        }),
    }),
  }));
}

function addInputs({ builder }: Graph) {
  const title = '1 to 300 characters.';
  const category = '1 to 100 characters.';
  const tags = 'At most 20, each of 1 to 100 characters.';
  const weight = 'What the scores of its passages are multiplied by, 0 to 10; 0: searches do not find it.';
  const Add = builder.inputType('AddKnowledgeDocumentInput', {
    description: 'A new document: either text or assetId.',
    fields: (t) => ({
      projectId: t.id({ required: true, description: 'The project it belongs to.' }),
      title: t.string({ required: true, description: title }),
      text: t.string({ description: 'As much as a request holds, 2 MB; a larger document comes as an asset.' }),
      assetId: t.id({ description: 'An uploaded text, Markdown, HTML or PDF of at most 10 MB. Text must be UTF-8.' }),
      contentType: t.string({
        defaultValue: 'text/markdown',
        description: 'text/plain, text/markdown or text/html: how a text is read. PDF is told from the bytes.',
      }),
      category: t.string({ description: `${category} Default: none.` }),
      tags: t.stringList({ description: `${tags} Default: none.` }),
      weight: t.float({ defaultValue: 1, description: weight }),
    }),
  });
  const Update = builder.inputType('UpdateKnowledgeDocumentInput', {
    description: 'What is to change of a document; what is not given stays.',
    fields: (t) => ({
      title: t.string({ description: title }),
      text: t.string({
        description: 'The whole new text, at most 2 MB, read as the former; after a PDF, as Markdown.',
      }),
      category: t.string({ description: `${category} null: none from now on.` }),
      tags: t.stringList({ description: `${tags} They take the place of the former.` }),
      weight: t.float({ description: weight }),
    }),
  });
  return { Add, Update };
}

/** Throws for a token that is narrowed to tasks, and for what is not the caller's. */
async function ownDocument(context: GraphContext, id: string): Promise<KnowledgeDocument> {
  projectOf(context, null);
  const document = await findDocument(context, id);
  if (!document) throw notFound('document');
  return document;
}
