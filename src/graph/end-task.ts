import type { Task } from '../db.ts';
import { notFound } from '../errors.ts';
import { fromId, toId } from '../id.ts';
import { type Cancelled, cancelTask, cancelTasks } from '../lifecycle/cancel.ts';
import { deleteTask } from '../lifecycle/delete.ts';
import { type ReviewDecision, reviewTask } from '../lifecycle/review.ts';
import type { GraphContext } from './context.ts';
import type { Graph } from './graph.ts';
import { resultUnion } from './result.ts';
import { findTask, matching, type TaskFilter } from './task.ts';

/** How many tasks one cancelTasks takes. */
const maxCancelled = 10_000;

/** `cancelTask`, `cancelTasks`, `deleteTask`, `reviewTask`. */
export function addEndTask(graph: Graph, { TaskFilter }: { TaskFilter: any }): void {
  addCancel(graph, TaskFilter);
  addDelete(graph);
  addReview(graph);
}

function addCancel(graph: Graph, TaskFilterRef: any): void {
  const { builder, Task } = graph;
  const CancelOutcome = builder.enumType('CancelOutcome', {
    description: 'How far a cancellation got. Both bind: the task will never be COMPLETED.',
    values: {
      CANCELLED: { description: 'It has ended.' },
      REQUESTED: { description: 'It runs, and ends within 30 s.' },
    },
  });
  const Success = builder.objectRef<Cancelled>('CancelTaskSuccess').implement({
    description: 'The task will never be COMPLETED.',
    fields: (t) => ({
      task: t.field({ type: Task, description: 'The task.', resolve: ({ task }) => task as never }),
      outcome: t.field({ type: CancelOutcome, description: 'How far it got.', resolve: ({ outcome }) => outcome }),
    }),
  });
  const one = resultUnion(graph, 'CancelTaskResult', Success, ['NotFoundError', 'ConflictError']);
  const Counts = builder.objectRef<Awaited<ReturnType<typeof cancelTasks>>>('CancelTasksSuccess').implement({
    description: 'What became of the tasks that fit.',
    fields: (t) => ({
      matched: t.exposeInt('matched', {
        description: 'How many fitted and had not ended; 10,000: there may be more, call again.',
      }),
      cancelled: t.exposeInt('cancelled', { description: 'Of these, how many had not started and have ended.' }),
      requested: t.exposeInt('requested', { description: 'Of these, how many run and end within 30 s.' }),
    }),
  });
  const many = resultUnion(graph, 'CancelTasksResult', Counts, ['ValidationError']);
  builder.mutationFields((t) => ({
    cancelTask: t.field({
      type: one.ref,
      description:
        'Cancels a task. What its hold has left goes back. Again, it gives the same answer. Scope tasks:write.',
      args: { id: t.arg.id({ required: true, description: 'Id of the task.' }) },
      resolve: (_root, { id }, context) =>
        one.answer(context, ['tasks:write'], async () => cancelTask(context.core, (await existing(context, id)).id)),
    }),
    cancelTasks: t.field({
      type: many.ref,
      description: 'Cancels every task that fits and has not ended, at most 10,000 in one call. Scope tasks:write.',
      args: { filter: t.arg({ type: TaskFilterRef, required: true, description: 'Which; {} is all.' }) },
      resolve: (_root, { filter }, context) =>
        many.answer(context, ['tasks:write'], async () => {
          const where = {
            AND: [matching(context, filter as TaskFilter), { status: { in: ['SCHEDULED', 'QUEUED', 'PROCESSING'] } }],
          };
          const rows = await context.core.db.prisma.task.findMany({
            where,
            select: { id: true },
            orderBy: { id: 'desc' },
            take: maxCancelled,
          });
          return cancelTasks(
            context.core,
            rows.map((row) => row.id),
          );
        }),
    }),
  }));
}

function addDelete(graph: Graph): void {
  const { builder } = graph;
  const Success = builder.objectRef<{ id: string }>('DeleteTaskSuccess').implement({
    description: 'The task is gone, with its events and files. Its ledger stays.',
    fields: (t) => ({ id: t.exposeID('id', { description: 'Id that the task had.' }) }),
  });
  const result = resultUnion(graph, 'DeleteTaskResult', Success, ['NotFoundError', 'ConflictError']);
  builder.mutationField('deleteTask', (t) =>
    t.field({
      type: result.ref,
      description: 'Deletes a task that has ended, with its files. Scope tasks:write.',
      args: { id: t.arg.id({ required: true, description: 'Id of the task.' }) },
      resolve: (_root, { id }, context) =>
        result.answer(context, ['tasks:write'], async () => {
          const task = await existing(context, id);
          await deleteTask(context.core, task.id);
          return { id: toId('Task', task.id) };
        }),
    }),
  );
}

function addReview(graph: Graph): void {
  const { builder, Task } = graph;
  const ReviewDecision = builder.enumType('ReviewDecision', {
    description: 'What a lost answer to a paid call meant.',
    values: {
      RESUBMIT: { description: 'Nothing was bought: run it again.' },
      FAIL_RELEASE: { description: 'Fail it; the hold goes back.' },
      FAIL_CHARGE: { description: 'Fail it; the hold is charged.' },
    },
  });
  const Success = builder.objectRef<{ task: Task }>('ReviewTaskSuccess').implement({
    description: 'The review is over.',
    fields: (t) => ({ task: t.field({ type: Task, description: 'The task.', resolve: ({ task }) => task }) }),
  });
  const result = resultUnion(graph, 'ReviewTaskResult', Success, ['NotFoundError', 'ConflictError']);
  builder.mutationField('reviewTask', (t) =>
    t.field({
      type: result.ref,
      description: 'Settles a task of any account whose needsReview is true. Scope operator.',
      args: {
        id: t.arg.id({ required: true, description: 'Id of the task.' }),
        decision: t.arg({ type: ReviewDecision, required: true, description: 'What is to become of it.' }),
        note: t.arg.string({ description: "For the task's log; at most 1,000 characters." }),
      },
      resolve: (_root, { id, decision, note }, context) =>
        result.answer(context, ['operator'], async () => {
          const uuid = fromId('Task', id);
          const task = uuid ? await context.load.task.load(uuid) : null;
          if (!task || !context.core.registry.taskType(task.type)) throw notFound('task');
          return { task: await reviewTask(context.core, task, decision as ReviewDecision, note) };
        }),
    }),
  );
}

async function existing(context: GraphContext, id: string): Promise<Task> {
  const task = await findTask(context, id);
  if (!task) throw notFound('task');
  return task;
}
