import type { Core } from '../core.ts';
import type { Batch, PipelineConfiguration, Run, StageRun } from '../db.ts';
import { toId } from '../id.ts';
import { storable } from '../lifecycle/storable.ts';
import { readBatches } from './batch.ts';
import { type PipelineVersion, pipelineOf } from './catalog.ts';
import { settingsOf, stagesOf } from './configuration.ts';
import type { StageDefinition } from './definition.ts';
import type { Outcome } from './outcome.ts';
import { kindOf } from './stages/index.ts';
import type { Turn } from './stages/stage.ts';
import { runEventsChannel } from './wake.ts';

/** After this, others have their turn. */
const turnMs = 5_000;
const againMs = 1_000;
const settledAtOnce = 200;
const longestLine = 2_000;

/** Where a stage of a run stands. */
export interface Standing {
  stage: StageDefinition;
  status: StageRun['status'];
  /** Items that wait for it, in the project. */
  waiting: number;
  /** Its batches that have not ended. */
  live: LiveBatch[];
  /** Until its next batch may begin. */
  waitMs: number;
}

export type LiveBatch = Pick<Batch, 'id' | 'stage' | 'state' | 'taskId'> & {
  /** By the database's clock. */
  isDue: boolean;
};

/** A turn with all that its decisions stand on. */
export interface OpenTurn extends Turn {
  configuration: Pick<PipelineConfiguration, 'maxFailures' | 'stageDelayMs'>;
  standings: Standing[];
  live: LiveBatch[];
}

/** What a step of a turn came to: there is more to do now; the run has ended or is paused; or it waits, at most so long. */
export type Step = 'more' | 'over' | { waitMs?: number };

/** A change of a run by its worker; see run_turn in the migrations. */
export interface Change {
  /** From the status that the worker has read, and from no other. */
  status?: string;
  reason?: string | null;
  error?: { code: string; message: string; retryable: boolean };
  stage?: { key: string; status?: string; nextMs?: number };
  log?: { level: string; message: string; stage: string | null }[];
  dueMs?: number;
  release?: boolean;
}

/**
 * Writes a change.
 * @returns false when nothing was written: the run is another's by now, or somebody has told it something since it was read.
 */
export async function change(
  core: Core,
  run: Pick<Run, 'id' | 'fence'> & Partial<Pick<Run, 'status'>>,
  what: Change,
): Promise<boolean> {
  const guarded = what.status === undefined ? what : { ...what, from: [run.status] };
  const written = await core.db.sql(
    'select id from run_turn($1, $2, $3)',
    [run.id, run.fence, JSON.stringify(guarded)],
    'run_turn',
  );
  core.bus.wake(runEventsChannel, { runId: run.id });
  return written.length > 0;
}

/**
 * Gives each run that has something to do a turn, under a lease.
 * @param step what is done when nothing is left to settle.
 * @returns how many there were.
 */
export async function takeTurns(
  core: Core,
  limit: number,
  signal: AbortSignal,
  step: (turn: OpenTurn) => Promise<Step>,
): Promise<number> {
  const runs = await core.db.sql<Run>('select * from run_claim($1, $2)', [leaseMs(core), limit], 'run_claim');
  await Promise.all(runs.map((run) => underLease(core, run, signal, (held) => takeTurn(core, run, held, step))));
  return runs.length;
}

const leaseMs = (core: Core): number => core.config.ATELIER_LEASE_SECONDS * 1000;

/** Renews the lease of a run while its turn lasts, from the main loop: a loop that is blocked must lose it. Never throws. */
async function underLease(
  core: Core,
  run: Run,
  signal: AbortSignal,
  turn: (signal: AbortSignal) => Promise<void>,
): Promise<void> {
  const lost = new AbortController();
  const renew = async () => {
    const held = await core.db.sql(
      `update run set lease_until = clock_timestamp() + $3 * interval '1 millisecond' where id = $1 and fence = $2 and lease_until is not null returning id`,
      [run.id, run.fence, leaseMs(core)],
      'run_renew',
    );
    if (held.length === 0) lost.abort();
  };
  // With Postgres away nobody else can claim it either; the fence decides when it is back.
  const timer = setInterval(() => renew().catch(() => {}), leaseMs(core) / 3);
  try {
    await turn(AbortSignal.any([signal, lost.signal]));
  } catch (err) {
    core.log.warn({ runId: toId('Run', run.id), err }, 'a turn at a run went wrong; it is taken again');
    await change(core, run, { dueMs: againMs, release: true }).catch(() => {});
  } finally {
    clearInterval(timer);
  }
}

