import type { ObjectRef } from '@pothos/core';
import type { Run } from '../db.ts';
import { notFound } from '../errors.ts';
import { rerunFrom } from '../pipelines/command.ts';
import { estimateStart } from '../pipelines/estimate-start.ts';
import { startRun } from '../pipelines/start.ts';
import type { Graph } from './graph.ts';
import { readableProject, writableProject } from './narrow.ts';
import { resultUnion } from './result.ts';
import { findRun } from './run.ts';

type Estimate = Awaited<ReturnType<typeof estimateStart>>;

/** RunSuccess, which all that gives a run shares. */
export function addRunSuccess({ builder }: Graph): ObjectRef<any, { run: Run }> {
  return builder.objectRef<{ run: Run }>('RunSuccess').implement({
    description: 'The run, as it is after what was asked.',
    fields: (t) => ({ run: t.field({ type: 'PipelineRun', description: 'The run.', resolve: ({ run }) => run }) }),
  }) as ObjectRef<any, { run: Run }>;
}

/** `estimateRun`, `startRun`, `rerunFrom`. */
export function addStartRun(graph: Graph, Success: ObjectRef<any, { run: Run }>): void {
  addEstimate(graph);
  const { builder } = graph;
  const result = resultUnion(graph, 'StartRunResult', Success, [
    'RunAlreadyActiveError',
    'ValidationError',
    'InsufficientCreditsError',
    'IdempotencyMismatchError',
    'NotFoundError',
  ]);
  builder.mutationFields((t) => ({
    startRun: t.field({
      type: result.ref,
      description:
        'Starts a run of a pipeline on what waits in the project, and holds what it needs. While one is live it is refused, with the id of that one. Scope tasks:write.',
      args: {
        projectId: t.arg.id({ required: true, description: 'In which project.' }),
        pipeline: t.arg.string({ required: true, description: 'Name of the pipeline.' }),
        input: t.arg({
          type: 'JSON',
          description:
            "An object, at most 100,000 bytes: {{input.…}} of the stages, and what the pipeline's own input makes of it. `callbackUrl` in it gets a webhook each time that the run is PAUSED, WAITING_FOR_REVIEW, COMPLETED, FAILED or CANCELLED.",
        }),
        idempotencyKey: t.arg.string({
          description: '1 to 255 characters, unique in the account: the same key and input again give the same run.',
        }),
      },
      resolve: (_root, { projectId, ...request }, context) =>
        result.answer(context, ['tasks:write'], async () => {
          const scope = await writableProject(context, projectId);
          return { run: await startRun(context.core, scope, { ...request, trigger: 'MANUAL' }) };
        }),
    }),
    rerunFrom: t.field({
      type: result.ref,
      description:
        'Starts a run that goes on where one has ended: from a stage, with what failed or waits there or later. What is finished is not done and not paid again. Scope tasks:write.',
      args: {
        runId: t.arg.id({ required: true, description: 'Id of the run that has ended.' }),
        stage: t.arg.string({ required: true, description: 'Key of the stage with which it begins.' }),
        idempotencyKey: t.arg.string({
          description: '1 to 255 characters, unique in the account: the same key and input again give the same run.',
        }),
      },
      resolve: (_root, { runId, ...from }, context) =>
        result.answer(context, ['tasks:write'], async () => {
          const run = await findRun(context, runId);
          if (!run) throw notFound('run');
          return { run: await rerunFrom(context.core, run, from) };
        }),
    }),
  }));
}

function addEstimate(graph: Graph): void {
  const { builder } = graph;
  const Stage = builder.objectRef<Estimate['stages'][number]>('StageEstimate').implement({
    description: 'What a stage would cost.',
    fields: (t) => ({
      key: t.exposeString('key', { description: 'Which stage.' }),
      items: t.exposeInt('items', {
        description:
          'Items that it would take: those that wait, and those that the stages before it are expected to make.',
      }),
      credits: t.expose('credits', { type: 'Credits', description: 'The quote of its tasks.' }),
    }),
  });
  const RunEstimate = builder.objectRef<Estimate>('RunEstimate').implement({
    description: 'What a run would cost.',
    fields: (t) => ({
      stages: t.field({ type: [Stage], description: 'First to last.', resolve: ({ stages }) => stages }),
      total: t.expose('total', { type: 'Credits', description: 'The sum of its stages.' }),
      required: t.expose('required', { type: 'Credits', description: 'What startRun holds: ceil(1.2 × total).' }),
      available: t.expose('available', { type: 'Credits', description: 'What the account can spend.' }),
      sufficient: t.exposeBoolean('sufficient', { description: 'Whether that is enough.' }),
    }),
  });
  const result = resultUnion(graph, 'EstimateRunResult', RunEstimate, ['ValidationError', 'NotFoundError']);
  builder.queryField('estimateRun', (t) =>
    t.field({
      type: result.ref,
      description: 'What a run would cost if it started now; writes nothing. Scope tasks:read.',
      args: {
        projectId: t.arg.id({ required: true, description: 'In which project.' }),
        pipeline: t.arg.string({ required: true, description: 'Name of the pipeline.' }),
        input: t.arg({ type: 'JSON', description: 'As startRun would be given it.' }),
      },
      resolve: (_root, { projectId, pipeline, input }, context) =>
        result.answer(context, ['tasks:read'], async () => {
          const scope = await readableProject(context, projectId);
          if (!scope) throw notFound('project');
          return estimateStart(context.core, scope, pipeline, input);
        }),
    }),
  );
}
