import type { RouteTarget } from '../lifecycle/catalog.ts';
import { listRoutes, type Route, setRoute } from '../lifecycle/routes.ts';
import { requireScope } from './context.ts';
import type { Graph } from './graph.ts';
import { resultUnion } from './result.ts';

/** Route, `routes`, `setRoute`. */
export function addRoute(graph: Graph): void {
  const { builder, TaskType } = graph;
  const Target = builder.objectRef<RouteTarget>('RouteTarget').implement({
    description: 'A provider in a route.',
    fields: (t) => ({
      provider: t.exposeString('provider', { description: 'Name of the adapter.' }),
      model: t.exposeString('model', { nullable: true, description: 'Its model; null: its first for the task type.' }),
    }),
  });
  const Route = builder.objectRef<Route>('Route').implement({
    description: 'Which providers a task type tries, in this order.',
    fields: (t) => ({
      taskType: t.field({ type: TaskType, description: 'Of which task type.', resolve: (route) => route.taskType }),
      targets: t.field({ type: [Target], description: 'First to last.', resolve: (route) => route.targets }),
    }),
  });
  const Success = builder.objectRef<{ route: Route }>('SetRouteSuccess').implement({
    description: 'The route is set; tasks that exist keep theirs.',
    fields: (t) => ({ route: t.field({ type: Route, description: 'The route.', resolve: ({ route }) => route }) }),
  });
  const result = resultUnion(graph, 'SetRouteResult', Success, ['ValidationError']);
  const TargetInput = builder.inputType('RouteTargetInput', {
    description: 'A provider in a route.',
    fields: (t) => ({
      provider: t.string({ required: true, description: 'Name of an adapter that can do the task type.' }),
      model: t.string({ description: 'One of its models. Default: its first for the task type.' }),
    }),
  });
  builder.queryField('routes', (t) =>
    t.field({
      type: [Route],
      description: 'The route of each task type. Scope operator.',
      resolve: (_root, _args, context) => {
        requireScope(context, 'operator');
        return listRoutes(context.core);
      },
    }),
  );
  builder.mutationField('setRoute', (t) =>
    t.field({
      type: result.ref,
      description: 'Sets which providers a task type tries, and in which order. Scope operator.',
      args: {
        taskType: t.arg({ type: TaskType, required: true, description: 'Of which task type.' }),
        targets: t.arg({
          type: [TargetInput],
          required: true,
          description: 'First to last, at most 10. Empty: back to the default.',
        }),
      },
      resolve: (_root, { taskType, targets }, context) =>
        result.answer(context, ['operator'], async () => {
          const plain = targets.map(({ provider, model }) => ({ provider, model: model ?? null }));
          return { route: await setRoute(context.core, taskType, plain) };
        }),
    }),
  );
}
