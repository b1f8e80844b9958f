import type { Core } from '../core.ts';
import { readBatches } from './batch.ts';
import { kindOf } from './stages/index.ts';
import { change, type LiveBatch, type OpenTurn, type Standing, type Step, settle, takeTurns } from './turn.ts';

const begunAtOnce = 200;

/** Advances the runs that have something to do. @returns how many there were; at `limit` there may be more. */
export function advanceDue(core: Core, limit: number, signal: AbortSignal): Promise<number> {
  return takeTurns(core, limit, signal, advance);
}

/** The next step of a run, by its status. What could be settled is. */
async function advance(turn: OpenTurn): Promise<Step> {
  switch (turn.run.status) {
    case 'RUNNING':
    case 'WAITING_FOR_REVIEW':
      return turn.run.failures > turn.configuration.maxFailures ? giveUp(turn) : work(turn);
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
    const { status, waiting, live, stage } = standing;
    if (status === 'SKIPPED') continue;
    const begins = waiting > 0 || live.some(({ state }) => state === 'STARTING');
    if (begins) {
      const step = await begin(turn, standing);
      if (step !== 'full') return step;
    }
    if (stage.kind !== 'REVIEW' && (begins || live.length > 0)) return {};
    isOpen ||= begins || live.length > 0;
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
  // Nobody is spared a review because others are waiting for theirs.
  const room = stage.kind === 'REVIEW' ? begunAtOnce : maxParallel - live.length;
  const count = Math.min(room, begunAtOnce, itemDelayMs > 0 ? 1 : begunAtOnce);
  const starting = live.filter(({ state }) => state === 'STARTING');
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
  const { begun, outcomes, isEmpty } = await kindOf(stage).begin(turn, stage, batches);
  if (begun.length > 0)
    await core.db.sql('select run_submitted($1, $2, $3)', [run.id, run.fence, JSON.stringify(begun)], 'run_submitted');
  await settle(turn, outcomes);
  if (itemDelayMs > 0) await change(core, run, { stage: { key: stage.key, nextMs: itemDelayMs } });
  if (!isEmpty) return 'more';
  // What runs may give some of its quote back.
  if (begun.length + live.filter(({ taskId }) => taskId).length > 0) return {};
  // Written with the change: afterwards the run is not this worker's any more.
  const message = 'The hold of the run has too few credits for the next task; resumeRun adds what the rest needs.';
  const log = [{ level: 'WARN', message, stage: stage.key }];
  return (await change(core, run, { status: 'PAUSED', reason: 'LOW_CREDITS', log, release: true })) ? 'over' : 'more';
}

/** Between items: what is begun ends first. Reviews can wait while the run is paused. */
async function pause(turn: OpenTurn): Promise<Step> {
  if (turn.live.some(({ taskId }) => taskId)) return {};
  return finish(turn, { status: 'PAUSED', reason: turn.run.reason });
}

async function cancel(turn: OpenTurn): Promise<Step> {
  const { live, run } = turn;
  if (live.length === 0) return finish(turn, { status: 'CANCELLED' });
  const isLeft = ({ taskId }: LiveBatch) => taskId !== null && run.childrenPolicy === 'FINISH';
  return (await abandon(
    turn,
    live.filter((batch) => !isLeft(batch)),
  ))
    ? 'more'
    : {};
}

/** Too many failed: what is begun ends, and nothing more begins. */
async function giveUp(turn: OpenTurn): Promise<Step> {
  const { live, run, configuration } = turn;
  if (live.length > 0)
    return (await abandon(
      turn,
      live.filter(({ taskId }) => taskId === null),
    ))
      ? 'more'
      : {};
  const message = `${run.failures} items failed, and ${configuration.maxFailures} may. rerunFrom takes them again.`;
  return finish(turn, {
    status: 'FAILED',
    reason: 'TOO_MANY_FAILURES',
    error: { code: 'TOO_MANY_FAILURES', message, retryable: true },
  });
}

/** @returns whether any batch was given up at once; the others end by themselves. */
async function abandon(turn: OpenTurn, live: LiveBatch[]): Promise<boolean> {
  const batches = await readBatches(
    turn.core,
    live.map(({ id }) => id),
  );
  const outcomes = await Promise.all(
    turn.definition.stages.map(async (stage) => {
      const own = batches.filter((batch) => batch.stage === stage.key);
      return own.length > 0 ? kindOf(stage).abandon(turn, own) : [];
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
