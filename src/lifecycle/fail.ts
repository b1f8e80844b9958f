import type { Core } from '../core.ts';
import { isFromDatabase } from '../db.ts';
import { OutsideError } from '../errors.ts';
import { toId } from '../id.ts';
import {
  type Adapter,
  type AdapterContext,
  type CallPhase,
  type FailureClass,
  type FailureFacts,
  type Handle,
  isAdapterFailure,
} from '../sdk/index.ts';
import type { Lease, StopReason } from './lease.ts';
import { persist } from './persist.ts';
import type { FrozenTarget } from './plan.ts';
import { creditsFor } from './prices.ts';
import { finish, flagForReview, park, requeue, type TaskError } from './status.ts';

/** What is known of an attempt that did not complete. */
export interface Failed {
  lease: Lease;
  /** `preparing` and `starting` tell whether the paid call may have been made; the others come after it. */
  phase: 'preparing' | 'starting' | 'watching' | 'collecting';
  /** Where the vendor's job is found again, once that is stored. */
  handle: Handle | undefined;
  /** What the vendor itself said of its job's failure; anything else that goes wrong at a look says nothing about the job. */
  observed?: unknown;
  adapter?: Adapter;
  context?: AdapterContext;
}

/** Writes what follows. */
export async function fail(core: Core, failed: Failed, error: unknown): Promise<void> {
  const { lease, handle } = failed;
  const { task, signal } = lease;
  const log = core.log.child({ taskId: toId('Task', task.id), attempt: task.attempt, provider: task.provider });
  if (signal.aborted) return stopped(core, failed, signal.reason as StopReason);
  if (handle && failed.phase === 'watching' && error !== failed.observed) {
    log.warn({ err: error }, 'a look at the vendor went wrong; the job is looked at again');
    await persist(() => park(core, task, handle, lookAgainMs));
    return;
  }
  // Postgres failed, not the attempt: what came of it is found when the lease has run out.
  if (isFromDatabase(error) && !handle) throw error;

  const facts = classify(failed, error);
  const route = task.route as unknown as FrozenTarget[];
  const target = route[task.targetIndex];
  const verdict = decide(facts, {
    phase: failed.phase,
    hasHandle: handle !== undefined,
    resubmit: target?.resubmit ?? 'never',
    attempt: task.attempt,
    failures: task.failures,
    maxAttempts: core.config.ATELIER_MAX_ATTEMPTS,
    hasNextTarget: task.targetIndex + 1 < route.length,
  });
  log.warn({ err: error, code: facts.code, verdict }, `the attempt failed (${facts.class}): ${facts.message}`);
  await persist(() => write(core, failed, facts, verdict));
}

async function write(
  core: Core,
  { lease: { task }, handle }: Failed,
  facts: FailureFacts,
  verdict: Verdict,
): Promise<void> {
  const error = toldOf(facts);
  if (verdict.next === 'review') await flagForReview(core, task);
  else if (verdict.next === 'look again') await park(core, task, handle!, verdict.delayMs);
  else if (verdict.next === 'end') {
    const usage = Array.isArray(facts.billed) ? facts.billed : [];
    const target = (task.route as unknown as FrozenTarget[])[task.targetIndex];
    await finish(core, task, { status: 'FAILED', error, charge: creditsFor(usage, target?.prices ?? []) ?? 0, usage });
  } else {
    const how =
      verdict.next === 'next target'
        ? { targetIndex: task.targetIndex + 1, failures: -task.failures }
        : { delayMs: verdict.delayMs, failures: verdict.counts ? 1 : 0 };
    // Not queued: cancelled meanwhile, or no longer ours; the fence tells which.
    if (!(await requeue(core, task, { ...how, error }))) await finish(core, task, { status: 'CANCELLED' });
  }
}

/** Where an attempt was when it failed. */
export interface Situation {
  phase: Failed['phase'];
  hasHandle: boolean;
  resubmit: FrozenTarget['resubmit'];
  /** Which attempt of the task it was, from 1. */
  attempt: number;
  /** Failures of this task at this target so far. */
  failures: number;
  maxAttempts: number;
  hasNextTarget: boolean;
}

export type Verdict =
  | { next: 'again'; delayMs: number; counts: boolean }
  | { next: 'next target'; delayMs: 0; counts: false }
  | { next: 'look again'; delayMs: number }
  | { next: 'review' }
  | { next: 'end' };