async function takeTurn(
  core: Core,
  { id, fence, pipelineId }: Run,
  signal: AbortSignal,
  step: (turn: OpenTurn) => Promise<Step>,
): Promise<void> {
  const until = performance.now() + turnMs;
  const pipeline = await pipelineOf(core, pipelineId);
  while (performance.now() < until && !signal.aborted) {
    const [run] = await core.db.sql<Run>('select * from run where id = $1 and fence = $2', [id, fence], 'run_own');
    if (!run) return;
    const lines: Change['log'] = [];
    const turn = await openTurn(core, run, pipeline, {
      signal,
      log: (level, message, stage) =>
        lines.push({ level, message: storable(message.slice(0, longestLine)), stage: stage ?? null }),
    });
    const next = (await settleDue(turn)) ? 'more' : await step(turn);
    if (lines.length > 0) await change(core, run, { log: lines });
    if (next === 'over') return;
    if (next === 'more') continue;
    await change(core, run, { dueMs: next.waitMs, release: true });
    return;
  }
  await change(core, { id, fence }, { dueMs: 0, release: true });
}

async function openTurn(
  core: Core,
  run: Run,
  { definition }: PipelineVersion,
  own: Pick<Turn, 'signal' | 'log'>,
): Promise<OpenTurn> {
  const [stages, stageRuns, live, [configuration]] = await Promise.all([
    stagesOf(core, run.configurationId, definition),
    core.db.sql<StageRun & { waitMs: number | null }>(
      'select *, (extract(epoch from next_at - clock_timestamp()) * 1000)::float8 as wait_ms from stage_run where run_id = $1',
      [run.id],
      'run_stages',
    ),
    core.db.sql<LiveBatch>(
      `select id, stage, state, task_id, coalesce(due_at <= clock_timestamp(), false) as is_due from batch where run_id = $1 and state in ('STARTING', 'RUNNING') order by id`,
      [run.id],
      'run_live',
    ),
    core.db.sql<OpenTurn['configuration']>(
      'select max_failures, stage_delay_ms from pipeline_configuration where id = $1',
      [run.configurationId],
      'run_configuration',
    ),
  ]);
  const standings = definition.stages.map((stage): Standing => {
    const inRun = stageRuns.find(({ key }) => key === stage.key);
    return {
      stage,
      status: inRun?.status ?? 'SKIPPED',
      waiting: stages.get(stage.key)?.waiting ?? 0,
      live: live.filter((batch) => batch.stage === stage.key),
      waitMs: Math.max(0, inRun?.waitMs ?? 0),
    };
  });
  const settings = (stage: StageDefinition) => settingsOf(stage, stages.get(stage.key));
  return { ...own, core, run, definition, configuration: configuration!, standings, live, settings };
}

/** Settles batches that are due. @returns whether any was settled. */
async function settleDue(turn: OpenTurn): Promise<boolean> {
  const due = turn.live.filter(({ isDue }) => isDue).slice(0, settledAtOnce);
  const batches = await readBatches(
    turn.core,
    due.map(({ id }) => id),
  );
  const collected = turn.definition.stages.map((stage) => {
    const own = batches.filter((batch) => batch.stage === stage.key);
    return own.length > 0 ? kindOf(stage).collect(turn, stage, own) : [];
  });
  return settle(
    turn,
    (await Promise.all(collected)).flat().filter((outcome) => outcome !== null),
  );
}

/** Writes what became of batches, each once. @returns whether there was any. */
export async function settle({ core, run }: OpenTurn, outcomes: Outcome[]): Promise<boolean> {
  if (outcomes.length === 0) return false;
  const json = JSON.stringify(outcomes);
  await core.db.sql('select id from run_settle($1, $2, $3)', [run.id, run.fence, json], 'run_settle');
  core.bus.wake(runEventsChannel, { runId: run.id });
  return true;
}
