import { Refusal } from '../errors.ts';
import { fromId, toId } from '../id.ts';
import { type Configured, configure, type StageSettings, settingsOf } from '../pipelines/configuration.ts';
import { nextDates } from '../pipelines/cron.ts';
import { type StageChange, updateConfiguration } from '../pipelines/update-configuration.ts';
import { type GraphContext, requireScope } from './context.ts';
import { badRequest } from './error.ts';
import type { Graph } from './graph.ts';
import { nobody, readableProject, within, writableProject } from './narrow.ts';
import { resultUnion } from './result.ts';

/** A configuration that the caller reaches, or null. */
export async function findConfiguration(context: GraphContext, id: string): Promise<Configured | null> {
  const uuid = fromId('PipelineConfiguration', id);
  if (!uuid) return null;
  const where = { id: uuid, ...within(context) };
  const row = await context.core.db.prisma.pipelineConfiguration.findFirst({ where });
  return row && orNull(configure(context.core, row, row.pipeline));
}

/** How a project of the caller runs a pipeline; null when there is no such project or pipeline for him. */
export async function readConfigured(
  context: GraphContext,
  projectId: string,
  pipeline: string,
): Promise<Configured | null> {
  const scope = await readableProject(context, projectId);
  return scope && orNull(configure(context.core, scope, pipeline));
}

const orNull = (configured: Promise<Configured>): Promise<Configured | null> =>
  configured.catch((error) => {
    if (error instanceof Refusal && error.kind === 'NotFoundError') return null;
    throw error;
  });

const maxDates = 100;

