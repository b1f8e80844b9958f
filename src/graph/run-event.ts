import type { ObjectRef } from '@pothos/core';
import type { RunEvent } from '../db.ts';
import { notFound } from '../errors.ts';
import { toId } from '../id.ts';
import type { StageStanding } from '../pipelines/standing.ts';
import { requireScope } from './context.ts';
import { badRequest } from './error.ts';
import type { Graph } from './graph.ts';
import { findRun } from './run.ts';

/** What `data` holds, by kind of event. Dates are texts. */
interface EventData {
  status_changed: { status: string; reason: string | null };
  stage_progressed: Omit<StageStanding, 'runId' | 'startedAt' | 'completedAt'> & {
    startedAt: string | null;
    completedAt: string | null;
  };
  item_finished: { stageKey: string; itemId: string };
  logged: { level: string; message: string };
}

const typeOf: Record<string, string> = {
  status_changed: 'RunStatusChanged',
  stage_progressed: 'StageProgressed',
  item_finished: 'ItemFinished',
  logged: 'RunLogged',
};

const read = <Kind extends keyof EventData>(event: RunEvent, _kind: Kind) => event.data as unknown as EventData[Kind];

const dateOf = (text: string | null): Date | null => (text === null ? null : new Date(text));

/** RunEvent with its four kinds, and `runEvents`. */
export function addRunEvents(
  { builder }: Graph,
  refs: { StageRun: ObjectRef<any, StageStanding>; RunStatus: any; LogLevel: any },
): void {
  const Event = builder.interfaceRef<RunEvent>('RunEvent').implement({
    description: 'A numbered fact about a run.',
    resolveType: (event) => typeOf[event.kind],
    fields: (t) => ({
      seq: t.exposeInt('seq', { description: '1, 2, 3 … of its run, without gaps.' }),
      at: t.expose('at', { type: 'DateTime', description: 'When it happened.' }),
      runId: t.id({ description: 'Id of its run.', resolve: ({ runId }) => toId('Run', runId) }),
      run: t.field({
        type: 'PipelineRun',
        description: 'Its run as it is now.',
        resolve: async ({ runId }, _args, { load }) => {
          const run = await load.run.load(runId);
          if (!run) throw notFound('run');
          return run;
        },
      }),
    }),
  });
  builder.objectRef<RunEvent>('RunStatusChanged').implement({
    description: 'The run came into another status.',
    interfaces: [Event],
    fields: (t) => ({
      status: t.field({
        type: refs.RunStatus,
        description: 'Its status from then on.',
        resolve: (event) => read(event, 'status_changed').status as never,
      }),
      reason: t.string({
        nullable: true,
        description:
          'Why, when nobody asked for it: LOW_CREDITS, WENT_WRONG, TOO_MANY_FAILURES; of a scheduled start that was refused, the code of the refusal.',
        resolve: (event) => read(event, 'status_changed').reason,
      }),
    }),
  });
  builder.objectRef<RunEvent>('StageProgressed').implement({
    description: 'A stage began, came forward, or is over.',
    interfaces: [Event],
    fields: (t) => ({
      stage: t.field({
        type: refs.StageRun,
        description: 'The stage as it was then; its creditsUsed is that of now.',
        resolve: (event) => {
          const { startedAt, completedAt, ...stage } = read(event, 'stage_progressed');
          return {
            ...stage,
            runId: event.runId,
            startedAt: dateOf(startedAt),
            completedAt: dateOf(completedAt),
          };
        },
      }),
    }),
  });
  builder.objectRef<RunEvent>('ItemFinished').implement({
    description: 'A stage is done with an item, turned it down, or failed in it.',
    interfaces: [Event],
    fields: (t) => ({
      stageKey: t.string({ description: 'Which stage.', resolve: (event) => read(event, 'item_finished').stageKey }),
      item: t.field({
        type: 'Item',
        description: 'The item as it is now.',
        resolve: async (event, _args, { load }) => {
          const item = await load.item.load(read(event, 'item_finished').itemId);
          if (!item) throw notFound('item');
          return item;
        },
      }),
    }),
  });
  builder.objectRef<RunEvent>('RunLogged').implement({
    description: "A line of the run's log.",
    interfaces: [Event],
    fields: (t) => ({
      level: t.field({
        type: refs.LogLevel,
        description: 'How much it matters.',
        resolve: (event) => read(event, 'logged').level as never,
      }),
      message: t.string({
        description: 'The line, at most 2,000 characters.',
        resolve: (event) => read(event, 'logged').message,
      }),
    }),
  });
  builder.subscriptionField('runEvents', (t) =>
    t.field({
      type: Event,
      description:
        'Every event of a run with seq > after, then live. It completes with the event of its end, and only then: a stream that is cut is resumed with `after` = the last seq that came. Scope tasks:read.',
      args: {
        id: t.arg.id({ required: true, description: 'Id of the run.' }),
        after: t.arg.int({ defaultValue: 0, description: 'Only events with a higher seq.' }),
      },
      subscribe: async (_root, { id, after }, context) => {
        requireScope(context, 'tasks:read');
        if ((after ?? 0) < 0) throw badRequest('after must be 0 or more');
        const run = await findRun(context, id);
        if (!run) throw notFound('run');
        return context.runEvents.follow(run.id, after ?? 0);
      },
      resolve: (event) => event as RunEvent,
    }),
  );
}
