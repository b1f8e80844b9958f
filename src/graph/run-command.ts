import type { ObjectRef } from '@pothos/core';
import type { Run } from '../db.ts';
import { notFound } from '../errors.ts';
import { cancelRun, pauseRun, resumeRun } from '../pipelines/command.ts';
import type { GraphContext } from './context.ts';
import type { Graph } from './graph.ts';
import { resultUnion } from './result.ts';
import { findRun } from './run.ts';

/** `pauseRun`, `resumeRun`, `cancelRun`. */
export function addRunCommands(graph: Graph, Success: ObjectRef<any, { run: Run }>): void {
  const { builder } = graph;
  const ChildrenPolicy = builder.enumType('ChildrenPolicy', {
    description: 'What becomes of the tasks of a run that is cancelled.',
    values: {
      CANCEL: { description: 'They are cancelled; their items wait again.' },
      FINISH: { description: 'Those that exist end first, and count.' },
    } as const,
  });
  const result = resultUnion(graph, 'RunResult', Success, [
    'ConflictError',
    'InsufficientCreditsError',
    'NotFoundError',
  ]);
  const id = 'Id of the run.';
  builder.mutationFields((t) => ({
    pauseRun: t.field({
      type: result.ref,
      description:
        'Pauses a run between items: what is begun ends first. It keeps what it holds. Again, it gives the same answer. Scope tasks:write.',
      args: { id: t.arg.id({ required: true, description: id }) },
      resolve: (_root, args, context) =>
        result.answer(context, ['tasks:write'], async () => ({
          run: await pauseRun(context.core, await existing(context, args.id)),
        })),
    }),
    resumeRun: t.field({
      type: result.ref,
      description:
        'Goes on with a paused run, or one that is PAUSING, at the next item that is not finished. One that paused for LOW_CREDITS first holds what the rest needs. Again, it gives the same answer. Scope tasks:write.',
      args: { id: t.arg.id({ required: true, description: id }) },
      resolve: (_root, args, context) =>
        result.answer(context, ['tasks:write'], async () => ({
          run: await resumeRun(context.core, await existing(context, args.id)),
        })),
    }),
    cancelRun: t.field({
      type: result.ref,
      description:
        'Cancels a run. What it has made stays; the rest of what it holds goes back. Again, it gives the same answer; CANCEL after FINISH cancels those of its tasks that still run. Scope tasks:write.',
      args: {
        id: t.arg.id({ required: true, description: id }),
        children: t.arg({ type: ChildrenPolicy, defaultValue: 'CANCEL', description: 'What becomes of its tasks.' }),
      },
      resolve: (_root, { children, ...args }, context) =>
        result.answer(context, ['tasks:write'], async () => ({
          run: await cancelRun(context.core, await existing(context, args.id), children ?? 'CANCEL'),
        })),
    }),
  }));
}

async function existing(context: GraphContext, id: string): Promise<Run> {
  const run = await findRun(context, id);
  if (!run) throw notFound('run');
  return run;
}