/** What follows a failure of a class in a situation: the table of {@link FailureClass}, and nothing is ever bought twice. */
export function decide(facts: FailureFacts, situation: Situation, random: () => number = Math.random): Verdict {
  const { phase, failures, maxAttempts } = situation;
  const backoff = backoffMs(failures, random);
  const asked = boundedMs(facts.retryAfterMs);
  const harmless = phase === 'preparing' || situation.resubmit === 'safe';
  if (phase === 'collecting') {
    // What was bought is still at the vendor: fetched again from there, never bought again.
    if (situation.hasHandle && refetched.includes(facts.class)) return { next: 'look again', delayMs: lookAgainMs };
    if (!harmless) return { next: 'end' };
  }
  if (facts.class === 'rate_limited') {
    // Not counted, so it must not come fast: a second more for each attempt, whatever the vendor says.
    return { next: 'again', delayMs: Math.max(asked, Math.min(situation.attempt, 30) * 1_000), counts: false };
  }
  if (facts.class === 'ambiguous' && !harmless) return { next: 'review' };
  const budget = { retryable: maxAttempts, ambiguous: maxAttempts, bug: harmless ? 2 : 0 }[facts.class as string] ?? 0;
  if (failures + 1 < budget) return { next: 'again', delayMs: Math.max(backoff, asked), counts: true };
  const mayFallBack = fallsBack.includes(facts.class) && (harmless || facts.class !== 'bug');
  return situation.hasNextTarget && mayFallBack ? { next: 'next target', delayMs: 0, counts: false } : { next: 'end' };
}

/** Exponential with jitter: 0.25–0.75 s, then doubled each time, 90 s at most. */
export function backoffMs(failures: number, random: () => number = Math.random): number {
  return Math.min(firstBackoffMs * 2 ** failures, longestBackoffMs) * (0.5 + random());
}

function boundedMs(ms: number | undefined): number {
  return ms !== undefined && ms > 0 ? Math.min(ms, longestRetryAfterMs) : 0;
}

export const deadlineExceeded: TaskError = {
  code: 'DEADLINE_EXCEEDED',
  message: 'The task was not done within the longest run of its type.',
  retryable: true,
};

const firstBackoffMs = 500;
const longestBackoffMs = 60_000;
const longestRetryAfterMs = 3_600_000;
/** Until a vendor's job is looked at again when a look went wrong. */
export const lookAgainMs = 5_000;

/** While a result is collected, a failure of these classes says nothing about the vendor's job. */
const refetched: FailureClass[] = ['retryable', 'rate_limited', 'expired'];
const fallsBack: FailureClass[] = ['retryable', 'authentication', 'quota', 'permanent', 'bug'];

const publicMessages: Record<FailureClass, string> = {
  retryable: 'The provider could not be reached or failed, more than once.',
  rate_limited: 'The provider takes no more work for now.',
  invalid_input: 'The provider refuses this input.',
  content_policy: 'The provider refuses this content.',
  authentication: 'The operator has to look at this provider.',
  quota: 'The operator has to look at this provider.',
  permanent: 'The provider cannot do this.',
  expired: 'The result was gone before it could be fetched.',
  deadline: deadlineExceeded.message,
  ambiguous: 'The answer of the provider was lost.',
  bug: 'The adapter of this provider failed.',
};

async function stopped(
  core: Core,
  { lease: { task }, handle, adapter, context }: Failed,
  reason: StopReason,
): Promise<void> {
  if (reason === 'lost') return;
  if (handle && reason !== 'deadline') {
    // Cancelled during a look: the next one tells the vendor. Handed back: another worker looks.
    await persist(() => park(core, task, handle, 0));
  } else if (reason === 'deadline') {
    if (handle) await adapter?.cancel?.(handle, context!).catch(() => {});
    await persist(() => finish(core, task, { status: 'FAILED', error: deadlineExceeded }));
  } else if (reason === 'cancelled' || !(await persist(() => requeue(core, task, {})))) {
    await persist(() => finish(core, task, { status: 'CANCELLED' }));
  }
}

function classify({ phase: at, adapter }: Failed, error: unknown): FailureFacts {
  if (isAdapterFailure(error)) return { ...error.facts, code: String(error.facts.code || 'PROVIDER_FAILED') };
  const message = error instanceof Error ? error.message : String(error);
  // Ours, not the adapter's to judge: inputs that cannot be fetched, storage that does not answer.
  if (error instanceof OutsideError)
    return { class: error.retryable ? 'retryable' : 'permanent', code: 'TRANSFER_FAILED', message };
  const phase: CallPhase = at === 'starting' ? 'start' : at === 'watching' ? 'poll' : 'download';
  try {
    const facts = adapter?.classify?.(error, phase);
    if (facts) return facts;
  } catch {
    return { class: 'bug', code: 'ADAPTER_ERROR', message: `classify itself threw for: ${message}` };
  }
  return { class: 'bug', code: 'ADAPTER_ERROR', message };
}

function toldOf(facts: FailureFacts): TaskError {
  return {
    code: facts.code,
    message: facts.publicMessage ?? (facts.class === 'invalid_input' ? facts.message : publicMessages[facts.class]),
    retryable: facts.class !== 'invalid_input' && facts.class !== 'content_policy',
    providerRequestId: facts.providerRequestId,
    issues: facts.issues,
  };
}
