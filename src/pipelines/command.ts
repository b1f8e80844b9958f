import type { Core } from '../core.ts';
import type { Run } from '../db.ts';
import { conflict, notFound, Refusal } from '../errors.ts';
import { raised, raisedBy, tooFewCredits } from '../lifecycle/credits.ts';
import { pipelineOf } from './catalog.ts';
import { stagesOf } from './configuration.ts';
import { estimateRun } from './estimate.ts';
import { runIsLive, startRun } from './start.ts';
import { endedStatuses } from './status.ts';
import { runEventsChannel, runsChannel } from './wake.ts';

/**
 * Pauses a run between items: what is begun ends first. Again, it gives the same answer.
 * @throws Refusal ConflictError when it has ended or is being cancelled.
 */
export async function pauseRun(core: Core, run: Run): Promise<Run> {
  const paused = await command(core, run, 'PAUSING', ['RUNNING', 'WAITING_FOR_REVIEW']);
  if (paused) return paused;
  const now = await reread(core, run);
  if (now.status === 'PAUSING' || now.status === 'PAUSED') return now;
  throw refuse(now, 'can be paused while it is RUNNING or WAITING_FOR_REVIEW');
}

/**
 * Goes on with a paused run. One that ran out of credits gets what the rest needs.
 * @throws Refusal ConflictError when it has ended or is being cancelled, or nobody can do the rest any more; InsufficientCreditsError.
 */
export async function resumeRun(core: Core, run: Run): Promise<Run> {
  const credits = run.reason === 'LOW_CREDITS' ? await missing(core, run) : 0;
  const resumed = await command(core, run, 'RUNNING', ['PAUSED', 'PAUSING'], { credits });
  if (resumed) return resumed;
  const now = await reread(core, run);
  // Two who resume at once both have what they want.
  if (now.status === 'RUNNING' || now.status === 'WAITING_FOR_REVIEW') return now;
  throw refuse(now, 'can be resumed while it is PAUSED');
}

/**
 * Cancels a run. What it has made stays; the rest of its hold goes back.
 * @param children CANCEL: its tasks are cancelled; FINISH: those that have begun end first.
 * @throws Refusal ConflictError when it has ended.
 */
export async function cancelRun(core: Core, run: Run, children: 'CANCEL' | 'FINISH'): Promise<Run> {
  const live = ['RUNNING', 'PAUSING', 'PAUSED', 'WAITING_FOR_REVIEW', 'CANCELLING'];
  const cancelled = await command(core, run, 'CANCELLING', live, { children });
  if (cancelled) return cancelled;
  const now = await reread(core, run);
  if (now.status === 'CANCELLED') return now;
  throw refuse(now, 'cannot be cancelled any more');
}

/**
 * Starts a run that goes on where one failed: from a stage, with what failed there or later. What is finished is not done again.
 * @throws Refusal as startRun does; RunAlreadyActiveError for one that has not ended.
 */
export async function rerunFrom(
  core: Core,
  run: Run,
  { stage, idempotencyKey }: { stage: string; idempotencyKey?: string | null },
): Promise<Run> {
  if (!endedStatuses.includes(run.status)) throw runIsLive(run.id);
  const { name } = await pipelineOf(core, run.pipelineId);
  const request = { pipeline: name, trigger: 'MANUAL' as const, rerun: { runId: run.id, stage }, input: run.input };
  return startRun(core, run, { ...request, idempotencyKey });
}

async function command(
  core: Core,
  run: Run,
  status: string,
  from: string[],
  { children, credits = 0 }: { children?: string; credits?: number } = {},
): Promise<Run | undefined> {
  try {
    const [changed] = await core.db.sql<Run>(
      'select * from run_command($1, $2, $3, $4, $5)',
      [run.id, status, from, children ?? null, credits],
      'run_command',
    );
    if (changed) {
      core.bus.wake(runsChannel, { runId: run.id });
      core.bus.wake(runEventsChannel, { runId: run.id });
    }
    return changed;
  } catch (error) {
    const refusal = raisedBy(error);
    if (refusal?.code !== raised.tooFewCredits) throw error;
    const { required, available } = JSON.parse(refusal.detail) as { required: number; available: number };
    throw tooFewCredits(required, available);
  }
}

/** What the rest of a run needs, beyond what its hold has. */
async function missing(core: Core, run: Run): Promise<number> {
  const pipeline = await pipelineOf(core, run.pipelineId);
  const stages = await stagesOf(core, run.configurationId, pipeline.definition);
  // Taken, and without a task for want of credits.
  const starting = await core.db.sql<{ stage: string; count: number }>(
    `select b.stage, count(*)::int from batch b join work w on w.batch_id = b.id where b.run_id = $1 and b.state = 'STARTING' group by 1`,
    [run.id],
  );
  for (const { stage, count } of starting) {
    const row = stages.get(stage)!;
    stages.set(stage, { ...row, waiting: row.waiting + count });
  }
  const configured = { pipeline, stages } as never;
  const { required } = await estimateRun(core, run, configured, {
    input: run.input,
    from: run.fromStage ?? undefined,
  }).catch((error) => {
    if (!(error instanceof Refusal) || error.kind !== 'ValidationError') throw error;
    throw conflict('CANNOT_ESTIMATE', `What the rest needs cannot be said: ${error.message}`);
  });
  const [hold] = await core.db.sql<{ remaining: bigint }>('select remaining from hold where id = $1', [run.holdId]);
  return Math.max(0, required - Number(hold?.remaining ?? 0));
}

async function reread(core: Core, { id }: Run): Promise<Run> {
  const [run] = await core.db.sql<Run>('select * from run where id = $1', [id]);
  if (!run) throw notFound('run');
  return run;
}

const refuse = ({ status }: Run, what: string) => conflict('RUN_STATUS', `This run is ${status}; a run ${what}.`);
