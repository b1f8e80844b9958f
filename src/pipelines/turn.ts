import type { Core } from '../core.ts';
import type { Batch, PipelineConfiguration, Run, StageRun } from '../db.ts';
import { toId } from '../id.ts';
import { storable, storableJson } from '../lifecycle/storable.ts';
import { readBatches } from './batch.ts';
import { type PipelineVersion, pipelineOf } from './catalog.ts';
import { readStages, settingsOf } from './configuration.ts';
import type { StageDefinition } from './definition.ts';
import type { Outcome } from './outcome.ts';
import { kindOf } from './stages/index.ts';
import type { Turn } from './stages/stage.ts';
import { runEventsChannel } from './wake.ts';

/** After this, others have their turn. */
const turnMs = 5_000;
/** In one statement: with more it would take longer than a statement may. */
const itemsAtOnce = 2_000;
const mostLive = 2_000;
const longestLine = 2_000;
/** Of the items that failed together. */
const failuresLogged = 20;
/** In a row; the rests between them add up to some minutes. */
const wrongTurns = 10;

/** Where a stage of a run stands. */
export interface Standing {
  stage: StageDefinition;
  status: StageRun['status'];
  /** Items that wait for it, in the project. */
  waiting: number;
  /** Items that it has at work, reviews too. */
  running: number;
  /** Its batches that have a task, or wait for one. */
  live: LiveBatch[];
  /** Until its next batch may begin. */
  waitMs: number;
}

/** A batch that has not ended. */
export type LiveBatch = Pick<Batch, 'id' | 'stage' | 'state' | 'taskId'> & {
  /** By the database's clock. */
  isDue: boolean;
};

/** A turn with all that its decisions stand on. */
export interface OpenTurn extends Turn {
  configuration: Pick<PipelineConfiguration, 'maxFailures' | 'stageDelayMs'>;
  standings: Standing[];
  /** All that is due, starts or has a task; not the reviews that wait for somebody. */
  live: LiveBatch[];
  /** Of the run's log, not written yet. */
  lines: LogLine[];
}

/** What a step of a turn came to: there is more to do now; the run has ended or is paused; or it waits, at most so long. */
export type Step = 'more' | 'over' | { waitMs?: number };

/** A change of a run by its worker; see run_turn in the migrations. */
export interface Change {
  /** From the status that the worker has read, and from no other. */
  status?: string;
  reason?: string | null;
  refused?: number;
  error?: { code: string; message: string; retryable: boolean };
  stage?: { key: string; status?: string; nextMs?: number };
  log?: LogLine[];
  dueMs?: number;
  release?: boolean;
}

interface LogLine {
  level: string;
  message: string;
  stage: string | null;
}

/** The turns that one process gives to runs. */
export interface Turns {
  /** Claims runs that have something to do, as many as there is room for; each gets its turn, and is not waited for. */
  take(): Promise<void>;
  /** Resolves when no turn is under way. */
  settled(): Promise<void>;
  /** Ends the turns that are under way: the runs are anybody's. */
  close(): Promise<void>;
}

/**
 * Gives each run that has something to do a turn, under a lease.
 * @param options.atOnce how many at most. @param options.again is called when a turn has ended: there is room.
 * @param step what is done when nothing is left to settle.
 */
export function openTurns(
  core: Core,
  { atOnce, again }: { atOnce: number; again(): void },
  step: (turn: OpenTurn) => Promise<Step>,
): Turns {
  const underWay = new Set<Promise<void>>();
  const closing = new AbortController();
  const settled = async () => {
    while (underWay.size > 0) await Promise.all(underWay);
  };
  return {
    async take() {
      const room = atOnce - underWay.size;
      if (room === 0 || closing.signal.aborted) return;
      const runs = await core.db.sql<Run>('select * from run_claim($1, $2)', [leaseMs(core), room], 'run_claim');
      for (const run of runs) {
        const turn = underLease(core, run, closing.signal, (signal) => takeTurn(core, run, signal, step)).finally(
          () => {
            underWay.delete(turn);
            again();
          },
        );
        underWay.add(turn);
      }
    },
    settled,
    close() {
      closing.abort();
      return settled();
    },
  };
}

const leaseMs = (core: Core): number => core.config.ATELIER_LEASE_SECONDS * 1000;

/** Renews the lease of a run while its turn lasts, from the main loop: a loop that is blocked must lose it. Never throws. */
async function underLease(
  core: Core,
  run: Run,
  closing: AbortSignal,
  turn: (signal: AbortSignal) => Promise<void>,
): Promise<void> {
  const ending = new AbortController();
  const leave = () => ending.abort(closing.reason);
  closing.addEventListener('abort', leave, { once: true });
  if (closing.aborted) leave();
  const renew = async () => {
    const held = await core.db.sql(
      `update run set lease_until = clock_timestamp() + $3 * interval '1 millisecond' where id = $1 and fence = $2 and lease_until is not null returning id`,
      [run.id, run.fence, leaseMs(core)],
      'run_renew',
    );
    if (held.length === 0) ending.abort();
  };
  // With Postgres away nobody else can claim it either; the fence decides when it is back.
  const timer = setInterval(() => renew().catch(() => {}), leaseMs(core) / 3);
  try {
    await turn(ending.signal);
  } catch (error) {
    await (ending.signal.aborted ? change(core, run, { dueMs: 0, release: true }) : goWrong(core, run, error)).catch(
      () => {},
    );
  } finally {
    clearInterval(timer);
    closing.removeEventListener('abort', leave);
  }
}

