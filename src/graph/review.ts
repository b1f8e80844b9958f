import type { Review } from '../db.ts';
import { notFound } from '../errors.ts';
import { fromId, toId } from '../id.ts';
import { decideReview } from '../pipelines/decide-review.ts';
import { type GraphContext, requireScope } from './context.ts';
import type { Graph } from './graph.ts';
import { readableProject, within } from './narrow.ts';
import { connection, pageArgs, readPage, toPage } from './page.ts';
import { resultUnion } from './result.ts';

/** A review that the caller reaches, or null. */
export async function findReview(context: GraphContext, id: string): Promise<Review | null> {
  const uuid = fromId('Review', id);
  return uuid ? context.core.db.prisma.review.findFirst({ where: { id: uuid, ...within(context) } }) : null;
}

/** Review, `reviews`, `decideReview`. */
export function addReviews(graph: Graph): void {
  const { builder, Node } = graph;
  const ReviewRef = builder.objectRef<Review>('Review').implement({
    description: 'An item that waits for a person.',
    interfaces: [Node],
    fields: (t) => ({
      id: t.id({ description: 'Id of the review.', resolve: ({ id }) => toId('Review', id) }),
      run: t.field({
        type: 'PipelineRun',
        description: 'The run that waits for it.',
        resolve: async ({ batchId }, _args, { load }) =>
          (await load.run.load((await load.batch.load(batchId))!.runId))!,
      }),
      stageKey: t.string({
        description: 'At which stage.',
        resolve: async ({ batchId }, _args, { load }) => (await load.batch.load(batchId))!.stage,
      }),
      item: t.field({
        type: 'Item',
        description: 'What is to be decided on.',
        resolve: async ({ itemId }, _args, { load }) => (await load.item.load(itemId))!,
      }),
      form: t.expose('form', {
        type: 'JSON',
        nullable: true,
        description: 'A JSON Schema of the edits that decideReview takes; null: any fields.',
      }),
      expiresAt: t.expose('expiresAt', {
        type: 'DateTime',
        nullable: true,
        description: 'When it is decided by itself, as the stage says; null: never.',
      }),
      createdAt: t.expose('createdAt', { type: 'DateTime', description: 'Since when it waits.' }),
    }),
  });
  const ReviewConnection = connection<Review>(graph, 'Review', 'Review', ReviewRef, 'Reviews that wait, oldest first.');
  const ReviewOutcome = builder.enumType('ReviewOutcome', {
    description: 'What becomes of an item that waited for a person.',
    values: {
      APPROVE: { description: 'It goes on as it is.' },
      EDIT: { description: 'It goes on with the edits.' },
      REJECT: { description: 'It goes no further: REJECTED.' },
    } as const,
  });
  const Success = builder.objectRef<{ review: Review }>('DecideReviewSuccess').implement({
    description: 'It is decided; the run goes on.',
    fields: (t) => ({
      review: t.field({ type: ReviewRef, description: 'The review.', resolve: ({ review }) => review }),
    }),
  });
  const result = resultUnion(graph, 'DecideReviewResult', Success, [
    'ValidationError',
    'ConflictError',
    'NotFoundError',
  ]);
  builder.queryField('reviews', (t) =>
    t.field({
      type: ReviewConnection,
      description: 'What waits for a person in a project, oldest first. Scope tasks:read.',
      args: { projectId: t.arg.id({ required: true, description: 'Of which project.' }), ...pageArgs(builder, 20) },
      resolve: async (_root, { projectId, ...args }, context) => {
        requireScope(context, 'tasks:read');
        const page = readPage('Review', args, 20);
        const scope = await readableProject(context, projectId);
        if (!scope) return toPage([], page);
        const rows = await context.core.db.prisma.review.findMany({
          where: { projectId: scope.projectId, decidedAt: null, ...(page.after && { id: { gt: page.after } }) },
          orderBy: { id: 'asc' },
          take: page.take,
        });
        return toPage(rows, page);
      },
    }),
  );
  builder.mutationField('decideReview', (t) =>
    t.field({
      type: result.ref,
      description: 'Decides on an item that waits for a person, once. Scope tasks:write.',
      args: {
        id: t.arg.id({ required: true, description: 'Id of the review.' }),
        decision: t.arg({ type: ReviewOutcome, required: true, description: 'What becomes of the item.' }),
        edits: t.arg({
          type: 'JSON',
          description:
            "With EDIT: an object that fits the form, at most 100,000 bytes of JSON. Its fields take the place of the item's; the others stay.",
        }),
        note: t.arg.string({ description: 'Why, at most 1,000 characters; kept with the review.' }),
      },
      resolve: (_root, { id, decision, edits, note }, context) =>
        result.answer(context, ['tasks:write'], async () => {
          const review = await findReview(context, id);
          if (!review) throw notFound('review');
          return { review: await decideReview(context.core, review, { outcome: decision, edits, note }) };
        }),
    }),
  );
}
