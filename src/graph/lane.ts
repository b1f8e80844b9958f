import { type LaneState, listLanes, setLane } from '../lifecycle/lanes.ts';
import { requireScope } from './context.ts';
import type { Graph } from './graph.ts';
import { resultUnion } from './result.ts';

/** Lane, `lanes`, `setLane`. */
export function addLane(graph: Graph) {
  const { builder } = graph;
  const Lane = builder.objectRef<LaneState>('Lane').implement({
    description: 'A queue with its own concurrency.',
    fields: (t) => ({
      name: t.exposeString('name', { description: 'As gpu_heavy.' }),
      concurrency: t.exposeInt('concurrency', {
        description:
          'How many of its tasks run on our own machines at once, over all workers. Work at a vendor does not count.',
      }),
      paused: t.exposeBoolean('paused', { description: 'True: nothing new is started.' }),
      queued: t.exposeInt('queued', { description: 'How many wait, of all accounts; counted to 10,000.' }),
      processing: t.exposeInt('processing', { description: 'How many run, here or at a vendor.' }),
    }),
  });
  const Success = builder.objectRef<{ lane: LaneState }>('SetLaneSuccess').implement({
    description: 'The lane is set.',
    fields: (t) => ({ lane: t.field({ type: Lane, description: 'The lane.', resolve: ({ lane }) => lane }) }),
  });
  const result = resultUnion(graph, 'SetLaneResult', Success, ['ValidationError', 'NotFoundError']);
  builder.queryField('lanes', (t) =>
    t.field({
      type: [Lane],
      description: 'All lanes. Scope operator.',
      resolve: (_root, _args, context) => {
        requireScope(context, 'operator');
        return listLanes(context.core);
      },
    }),
  );
  builder.mutationField('setLane', (t) =>
    t.field({
      type: result.ref,
      description: 'Pauses a lane, lets it go on, or changes its concurrency. What runs goes on. Scope operator.',
      args: {
        name: t.arg.string({ required: true, description: 'Name of the lane.' }),
        paused: t.arg.boolean({ description: 'Default: as it is.' }),
        concurrency: t.arg.int({ description: '0 to 1,000. Default: as it is.' }),
      },
      resolve: (_root, { name, paused, concurrency }, context) =>
        result.answer(context, ['operator'], async () => ({
          lane: await setLane(context.core, name, { paused, concurrency }),
        })),
    }),
  );
  return { Lane };
}