/** PipelineConfiguration with its stages, `pipelineConfiguration`, `updatePipelineConfiguration`. */
export function addPipelineConfiguration(graph: Graph): void {
  const { builder, Node } = graph;
  const OverlapPolicy = builder.enumType('OverlapPolicy', {
    description: 'What a scheduled start does while a run of the pipeline is live.',
    values: {
      SKIP: { description: 'It is left out.' },
      QUEUE: { description: 'It waits, one at most, until that run has ended.' },
      CANCEL_OLD: { description: 'It cancels that run, with its tasks, and begins when it has ended.' },
    } as const,
  });
  const Stage = builder
    .objectRef<StageSettings & { key: string; role: string | null }>('StageConfiguration')
    .implement({
      description:
        'How a stage works in a project: what is set there, else what the pipeline says, else what is usual.',
      fields: (t) => ({
        key: t.exposeString('key', { description: 'Of which stage.' }),
        batchSize: t.exposeInt('batchSize', {
          description: 'Items that it takes together, 1 to 1,000. A stage of the kind REVIEW has 1.',
        }),
        itemDelayMs: t.exposeInt('itemDelayMs', {
          description: 'From the begin of one batch to that of the next, in milliseconds; 0 to 86,400,000.',
        }),
        maxParallel: t.exposeInt('maxParallel', {
          description: 'Batches that are under way at once, 1 to 1,000. Reviews are not counted.',
        }),
        agent: t.field({
          type: 'AgentProfile',
          nullable: true,
          description: 'Who does its tasks: the one that is set, else the default of the role that the pipeline names.',
          resolve: ({ agentId, role }, _args, { load }) => {
            if (agentId) return load.agent.load(agentId);
            return role ? load.defaultAgent.load(role) : null;
          },
        }),
        provider: t.exposeString('provider', {
          nullable: true,
          description: "Name of the adapter that is set; null: the agent's, else the task type's route.",
        }),
        model: t.exposeString('model', {
          nullable: true,
          description: "The provider's model that is set; null: the agent's, else the provider's first.",
        }),
      }),
    });
  const Configuration = builder.objectRef<Configured>('PipelineConfiguration').implement({
    description: 'How a project runs a pipeline, and when.',
    interfaces: [Node],
    fields: (t) => ({
      id: t.id({
        description: 'Id of the configuration.',
        resolve: ({ configuration }) => toId('PipelineConfiguration', configuration.id),
      }),
      project: t.field({
        type: 'Project',
        description: 'Of which project.',
        resolve: async ({ configuration }, _args, { load }) => (await load.project.load(configuration.projectId))!,
      }),
      pipeline: t.field({
        type: 'Pipeline',
        description: 'Of which pipeline, in its newest version.',
        resolve: ({ pipeline }) => pipeline,
      }),
      enabled: t.boolean({
        description: 'Whether the schedule starts runs. By hand they can be started all the same.',
        resolve: ({ configuration }) => configuration.enabled,
      }),
      cron: t.string({
        nullable: true,
        description: 'Minute, hour, day of month, month, day of week, as "30 6 * * MON-FRI"; null: no schedule.',
        resolve: ({ configuration }) => configuration.cron,
      }),
      timeZone: t.string({
        description: 'Of the IANA database, as Europe/Berlin: the schedule is read by its clocks.',
        resolve: ({ configuration }) => configuration.timeZone,
      }),
      nextRuns: t.field({
        type: ['DateTime'],
        description: 'When the schedule starts the next runs; empty when it is not enabled, or has no cron.',
        args: { first: t.arg.int({ defaultValue: 5, description: `How many, 1 to ${maxDates}.` }) },
        resolve: ({ configuration: { enabled, cron, timeZone } }, { first }) => {
          const count = first ?? 5;
          if (count < 1 || count > maxDates) throw badRequest(`first must be from 1 to ${maxDates}`);
          return enabled && cron !== null ? nextDates(cron, timeZone, new Date(), count) : [];
        },
      }),
      overlap: t.field({
        type: OverlapPolicy,
        description: 'What a scheduled start does while a run is live.',
        resolve: ({ configuration }) => configuration.overlap as never,
      }),
      catchUp: t.boolean({
        description:
          'Whether dates that were missed while nothing ran are made up, once. Without it one that is more than 5 minutes old is left out.',
        resolve: ({ configuration }) => configuration.catchUp,
      }),
      stageDelayMs: t.int({
        description: 'What each stage but the first waits before it begins, in milliseconds; 0 to 86,400,000.',
        resolve: ({ configuration }) => configuration.stageDelayMs,
      }),
      maxFailures: t.int({
        description: 'How many items of a run may fail before it ends as FAILED, 0 to 1,000,000.',
        resolve: ({ configuration }) => configuration.maxFailures,
      }),
      stages: t.field({
        type: [Stage],
        description: 'How its stages work, first to last.',
        resolve: ({ pipeline: { definition }, stages }) =>
          definition.stages.map((stage) => ({
            key: stage.key,
            role: (stage.kind === 'TASKS' && stage.agent) || null,
            ...settingsOf(stage, stages.get(stage.key)),
          })),
      }),
    }),
  });
  const Success = builder.objectRef<{ configuration: Configured }>('UpdatePipelineConfigurationSuccess').implement({
    description: 'The configuration is changed. A run that is live goes on by it.',
    fields: (t) => ({
      configuration: t.field({
        type: Configuration,
        description: 'As it is now.',
        resolve: ({ configuration }) => configuration,
      }),
    }),
  });
  const result = resultUnion(graph, 'UpdatePipelineConfigurationResult', Success, ['ValidationError', 'NotFoundError']);
  const StageInput = builder.inputType('StageConfigurationInput', {
    description: 'What changes of a stage. What is left out stays; null goes back to what the pipeline says.',
    fields: (t) => ({
      key: t.string({ required: true, description: 'Of which stage.' }),
      batchSize: t.int({ description: 'Items that it takes together, 1 to 1,000; of the kind REVIEW 1.' }),
      itemDelayMs: t.int({
        description: 'From the begin of one batch to that of the next, in milliseconds; 0 to 86,400,000.',
      }),
      maxParallel: t.int({ description: 'Batches that are under way at once, 1 to 1,000.' }),
      agentId: t.id({ description: 'Who does its tasks: an agent of its task type that the project can use.' }),
      provider: t.string({ description: 'Name of an adapter that can do its task type.' }),
      model: t.string({ description: 'A model of the provider, which must be set too.' }),
    }),
  });
  const Input = builder.inputType('UpdatePipelineConfigurationInput', {
    description: 'What changes of a configuration. What is left out stays; null goes back to the default.',
    fields: (t) => ({
      projectId: t.id({ required: true, description: 'Of which project.' }),
      pipeline: t.string({ required: true, description: 'Name of the pipeline.' }),
      enabled: t.boolean({ description: 'Whether the schedule starts runs. Default: false.' }),
      cron: t.string({
        description:
          'Minute, hour, day of month, month, day of week, as "30 6 * * MON-FRI", or @daily and the like. Default: no schedule.',
      }),
      timeZone: t.string({ description: 'Of the IANA database, as Europe/Berlin. Default: UTC.' }),
      overlap: t.field({ type: OverlapPolicy, description: 'While a run is live. Default: SKIP.' }),
      catchUp: t.boolean({ description: 'Whether missed dates are made up, once. Default: false.' }),
      stageDelayMs: t.int({
        description: 'Before each stage but the first, in milliseconds; 0 to 86,400,000. Default: 0.',
      }),
      maxFailures: t.int({ description: 'Items of a run that may fail, 0 to 1,000,000. Default: 10.' }),
      stages: t.field({ type: [StageInput], description: 'What changes of its stages; the others stay.' }),
    }),
  });
  builder.queryField('pipelineConfiguration', (t) =>
    t.field({
      type: Configuration,
      nullable: true,
      description:
        'How a project runs a pipeline; made when it is first read. null when there is no such project or pipeline for this caller. Scope tasks:read.',
      args: {
        projectId: t.arg.id({ required: true, description: 'Of which project.' }),
        pipeline: t.arg.string({ required: true, description: 'Name of the pipeline.' }),
      },
      resolve: (_root, { projectId, pipeline }, context) => {
        requireScope(context, 'tasks:read');
        return readConfigured(context, projectId, pipeline);
      },
    }),
  );
  builder.mutationField('updatePipelineConfiguration', (t) =>
    t.field({
      type: result.ref,
      description: 'Changes how a project runs a pipeline, and when. Scope tasks:write.',
      args: { input: t.arg({ type: Input, required: true, description: 'What changes.' }) },
      resolve: (_root, { input: { projectId, pipeline, stages, ...change } }, context) =>
        result.answer(context, ['tasks:write'], async () => {
          const scope = await writableProject(context, projectId);
          const changed = stages?.map(({ agentId, ...stage }): StageChange => {
            // An id of another kind is none of an agent, and not the default either.
            const uuid = agentId == null ? agentId : (fromId('AgentProfile', agentId) ?? nobody);
            return { ...stage, agentId: uuid };
          });
          const configuration = await updateConfiguration(context.core, scope, pipeline, {
            ...change,
            stages: changed,
          });
          return { configuration };
        }),
    }),
  );
}
