import type { Core } from '../core.ts';
import type { PipelineConfiguration, Stage } from '../db.ts';
import { type FieldIssue, quoted, validation } from '../errors.ts';
import { targetsFor } from '../lifecycle/routes.ts';
import { findAgent } from './agent.ts';
import { type Configured, configure, type Scope } from './configuration.ts';
import { cronProblem, nextDates, timeZoneProblem } from './cron.ts';
import type { StageDefinition } from './definition.ts';

/** What is undefined stays; null goes back to the default. */
export interface ConfigurationChange {
  enabled?: boolean | null;
  cron?: string | null;
  timeZone?: string | null;
  overlap?: 'SKIP' | 'QUEUE' | 'CANCEL_OLD' | null;
  catchUp?: boolean | null;
  stageDelayMs?: number | null;
  maxFailures?: number | null;
  stages?: StageChange[] | null;
}

export interface StageChange {
  key: string;
  batchSize?: number | null;
  itemDelayMs?: number | null;
  maxParallel?: number | null;
  /** Its UUID. */
  agentId?: string | null;
  provider?: string | null;
  model?: string | null;
}

/** The least and the most of each setting that is a number. */
const configurationLimits = {
  stageDelayMs: [0, 86_400_000],
  maxFailures: [0, 1_000_000],
  batchSize: [1, 1_000],
  itemDelayMs: [0, 86_400_000],
  maxParallel: [1, 1_000],
} as const;

const defaults = {
  enabled: false,
  cron: null,
  timeZone: 'UTC',
  overlap: 'SKIP',
  catchUp: false,
  stageDelayMs: 0,
  maxFailures: 10,
};

/**
 * Changes how a project runs a pipeline, and says when its schedule starts the next run.
 * @throws Refusal ValidationError that says field by field what is allowed; NotFoundError for the pipeline.
 */
export async function updateConfiguration(
  core: Core,
  scope: Scope,
  pipeline: string,
  change: ConfigurationChange,
): Promise<Configured> {
  const configured = await configure(core, scope, pipeline);
  const { stages: stageChanges, ...own } = change;
  const issues = [...checkOwn(own), ...(await checkStages(core, scope, configured, stageChanges ?? []))];
  if (issues.length > 0) throw validation(issues);
  const client = await core.db.pool.connect();
  try {
    await client.query('begin');
    const locked = await client.query(
      `select enabled, cron, time_zone as "timeZone", overlap, catch_up as "catchUp", stage_delay_ms as "stageDelayMs", max_failures as "maxFailures",
         next_run_at as "nextRunAt", clock_timestamp() as now from pipeline_configuration where id = $1 for no key update`,
      [configured.configuration.id],
    );
    const { now, nextRunAt: before, ...old } = locked.rows[0] as PipelineConfiguration & { now: Date };
    const set = merge(old, own, defaults);
    const isSame = old.enabled === set.enabled && old.cron === set.cron && old.timeZone === set.timeZone;
    // A date that is due stays due when something else is changed.
    const nextRunAt = isSame ? before : nextRun(set, now);
    await client.query(
      `update pipeline_configuration set enabled = $2, cron = $3, time_zone = $4, overlap = $5, catch_up = $6, stage_delay_ms = $7, max_failures = $8,
         next_run_at = $9, queued = queued and $2 where id = $1`,
      [
        configured.configuration.id,
        set.enabled,
        set.cron,
        set.timeZone,
        set.overlap,
        set.catchUp,
        set.stageDelayMs,
        set.maxFailures,
        nextRunAt,
      ],
    );
    // In the order in which others lock them, by the collation of the database.
    await client.query('select from stage where configuration_id = $1 order by key for update', [
      configured.configuration.id,
    ]);
    for (const { key, ...stage } of stageChanges ?? []) {
      const row = merge(configured.stages.get(key)!, stage, {});
      await client.query(
        `update stage set batch_size = $3, item_delay_ms = $4, max_parallel = $5, agent_id = $6, provider = $7, model = $8
         where configuration_id = $1 and key = $2`,
        [
          configured.configuration.id,
          key,
          row.batchSize,
          row.itemDelayMs,
          row.maxParallel,
          row.agentId,
          row.provider,
          row.model,
        ],
      );
    }
    await client.query('commit');
  } catch (error) {
    await client.query('rollback').catch(() => {});
    throw error;
  } finally {
    client.release();
  }
  return configure(core, scope, pipeline);
}

