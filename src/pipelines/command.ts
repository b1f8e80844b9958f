import type { Core } from '../core.ts';
import type { Run } from '../db.ts';
import { conflict, notFound, Refusal } from '../errors.ts';
import { raised, raisedBy, tooFewCredits } from '../lifecycle/credits.ts';
import { pipelineOf } from './catalog.ts';
import { readStages, settingsOf } from './configuration.ts';
import { estimateRun } from './estimate.ts';
import { runIsLive, startRun } from './start.ts';
import { endedStatuses } from './status.ts';
import { runEventsChannel, runsChannel } from './wake.ts';

/**
 * Pauses a run between items: what is begun ends first. Again, it gives the same answer.
 * @throws Refusal ConflictError when it has ended or is being cancelled.
 */
export async function pauseRun(core: Core, run: Run): Promise<Run> {
  const { now, isTold } = await tell(core, run, 'PAUSING', ['RUNNING', 'WAITING_FOR_REVIEW']);
  if (isTold || now.status === 'PAUSING' || now.status === 'PAUSED') return now;
  throw refuse(now, 'can be paused while it is RUNNING or WAITING_FOR_REVIEW');
}

/**
 * Goes on with a paused run. One that ran out of credits gets what the rest needs.
 * @throws Refusal ConflictError when it has ended or is being cancelled, or nobody can do the rest any more; InsufficientCreditsError.
 */
export async function resumeRun(core: Core, run: Run): Promise<Run> {
  const credits = run.reason === 'LOW_CREDITS' ? await missing(core, run) : 0;
  const { now, isTold } = await tell(core, run, 'RUNNING', ['PAUSED', 'PAUSING'], { credits });
  // Two who resume at once both have what they want.
  if (isTold || now.status === 'RUNNING' || now.status === 'WAITING_FOR_REVIEW') return now;
  throw refuse(now, 'can be resumed while it is PAUSED');
}

/**
 * Cancels a run. What it has made stays; the rest of its hold goes back.
 * @param children CANCEL: its tasks are cancelled; FINISH: those that have begun end first.
 * @throws Refusal ConflictError when it has ended.
 */
export async function cancelRun(core: Core, run: Run, children: 'CANCEL' | 'FINISH'): Promise<Run> {
  const live = ['RUNNING', 'PAUSING', 'PAUSED', 'WAITING_FOR_REVIEW', 'CANCELLING'];
  const { now, isTold } = await tell(core, run, 'CANCELLING', live, { children });
  if (isTold || now.status === 'CANCELLED') return now;
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

/** Tells a run where to go, from one of these. @returns how it is then; isTold false: it stood elsewhere. */
async function tell(
  core: Core,
  run: Run,
  status: string,
  from: string[],
  { children, credits = 0 }: { children?: string; credits?: number } = {},
): Promise<{ now: Run; isTold: boolean }> {
  try {
    const [changed] = await core.db.sql<Run>(
      'select * from run_command($1, $2, $3, $4, $5)',
      [run.id, status, from, children ?? null, credits],
      'run_command',
    );
    if (changed) {
      core.bus.wake(runsChannel, { runId: run.id });
      core.bus.wake(runEventsChannel, { runId: run.id });
      return { now: changed, isTold: true };
    }
  } catch (error) {
    const refusal = raisedBy(error);
    if (refusal?.code !== raised.tooFewCredits) throw error;
    const { required, available } = JSON.parse(refusal.detail) as { required: number; available: number };
    throw tooFewCredits(required, available);
  }
  const now = await reread(core, run);
  // It came there between the two.
  return from.includes(now.status) ? tell(core, run, status, from, { children, credits }) : { now, isTold: false };
}

/** What the rest of a run needs, beyond what its hold has. */
async function missing(core: Core, run: Run): Promise<number> {
  const pipeline = await pipelineOf(core, run.pipelineId);
  const stages = await readStages(core, run.configurationId);
  const from = run.fromStage ?? undefined;
  const { required } = await estimateRun(core, run, { pipeline, stages }, { input: run.input, from }).catch((error) => {
    if (!(error instanceof Refusal) || error.kind !== 'ValidationError') throw error;
    throw conflict('CANNOT_ESTIMATE', `What the rest needs cannot be said: ${error.message}`);
  });
  const [hold] = await core.db.sql<{ remaining: bigint }>('select remaining from hold where id = $1', [run.holdId]);
  // An estimate goes by one item; what was refused is what the stage really takes.
  const stage = pipeline.definition.stages.find(({ key }) => key === run.currentStage)!;
  const row = stages.get(stage.key);
  const batches = Math.ceil((row?.waiting ?? 0) / settingsOf(stage, row).batchSize);
  return Math.max(0, Math.max(required, Number(run.refused ?? 0) * batches) - Number(hold?.remaining ?? 0));
}

async function reread(core: Core, { id }: Run): Promise<Run> {
  const [run] = await core.db.sql<Run>('select * from run where id = $1', [id]);
  if (!run) throw notFound('run');
  return run;
}

const refuse = ({ status }: Run, what: string) => conflict('RUN_STATUS', `This run is ${status}; a run ${what}.`);
