import type { Core } from '../core.ts';
import type { Task } from '../db.ts';
import { isFromDatabase } from '../db.ts';
import { toId } from '../id.ts';
import { redacted } from '../redact.ts';
import type { Adapter, FailureFacts, Handle } from '../sdk/index.ts';
import { noteOutcome } from './circuit.ts';
import { classify, deadlineExceeded, toldOf } from './classify.ts';
import type { TaskContext } from './context.ts';
import type { Lease, StopReason } from './lease.ts';
import { persist } from './persist.ts';
import type { FrozenTarget } from './plan.ts';
import { creditsFor } from './prices.ts';
import { finish, flagForReview, leaveInReview, park, requeue, seek } from './status.ts';
import { decide, type Phase, type Verdict } from './verdict.ts';

/** What is known of an attempt that did not complete. */
export interface Failed {
  lease: Lease;
  phase: Phase;
  /** Where the vendor's job is found again, once that is stored. */
  handle: Handle | undefined;
  /** Until the job at the vendor is looked at again. */
  lookAgainMs: number;
  /** What the vendor itself said of its job's failure; anything else that goes wrong at a look says nothing about the job. */
  observed?: unknown;
  adapter?: Adapter;
  context?: TaskContext;
}

/** Writes what follows. */
export async function fail(core: Core, failed: Failed, error: unknown): Promise<void> {
  const { lease, handle } = failed;
  const { task, signal } = lease;
  const log = core.log.child({ taskId: toId('Task', task.id), attempt: task.attempt, provider: task.provider });
  if (signal.aborted) return stopped(core, failed, signal.reason as StopReason);
  const facts = redact(classify(error, failed.phase, failed.adapter), failed.context?.secrets ?? {});
  if (handle && failed.phase === 'watching' && error !== failed.observed) {
    log.warn({ code: facts.code }, `a look at the vendor went wrong; the job is looked at again: ${facts.message}`);
    await persist(() => park(core, task, handle, failed.lookAgainMs));
    return;
  }
  // The answer is lost already, and this look brought nothing new.
  if (failed.phase === 'seeking' && error !== failed.observed && facts.code !== 'CREDENTIAL_GONE') {
    log.warn({ code: facts.code }, `a lost job could not be looked for; it is tried again: ${facts.message}`);
    await persist(async () =>
      task.needsReview
        ? leaveInReview(core, task)
        : void (await seek(core, task, { firstMs: seekAgainMs, untilMs: 0 })),
    );
    return;
  }
  // Postgres failed, not the attempt: what came of it is found when the lease has run out.
  if (isFromDatabase(error) && !handle) throw error;

  const route = task.route as unknown as FrozenTarget[];
  const target = route[task.targetIndex];
  const verdict = decide(facts, {
    phase: failed.phase,
    hasHandle: handle !== undefined,
    resubmit: target?.resubmit ?? 'never',
    canFind: failed.adapter?.find !== undefined,
    resent: isResent(task) && error !== failed.observed,
    attempt: task.attempt,
    failures: task.failures,
    maxAttempts: core.config.ATELIER_MAX_ATTEMPTS,
    otherCredentials: (core.registry.adapter(target?.provider ?? '')?.credentials.length ?? 1) - 1,
    hasNextTarget: task.targetIndex + 1 < route.length,
  });
  log.warn({ code: facts.code, verdict }, `the attempt failed (${facts.class}): ${facts.message}`);
  if (facts.class === 'bug') log.error({ stack: stackOf(error, failed) }, 'the adapter is wrong');
  // Lost with a connection, it is one failure fewer that is counted.
  const isOurs = facts.class === 'authentication' || facts.class === 'quota';
  if (failed.phase === 'starting' || (failed.phase === 'preparing' && isOurs))
    await noteOutcome(core, task, facts).catch((cause) => log.warn({ err: cause }, 'a failure was not counted'));
  await persist(() => write(core, failed, facts, verdict));
}

