import type { Core } from '../core.ts';
import { cancelTasks } from '../lifecycle/cancel.ts';
import { readBatches } from './batch.ts';
import { checkInlet } from './inlet.ts';
import { kindOf } from './stages/index.ts';
import {
  batchesAtOnce,
  change,
  type OpenTurn,
  openTurns,
  type Standing,
  type Step,
  settle,
  type Turns,
} from './turn.ts';

/** Advances the runs that have something to do: so many at once, in this process. @param again is called when there is room for more. */
export function openRuns(core: Core, atOnce: number, again: () => void): Turns {
  return openTurns(core, { atOnce, again }, advance);
}

/** The next step of a run, by its status. What could be settled is. */
async function advance(turn: OpenTurn): Promise<Step> {
  switch (turn.run.status) {
    case 'RUNNING':
    case 'WAITING_FOR_REVIEW':
      return turn.run.failures > turn.configuration.maxFailures ? fail(turn) : work(turn);
    case 'PAUSING':
      return pause(turn);
    case 'CANCELLING':
      return cancel(turn);
    default:
      return {};
  }
}

/** The first stage that has something to do does it; those after it wait for it, but not for its reviews. */
async function work(turn: OpenTurn): Promise<Step> {
  let isOpen = false;
  for (const standing of turn.standings) {
    const { status, waiting, running, live, stage } = standing;
    if (status === 'SKIPPED') continue;
    const begins = waiting > 0 || live.some(({ state }) => state === 'STARTING');
    if (begins) {
      const step = await begin(turn, standing);
      if (step !== 'full') return step;
    }
    if (stage.kind !== 'REVIEW' && (begins || running > 0)) return {};
    isOpen ||= begins || running > 0;
    if (!isOpen && status !== 'COMPLETED') {
      await change(turn.core, turn.run, { stage: { key: stage.key, status: 'COMPLETED' } });
      return 'more';
    }
  }
  if (!isOpen) return finish(turn, { status: 'COMPLETED' });
  if (turn.run.status !== 'RUNNING') return {};
  return (await change(turn.core, turn.run, { status: 'WAITING_FOR_REVIEW' })) ? {} : 'more';
}

/** Begins what a stage has room for. `full`: it has none. */
async function begin(turn: OpenTurn, { stage, status, live, waitMs }: Standing): Promise<Step | 'full'> {
  const { core, run, configuration, settings } = turn;
  if (run.status !== 'RUNNING') {
    await change(core, run, { status: 'RUNNING' });
    return 'more';
  }
  if (status !== 'RUNNING') {
    const isFirst = turn.standings.find((each) => each.status !== 'SKIPPED')?.stage === stage;
    const nextMs = isFirst ? 0 : configuration.stageDelayMs;
    await change(core, run, { stage: { key: stage.key, status: 'RUNNING', nextMs } });
    return 'more';
  }
  if (waitMs > 0) return { waitMs: Math.ceil(waitMs) };
  const { batchSize, maxParallel, itemDelayMs } = settings(stage);
  const atOnce = itemDelayMs > 0 ? 1 : batchesAtOnce(turn, stage);
  const room = stage.kind === 'REVIEW' ? atOnce : maxParallel - live.length;
  const starting = live.filter(({ state }) => state === 'STARTING').slice(0, atOnce);
  const count = Math.min(room, atOnce - starting.length);
  const taken =
    count > 0
      ? await core.db.sql<{ id: string }>(
          'select id from run_take($1, $2, $3, $4, $5) as id',
          [run.id, run.fence, stage.key, batchSize, count],
          'run_take',
        )
      : [];
  const batches = await readBatches(
    core,
    [...starting, ...taken].map(({ id }) => id),
  );
  if (batches.length === 0) return 'full';
  const checked = await checkInlet(turn, stage, batches);
  const { begun, outcomes, refused } = await kindOf(stage).begin(turn, stage, checked.batches);
  await settle(turn, [...checked.outcomes, ...outcomes]);
  if (itemDelayMs > 0) await change(core, run, { stage: { key: stage.key, nextMs: itemDelayMs } });
  if (refused === undefined) return 'more';
  // What runs may give some of its quote back.
  if (begun > 0 || turn.live.some(({ taskId }) => taskId)) return {};
  // Nothing is at work while a run is paused.
  await settle(turn, await kindOf(stage).giveUp(turn, batches));
  // Written with the change: afterwards the run is not this worker's any more.
  const message = 'The hold of the run has too few credits for the next task; resumeRun adds what the rest needs.';
  const log = [{ level: 'WARN', message, stage: stage.key }];
  const at = { key: stage.key };
  const paused = { status: 'PAUSED', reason: 'LOW_CREDITS', refused, stage: at, log, release: true };
  return (await change(core, run, paused)) ? 'over' : 'more';
}

/** Between items: what is begun ends first. Reviews can wait while the run is paused. */
async function pause(turn: OpenTurn): Promise<Step> {
  const isTaken = ({ stage, live }: Standing) =>
    stage.kind !== 'REVIEW' && live.some(({ state }) => state === 'STARTING');
  if (await giveUp(turn, turn.standings.filter(isTaken))) return 'more';
  if (turn.live.some(({ taskId }) => taskId)) return {};
  return finish(turn, { status: 'PAUSED', reason: turn.run.reason });
}

async function cancel(turn: OpenTurn): Promise<Step> {
  if (isIdle(turn)) return finish(turn, { status: 'CANCELLED' });
  if (await giveUp(turn, turn.standings)) return 'more';
  const tasks = turn.live.flatMap(({ taskId }) => taskId ?? []);
  if (turn.run.childrenPolicy !== 'FINISH') await cancelTasks(turn.core, tasks);
  return {};
}

/** Too many failed: what is begun ends, and nothing more begins. */
async function fail(turn: OpenTurn): Promise<Step> {
  const { run, configuration } = turn;
  if (!isIdle(turn)) return (await giveUp(turn, turn.standings)) ? 'more' : {};
  const message = `${run.failures} items failed, and ${configuration.maxFailures} may; the log of the run says why. rerunFrom takes them again.`;
  return finish(turn, {
    status: 'FAILED',
    reason: 'TOO_MANY_FAILURES',
    error: { code: 'TOO_MANY_FAILURES', message, retryable: true },
  });
}

const isIdle = ({ standings }: OpenTurn): boolean => standings.every(({ running }) => running === 0);

/** Ends the batches of stages that have no task. @returns whether there were any: there may be more. */
async function giveUp(turn: OpenTurn, standings: Standing[]): Promise<boolean> {
  const outcomes = await Promise.all(
    standings.map(async ({ stage, running }) => {
      if (running === 0) return [];
      const rows = await turn.core.db.sql<{ id: string }>(
        `select id from batch where run_id = $1 and stage = $2 and state in ('STARTING', 'RUNNING') and task_id is null
           and (due_at is null or due_at > clock_timestamp()) order by id limit $3`,
        [turn.run.id, stage.key, batchesAtOnce(turn, stage)],
        'run_given_up',
      );
      const ids = rows.map(({ id }) => id);
      return ids.length > 0 ? kindOf(stage).giveUp(turn, await readBatches(turn.core, ids)) : [];
    }),
  );
  return settle(turn, outcomes.flat());
}

async function finish(
  { core, run }: OpenTurn,
  end: { status: string; reason?: string | null; error?: { code: string; message: string; retryable: boolean } },
): Promise<Step> {
  return (await change(core, run, { ...end, release: true })) ? 'over' : 'more';
}