/** When a schedule starts the next run, after a moment; null: never. */
export function nextRun(
  { enabled, cron, timeZone }: Pick<PipelineConfiguration, 'enabled' | 'cron' | 'timeZone'>,
  after: Date,
): Date | null {
  return enabled && cron !== null ? (nextDates(cron, timeZone, after, 1)[0] ?? null) : null;
}

function merge<Row extends object>(
  row: Row,
  change: { [Field in keyof Row]?: Row[Field] | null },
  otherwise: object,
): Row {
  const given = Object.entries(change)
    .filter(([, value]) => value !== undefined)
    .map(([key, value]) => [key, value ?? (otherwise as Record<string, unknown>)[key] ?? null]);
  return { ...row, ...Object.fromEntries(given) };
}

function checkOwn({ cron, timeZone, ...own }: Omit<ConfigurationChange, 'stages'>): FieldIssue[] {
  const problems = {
    cron: cron == null ? undefined : cronProblem(cron),
    timeZone: timeZone == null ? undefined : timeZoneProblem(timeZone),
    stageDelayMs: outside('stageDelayMs', own.stageDelayMs),
    maxFailures: outside('maxFailures', own.maxFailures),
  };
  return Object.entries(problems).flatMap(([field, message]) => (message ? [{ path: ['input', field], message }] : []));
}

function outside(field: keyof typeof configurationLimits, value: number | null | undefined): string | undefined {
  const [least, most] = configurationLimits[field];
  return value == null || (value >= least && value <= most)
    ? undefined
    : `must be from ${least} to ${most.toLocaleString('en')}`;
}

async function checkStages(
  core: Core,
  scope: Scope,
  { pipeline: { definition }, stages }: Configured,
  changes: StageChange[],
): Promise<FieldIssue[]> {
  const seen = new Set<string>();
  const issues: FieldIssue[] = [];
  for (const [index, change] of changes.entries()) {
    const { key } = change;
    const stage = definition.stages.find((each) => each.key === key);
    const all = definition.stages.map((each) => each.key).join(', ');
    const found: FieldIssue[] = [];
    if (!stage) found.push({ path: ['key'], message: `no stage ${quoted(key)}; there is ${all}` });
    else if (seen.has(key)) found.push({ path: ['key'], message: `"${key}" stands here twice` });
    else found.push(...(await checkStage(core, scope, stage, stages.get(key)!, change)));
    seen.add(key);
    issues.push(...found.map(({ path, message }) => ({ path: ['input', 'stages', String(index), ...path], message })));
  }
  return issues;
}

async function checkStage(
  core: Core,
  scope: Scope,
  stage: StageDefinition,
  row: Stage,
  change: StageChange,
): Promise<FieldIssue[]> {
  const issues: FieldIssue[] = [];
  const refuse = (message: string | false | undefined, field: string) => {
    if (message) issues.push({ path: [field], message });
  };
  for (const field of ['batchSize', 'itemDelayMs', 'maxParallel'] as const)
    refuse(outside(field, change[field]), field);
  const { batchSize, agentId } = change;
  refuse(stage.kind === 'REVIEW' && (batchSize ?? 1) > 1 && 'a person looks at one item at a time', 'batchSize');
  if (stage.kind !== 'TASKS') {
    for (const field of ['agentId', 'provider', 'model'] as const)
      refuse(change[field] != null && 'only a stage of the kind TASKS has it', field);
    return issues;
  }
  const agent = agentId == null ? undefined : await findAgent(core, scope, agentId);
  refuse(agentId != null && !agent && 'no such agent profile in this project', 'agentId');
  refuse(
    agent && agent.taskType !== stage.taskType && `this agent does ${agent.taskType}, and the stage ${stage.taskType}`,
    'agentId',
  );
  const { provider, model } = merge(row, { provider: change.provider, model: change.model }, {});
  if (change.provider == null && change.model == null && !(provider === null && model !== null)) return issues;
  if (provider === null) refuse(model !== null && 'needs its provider', 'model');
  else issues.push(...(await targetsFor(core, stage.taskType, provider, model)).issues);
  return issues;
}
