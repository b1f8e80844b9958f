import type { QueryConfig } from 'pg';
import type { Core } from '../core.ts';
import type { PipelineConfiguration, Stage } from '../db.ts';
import { notFound } from '../errors.ts';
import { findPipeline, type PipelineVersion } from './catalog.ts';
import { inletOf, type PipelineDefinition, type StageDefinition } from './definition.ts';

/** All items of a project may go in: a hundred thousand take some seconds. */
const fittingMs = 120_000;

/** A pipeline in a project, with what is set there. */
export interface Configured {
  pipeline: PipelineVersion;
  configuration: PipelineConfiguration;
  stages: Map<string, Stage>;
}

/** Whose project. */
export interface Scope {
  accountId: string;
  projectId: string;
}

/**
 * The configuration of a pipeline in a project; made when it is first asked for, and given the stages of the newest version.
 * @throws Refusal NotFoundError for a pipeline that there is none of.
 */
export async function configure(core: Core, scope: Scope, name: string): Promise<Configured> {
  const pipeline = await findPipeline(core, scope.accountId, name);
  if (!pipeline) throw notFound('pipeline');
  const { projectId, accountId } = scope;
  await core.db.sql(
    'insert into pipeline_configuration (account_id, project_id, pipeline) values ($1, $2, $3) on conflict do nothing',
    [accountId, projectId, name],
    'configuration_make',
  );
  const [configuration] = await core.db.sql<PipelineConfiguration>(
    'select * from pipeline_configuration where project_id = $1 and pipeline = $2',
    [projectId, name],
    'configuration_find',
  );
  return {
    pipeline,
    configuration: configuration!,
    stages: await fitStages(core, configuration!.id, pipeline.definition),
  };
}

/** The stages of a configuration, made to fit the newest version. While a run is live they stay those of its own. */
async function fitStages(
  core: Core,
  configurationId: string,
  definition: PipelineDefinition,
): Promise<Map<string, Stage>> {
  const stages = await readStages(core, configurationId);
  const wanted = stagesIn(definition);
  const fits =
    wanted.every(({ key, input, inlet }) => {
      const row = stages.get(key);
      return row?.input === input && row.inlet === inlet;
    }) && [...stages.values()].filter(({ input }) => input !== null).length === wanted.length;
  if (fits) return stages;
  await core.db.pool.query({
    text: 'select configuration_stages($1, $2)',
    values: [configurationId, JSON.stringify(wanted)],
    query_timeout: fittingMs,
  } as QueryConfig);
  return readStages(core, configurationId);
}

/** The stages of a configuration, by their keys; those of earlier versions too. */
export async function readStages(core: Core, configurationId: string): Promise<Map<string, Stage>> {
  const rows = await core.db.sql<Stage>(
    'select * from stage where configuration_id = $1',
    [configurationId],
    'stages_of',
  );
  return new Map(rows.map((row) => [row.key, row]));
}

/** What configuration_stages has to know of a definition. */
export const stagesIn = (definition: PipelineDefinition) =>
  definition.stages.map((stage) => ({ key: stage.key, input: stage.input, inlet: inletOf(definition, stage) }));

/** How a stage works: what is set in the project, else what the definition says, else what is usual. */
export interface StageSettings {
  batchSize: number;
  itemDelayMs: number;
  maxParallel: number;
  agentId: string | null;
  provider: string | null;
  model: string | null;
}

export const usual = { batchSize: 1, transformBatchSize: 1_000, itemDelayMs: 0, maxParallel: 10 };

export function settingsOf(stage: StageDefinition, set: Stage | undefined): StageSettings {
  const usualSize = stage.kind === 'TRANSFORM' ? usual.transformBatchSize : usual.batchSize;
  return {
    // A person looks at one item at a time.
    batchSize: stage.kind === 'REVIEW' ? 1 : (set?.batchSize ?? stage.batchSize ?? usualSize),
    itemDelayMs: set?.itemDelayMs ?? usual.itemDelayMs,
    maxParallel: set?.maxParallel ?? usual.maxParallel,
    agentId: set?.agentId ?? null,
    provider: set?.provider ?? null,
    model: set?.model ?? null,
  };
}
