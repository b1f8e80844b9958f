import type { Core } from '../core.ts';
import type { KnowledgeDocument } from '../db.ts';
import { notFound } from '../errors.ts';
import { type DocumentFacts, readFacts } from './input.ts';
import { type DocumentSource, readSource } from './source.ts';
import { writeText } from './text.ts';

/** A project. assetProjectId: of which project assets may be read; undefined: of all of the account. */
export interface DocumentScope {
  accountId: string;
  projectId: string;
  assetProjectId?: string;
}

/**
 * Reads a document and writes its passages: from then on searches find its words, and its meaning once {@link embedDue} has been at it.
 * @throws Refusal ValidationError, LimitExceededError, NotFoundError (the asset); nothing is written then.
 */
export async function addDocument(
  core: Core,
  scope: DocumentScope,
  given: DocumentFacts & DocumentSource & { title: string },
): Promise<KnowledgeDocument> {
  const { accountId, projectId } = scope;
  const { title, category, tags, weight } = readFacts(given);
  const source = await readSource(core, scope, given);
  const { contentType, sizeBytes } = source;
  const begun = await core.db.prisma.knowledgeDocument.create({
    data: { accountId, projectId, title: title!, category, tags, weight, contentType, sizeBytes },
  });
  const document = await writeText(core, begun, { title: title!, ...source });
  if (!document) throw notFound('project');
  return document;
}

/**
 * Changes what is given of a document. Another text or title replaces all passages at once, and is embedded anew; until it is written
 * searches find the former.
 * @param given.category null: none from now on.
 * @throws Refusal ValidationError, LimitExceededError, NotFoundError; nothing is changed then.
 */
export async function updateDocument(
  core: Core,
  document: KnowledgeDocument,
  given: DocumentFacts & { text?: string },
): Promise<KnowledgeDocument> {
  const { id, projectId, accountId } = document;
  const { title = document.title, category, tags, weight } = readFacts(given);
  const contentType = document.contentType.startsWith('text/') ? document.contentType : 'text/markdown';
  const source =
    given.text !== undefined
      ? await readSource(core, { accountId }, { text: given.text, contentType })
      : title !== document.title && (await readPassages(core, document));
  const rows = await core.db.sql<KnowledgeDocument>(
    `WITH raised AS (UPDATE knowledge_revision SET revision = revision + 1 WHERE project_id = $2)
    UPDATE knowledge_document SET category = CASE WHEN $3 THEN $4 ELSE category END, tags = coalesce($5, tags), weight = coalesce($6, weight),
      updated_at = now(), staged = staged + $7, staged_at = CASE WHEN $7 = 1 THEN now() ELSE staged_at END
    WHERE id = $1 AND version > 0 RETURNING *`,
    [id, projectId, category !== undefined, category ?? null, tags ?? null, weight ?? null, source ? 1 : 0],
    'knowledge_update',
  );
  const updated = rows[0] && source ? await writeText(core, rows[0], { title, ...source }) : rows[0];
  if (!updated) throw notFound('document');
  return updated;
}

/**
 * Deletes a document with its passages.
 * @throws Refusal NotFoundError when it is gone already.
 */
export async function deleteDocument(core: Core, { id, projectId }: KnowledgeDocument): Promise<void> {
  const rows = await core.db.sql(
    `WITH raised AS (UPDATE knowledge_revision SET revision = revision + 1 WHERE project_id = $2)
    DELETE FROM knowledge_document WHERE id = $1 RETURNING id`,
    [id, projectId],
    'knowledge_delete',
  );
  if (rows.length === 0) throw notFound('document');
}

/** The text that is there, for another title. */
async function readPassages(core: Core, document: KnowledgeDocument) {
  const rows = await core.db.sql<{ text: string }>(
    'SELECT text FROM knowledge_passage WHERE document_id = $1 AND version = $2 ORDER BY place',
    [document.id, document.version],
  );
  const { contentType, sizeBytes } = document;
  return { contentType, sizeBytes: Number(sizeBytes), passages: rows.map(({ text }) => text) };
}