async function write(core: Core, failed: Failed, facts: FailureFacts, verdict: Verdict): Promise<void> {
  const { handle } = failed;
  const { task } = failed.lease;
  const error = toldOf(facts);
  if (verdict.next === 'review') await (task.needsReview ? leaveInReview(core, task) : flagForReview(core, task));
  else if (verdict.next === 'seek') await seek(core, task, seekTimes(failed, false));
  else if (verdict.next === 'look again') await park(core, task, handle!, verdict.delayMs);
  else if (verdict.next === 'end') {
    const usage = Array.isArray(facts.billed) ? facts.billed : [];
    const target = (task.route as unknown as FrozenTarget[])[task.targetIndex];
    await finish(core, task, { status: 'FAILED', error, charge: creditsFor(usage, target?.prices ?? []) ?? 0, usage });
  } else {
    const how =
      verdict.next === 'next target'
        ? { targetIndex: task.targetIndex + 1, failures: -task.failures }
        : { delayMs: verdict.delayMs, failures: verdict.counts ? 1 : 0, resend: verdict.resend };
    // Not queued: cancelled meanwhile, or no longer ours; the fence tells which.
    if (!(await requeue(core, task, { ...how, error }))) await finish(core, task, { status: 'CANCELLED' });
  }
}

async function stopped(core: Core, failed: Failed, reason: StopReason): Promise<void> {
  const { handle, phase } = failed;
  const { task } = failed.lease;
  if (reason === 'lost') return;
  if (handle) {
    // The next look tells the vendor of a cancel or a deadline; handed back, another worker looks.
    await persist(() => park(core, task, handle, 0));
  } else if (reason === 'deadline' && phase === 'seeking' && failed.adapter?.resubmit !== 'safe') {
    await persist(() => flagForReview(core, task));
  } else if (reason === 'deadline') {
    await persist(() => finish(core, task, { status: 'FAILED', error: deadlineExceeded }));
  } else if (reason === 'cancelled' || !(await persist(() => requeue(core, task, {})))) {
    await persist(() => finish(core, task, { status: 'CANCELLED' }));
  }
}

/** True for an attempt that sends an earlier one's key again. */
export const isResent = ({ id, attempt, attemptKey }: Pick<Task, 'id' | 'attempt' | 'attemptKey'>): boolean =>
  attemptKey !== null && attemptKey !== `${id}-${attempt}`;

/** A vendor that was asked in vain is asked again after this. */
export const seekAgainMs = 2_000;

/**
 * When a lost job is first looked for, and from when on one that is not seen was never taken in.
 * @param mayStillBe the call itself may be under way yet: the worker that made it is gone, and nobody could end it.
 */
export function seekTimes(
  { adapter }: Pick<Failed, 'adapter'>,
  mayStillBe: boolean,
): { firstMs: number; untilMs: number } {
  const visibleMs = adapter?.visibleAfterMs ?? defaultVisibleAfterMs;
  const callMs = mayStillBe ? (adapter?.startTimeoutMs ?? defaultStartTimeoutMs) : 0;
  return { firstMs: Math.min(visibleMs, seekAgainMs), untilMs: callMs + visibleMs };
}

const defaultVisibleAfterMs = 5_000;
/** How long the paid call may take, where the adapter does not say. */
export const defaultStartTimeoutMs = 120_000;

/** No text that leaves here holds a secret. */
function redact(facts: FailureFacts, secrets: Record<string, string>): FailureFacts {
  const hide = redacted(secrets);
  return {
    ...facts,
    code: hide(facts.code),
    message: hide(facts.message),
    publicMessage: facts.publicMessage && hide(facts.publicMessage),
    providerRequestId: facts.providerRequestId && hide(facts.providerRequestId),
    issues: facts.issues?.map(({ path, message }) => ({ path: path.map(hide), message: hide(message) })),
  };
}

function stackOf(error: unknown, { context }: Failed): string | undefined {
  return error instanceof Error ? redacted(context?.secrets ?? {})(error.stack ?? '') : undefined;
}