/** A turn that goes wrong is taken again after a rest; one that always does pauses the run. */
async function goWrong(core: Core, run: Run, err: unknown): Promise<void> {
  core.log.warn({ runId: toId('Run', run.id), err }, 'a turn at a run went wrong; it is taken again');
  const message =
    'Something is wrong that going on does not mend; the log of the worker says what. resumeRun tries it again.';
  const line: LogLine = { level: 'ERROR', message, stage: null };
  await core.db.sql(
    'select id from run_went_wrong($1, $2, $3, $4)',
    [run.id, run.fence, wrongTurns, JSON.stringify(line)],
    'run_went_wrong',
  );
  core.bus.wake(runEventsChannel, { runId: run.id });
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
    const turn = await openTurn(core, run, pipeline, signal);
    const next = (await settleDue(turn)) ? 'more' : await step(turn);
    await writeLog(turn);
    if (next === 'over') return;
    if (next === 'more') continue;
    await change(core, run, { dueMs: next.waitMs, release: true });
    return;
  }
  await change(core, { id, fence }, { dueMs: 0, release: true });
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

async function openTurn(core: Core, run: Run, { definition }: PipelineVersion, signal: AbortSignal): Promise<OpenTurn> {
  const [stages, stageRuns, live, [configuration]] = await Promise.all([
    readStages(core, run.configurationId),
    core.db.sql<StageRun & { waitMs: number | null }>(
      'select *, (extract(epoch from next_at - clock_timestamp()) * 1000)::float8 as wait_ms from stage_run where run_id = $1',
      [run.id],
      'run_stages',
    ),
    core.db.sql<LiveBatch>(
      `select id, stage, state, task_id, coalesce(due_at <= clock_timestamp(), false) as is_due from batch
       where run_id = $1 and state in ('STARTING', 'RUNNING') and (state = 'STARTING' or task_id is not null or due_at <= clock_timestamp())
       order by id limit $2`,
      [run.id, mostLive],
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
      running: inRun?.running ?? 0,
      live: live.filter((batch) => batch.stage === stage.key),
      waitMs: Math.max(0, inRun?.waitMs ?? 0),
    };
  });
  const settings = (stage: StageDefinition) => settingsOf(stage, stages.get(stage.key));
  const lines: LogLine[] = [];
  const log: Turn['log'] = (level, message, stage) =>
    lines.push({ level, message: storable(message.slice(0, longestLine)), stage: stage ?? null });
  return { core, run, definition, configuration: configuration!, standings, live, settings, signal, lines, log };
}

/** How many batches of a stage are worked on at once; at least one. */
export function batchesAtOnce({ settings }: Turn, stage: StageDefinition): number {
  return Math.max(1, Math.min(kindOf(stage).atOnce, Math.floor(itemsAtOnce / settings(stage).batchSize)));
}

/** Settles batches that are due. @returns whether any was settled. */
async function settleDue(turn: OpenTurn): Promise<boolean> {
  const due = turn.standings.flatMap(({ stage, live }) =>
    live.filter(({ isDue }) => isDue).slice(0, batchesAtOnce(turn, stage)),
  );
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

/** Writes what became of batches, each once, and why those that failed did. @returns whether there was any. */
export async function settle(turn: OpenTurn, outcomes: Outcome[]): Promise<boolean> {
  if (outcomes.length === 0) return false;
  const { core, run } = turn;
  const json = storableJson(outcomes);
  await core.db.sql('select id from run_settle($1, $2, $3)', [run.id, run.fence, json], 'run_settle');
  core.bus.wake(runEventsChannel, { runId: run.id });
  const failures = outcomes.filter(({ error }) => error);
  for (const { stage, items, error } of failures.slice(0, failuresLogged)) {
    const which = items.filter(({ state }) => state === 'FAILED').map(({ id }) => toId('Item', id));
    const more = which.length > 1 ? ` and ${which.length - 1} more` : '';
    turn.log('WARN', `${which[0]}${more} failed: ${error!.code}, ${error!.message}`, stage);
  }
  if (failures.length > failuresLogged) turn.log('WARN', `${failures.length - failuresLogged} batches more failed.`);
  await writeLog(turn);
  return true;
}

async function writeLog({ core, run, lines }: OpenTurn): Promise<void> {
  if (lines.length > 0) await change(core, run, { log: lines.splice(0) });
}
