import type { TaskEvent } from '../db.ts';
import { notFound } from '../errors.ts';
import { fromId, toId } from '../id.ts';
import { requireScope } from './context.ts';
import { badRequest } from './error.ts';
import type { Graph } from './graph.ts';
import { nobody } from './narrow.ts';
import { checkFilter, findTask, type TaskFilter } from './task.ts';

/** What `data` holds, by kind of event. */
interface EventData {
  status_changed: { status: string; previous: string | null };
  progressed: { attempt: number; progress: number; step: string | null };
  output_added: { attempt: number; index: number; text?: string | null; assetId?: string | null };
  logged: { level: string; message: string };
}

const typeOf: Record<string, string> = {
  status_changed: 'TaskStatusChanged',
  progressed: 'TaskProgressed',
  output_added: 'TaskOutputAdded',
  logged: 'TaskLogged',
};

const read = <Kind extends keyof EventData>(event: TaskEvent, _kind: Kind) => event.data as unknown as EventData[Kind];

/** TaskEvent with its four kinds, and the two subscriptions. */
export function addTaskEvents(graph: Graph, { TaskFilter }: { TaskFilter: any }) {
  const { builder, Task, TaskStatus, TaskEvent } = graph;
  builder.interfaceType(TaskEvent, {
    description: 'A numbered fact about a task.',
    resolveType: (event) => typeOf[event.kind],
    fields: (t) => ({
      seq: t.exposeInt('seq', { description: '1, 2, 3 … of its task, without gaps.' }),
      cursor: t.string({
        description: 'Its place in taskFeed: give it as `after`.',
        resolve: (event, _args, { events }) => events.cursorOf(event),
      }),
      at: t.expose('at', { type: 'DateTime', description: 'When it happened.' }),
      taskId: t.id({ description: 'Id of its task.', resolve: (event) => toId('Task', event.taskId) }),
      task: t.field({
        type: Task,
        description: 'Its task as it is now.',
        resolve: async (event, _args, { load }) => {
          const task = await load.task.load(event.taskId);
          if (!task) throw notFound('task');
          return task;
        },
      }),
    }),
  });
  builder.objectRef<TaskEvent>('TaskStatusChanged').implement({
    description: 'The task came into another status.',
    interfaces: [TaskEvent],
    fields: (t) => ({
      status: t.field({
        type: TaskStatus,
        description: 'Its status from then on.',
        resolve: (event) => read(event, 'status_changed').status as never,
      }),
      previous: t.field({
        type: TaskStatus,
        nullable: true,
        description: 'Its status before; null when it was created.',
        resolve: (event) => read(event, 'status_changed').previous as never,
      }),
    }),
  });
  builder.objectRef<TaskEvent>('TaskProgressed').implement({
    description: 'The task came forward.',
    interfaces: [TaskEvent],
    fields: (t) => ({
      attempt: t.int({ description: 'In which attempt.', resolve: (event) => read(event, 'progressed').attempt }),
      progress: t.float({
        description: '0 to 1; never falls.',
        resolve: (event) => read(event, 'progressed').progress,
      }),
      step: t.string({
        nullable: true,
        description: 'What is being done, in one or two words.',
        resolve: (event) => read(event, 'progressed').step,
      }),
    }),
  });
  builder.objectRef<TaskEvent>('TaskOutputAdded').implement({
    description: 'The task gave a part of its output: a piece of text, or a file.',
    interfaces: [TaskEvent],
    fields: (t) => ({
      attempt: t.int({
        description: 'In which attempt: a later one begins anew.',
        resolve: (event) => read(event, 'output_added').attempt,
      }),
      index: t.int({
        description: 'Its place among the outputs, from 0.',
        resolve: (event) => read(event, 'output_added').index,
      }),
      text: t.string({
        nullable: true,
        description: 'The piece of text.',
        resolve: (event) => read(event, 'output_added').text,
      }),
      asset: t.field({
        type: 'Asset',
        nullable: true,
        description:
          'The file; null when it is text, and when the file is gone: a preview, which may come while the task runs, goes with its end.',
        resolve: (event, _args, { load }) => {
          const { assetId } = read(event, 'output_added');
          return assetId ? load.asset.load(assetId) : null;
        },
      }),
    }),
  });
  const LogLevel = builder.enumType('LogLevel', {
    description: 'How much a line of a log matters.',
    values: ['DEBUG', 'INFO', 'WARN', 'ERROR'] as const,
  });
  builder.objectRef<TaskEvent>('TaskLogged').implement({
    description: "A line of the task's log; at most 1,000 a task.",
    interfaces: [TaskEvent],
    fields: (t) => ({
      level: t.field({
        type: LogLevel,
        description: 'How much it matters.',
        resolve: (event) => read(event, 'logged').level as never,
      }),
      message: t.string({ description: 'The line.', resolve: (event) => read(event, 'logged').message }),
    }),
  });

  builder.subscriptionFields((t) => ({
    taskEvents: t.field({
      type: TaskEvent,
      description:
        'Every event of a task with seq > after, then live. It completes with the terminal event, and only then: a stream that is cut is resumed with `after` = the last seq that came. Scope tasks:read.',
      args: {
        id: t.arg.id({ required: true, description: 'Id of the task.' }),
        after: t.arg.int({ defaultValue: 0, description: 'Only events with a higher seq.' }),
      },
      subscribe: async (_root, { id, after }, context) => {
        requireScope(context, 'tasks:read');
        if ((after ?? 0) < 0) throw badRequest('after must be 0 or more');
        const task = await findTask(context, id);
        if (!task) throw notFound('task');
        return context.events.follow(task.id, after ?? 0);
      },
      resolve: (event) => event as TaskEvent,
    }),
    taskFeed: t.field({
      type: TaskEvent,
      description:
        'Every event of every task that the caller can see, in commit order, none skipped. It never completes. Scope tasks:read.',
      args: {
        filter: t.arg({ type: TaskFilter, description: 'Of which tasks, as they are now. Default: all.' }),
        after: t.arg.string({
          description:
            'Begin behind this: the `cursor` of an event, or the feedCursor of a list. Default: from now on.',
        }),
      },
      subscribe: async (_root, args, context) => {
        requireScope(context, 'tasks:read');
        const { caller } = context;
        const { projectId, status, type, ...filter } = (args.filter ?? {}) as TaskFilter;
        checkFilter(args.filter ?? {});
        const wanted = projectId == null ? undefined : (fromId('Project', projectId) ?? nobody);
        // A token that is narrowed to one project sees nothing of another.
        const narrowed = caller.only?.projectId;
        const scope = {
          accountId: caller.accountId,
          taskIds: caller.only?.taskIds,
          projectId: wanted && narrowed && wanted !== narrowed ? nobody : (narrowed ?? wanted),
          statuses: status ?? undefined,
          types: type ?? context.core.registry.taskTypes.map((each) => each.name),
          tags: filter.tags ?? undefined,
          needsReview: filter.needsReview ?? undefined,
          createdAfter: filter.createdAfter ?? undefined,
          createdBefore: filter.createdBefore ?? undefined,
        };
        return context.events.feed(scope, args.after ?? null);
      },
      resolve: (event) => event as TaskEvent,
    }),
  }));
  return { LogLevel };
}
