import type { Prisma, Task } from '../db.ts';
import { validation } from '../errors.ts';
import { fromId, toId } from '../id.ts';
import { isStorable } from '../lifecycle/storable.ts';
import { type GraphContext, requireScope } from './context.ts';
import type { Graph } from './graph.ts';
import { nobody } from './narrow.ts';
import { connection, pageArgs, readPage, toPage } from './page.ts';

/** The tasks that the caller can see: his account's, or what his client token is narrowed to. */
export function visibleTasks({ core, caller }: GraphContext): Prisma.TaskWhereInput {
  const where: Prisma.TaskWhereInput = {
    accountId: caller.accountId,
    type: { in: core.registry.taskTypes.map((type) => type.name) },
  };
  if (caller.only?.projectId) where.projectId = caller.only.projectId;
  if (caller.only?.taskIds) where.id = { in: caller.only.taskIds };
  return where;
}

/** One task by its public id, or null: missing, of another type, of another account and garbage alike. */
export async function findTask(context: GraphContext, id: string): Promise<Task | null> {
  requireScope(context, 'tasks:read', 'tasks:write');
  const uuid = fromId('Task', id);
  return uuid ? context.core.db.prisma.task.findFirst({ where: { AND: [{ id: uuid }, visibleTasks(context)] } }) : null;
}

export interface TaskFilter {
  projectId?: string | null;
  status?: string[] | null;
  type?: string[] | null;
  tags?: string[] | null;
  needsReview?: boolean | null;
  createdAfter?: Date | null;
  createdBefore?: Date | null;
}

const maxListed = 100;

/** @throws Refusal ValidationError for a list above 100 entries, and for a tag that no task can have. */
export function checkFilter({ status, type, tags }: Pick<TaskFilter, 'status' | 'type' | 'tags'>): void {
  for (const [name, list] of Object.entries({ status, type, tags }))
    if ((list?.length ?? 0) > maxListed)
      throw validation([{ path: ['filter', name], message: `at most ${maxListed} entries` }]);
  if (tags && !tags.every(isStorable))
    throw validation([{ path: ['filter', 'tags'], message: 'must be valid Unicode without the character NUL' }]);
}

/**
 * A filter as a condition, beside what the caller can see. A project that is none of his matches nothing.
 * @throws Refusal ValidationError, as {@link checkFilter}.
 */
export function matching(context: GraphContext, filter: TaskFilter | null | undefined): Prisma.TaskWhereInput {
  const { projectId, status, type, tags, needsReview, createdAfter, createdBefore } = filter ?? {};
  const and: Prisma.TaskWhereInput[] = [visibleTasks(context)];
  checkFilter({ status, type, tags });
  if (projectId != null) and.push({ projectId: fromId('Project', projectId) ?? nobody });
  if (status?.length) and.push(status.length === 1 ? { status: status[0] } : { status: { in: status } });
  if (type?.length) and.push({ type: { in: type } });
  if (tags?.length) and.push({ tags: { hasEvery: tags } });
  if (needsReview != null) and.push({ needsReview });
  if (createdAfter) and.push({ createdAt: { gt: createdAfter } });
  if (createdBefore) and.push({ createdAt: { lt: createdBefore } });
  return { AND: and };
}

/** The filter's input, `task`, `tasks`. */
export function addTasks(graph: Graph) {
  const { builder, Task, TaskStatus, TaskType } = graph;
  const TaskFilter = builder.inputType('TaskFilter', {
    description: 'Which tasks: all that fit every field that is given. An empty list is as none.',
    fields: (t) => ({
      projectId: t.id({ description: 'Of this project.' }),
      status: t.field({ type: [TaskStatus], description: 'In one of these.' }),
      type: t.field({ type: [TaskType], description: 'Of one of these types.' }),
      tags: t.stringList({ description: 'With all of these tags.' }),
      needsReview: t.boolean({ description: 'True: only those that wait for reviewTask.' }),
      createdAfter: t.field({ type: 'DateTime', description: 'Created after this moment.' }),
      createdBefore: t.field({ type: 'DateTime', description: 'Created before this moment.' }),
    }),
  });
  const TaskConnection = connection<Task, { feedCursor: string }>(graph, 'Task', 'Task', Task, 'Tasks, newest first.');
  builder.objectField(TaskConnection, 'feedCursor', (t) =>
    t.exposeString('feedCursor', {
      description: 'Give it to taskFeed as `after`: the feed then goes on from exactly this list, nothing missed.',
    }),
  );

  builder.queryFields((t) => ({
    task: t.field({
      type: Task,
      nullable: true,
      description: 'One task; null when there is none with this id for this caller. Scope tasks:read.',
      args: { id: t.arg.id({ required: true, description: 'Id of the task.' }) },
      resolve: (_root, { id }, context) => {
        requireScope(context, 'tasks:read');
        return findTask(context, id);
      },
    }),
    tasks: t.field({
      type: TaskConnection,
      description: "The caller's tasks, newest first. Scope tasks:read.",
      args: { ...pageArgs(builder, 20), filter: t.arg({ type: TaskFilter, description: 'Which. Default: all.' }) },
      resolve: async (_root, { filter, ...args }, context) => {
        requireScope(context, 'tasks:read');
        const page = readPage('Task', args, 20);
        // Before the rows: what happens in between is then in the feed, not lost.
        const feedCursor = await context.events.feedCursor();
        const where: Prisma.TaskWhereInput = {
          AND: [matching(context, filter), page.after ? { id: { lt: page.after } } : {}],
        };
        const rows = await context.core.db.prisma.task.findMany({ where, orderBy: { id: 'desc' }, take: page.take });
        return { ...toPage(rows, page), feedCursor };
      },
    }),
  }));
  return { TaskFilter, TaskConnection };
}

/** The id under which clients know a task's row. */
export const taskId = (task: { id: string }): string => toId('Task', task.id);
