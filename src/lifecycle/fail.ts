import type { Core } from '../core.ts';
import { OutsideError } from '../errors.ts';
import { toId } from '../id.ts';
import { type CallPhase, type FailureClass, type FailureFacts, isAdapterFailure } from '../sdk/index.ts';
import type { Lease, StopReason } from './lease.ts';
import type { FrozenTarget } from './plan.ts';
import { creditsFor } from './prices.ts';
import type { Trial } from './run.ts';
import { finish, flagForReview, park, requeue, type TaskError } from './status.ts';

/** Writes what follows an attempt that did not complete. */
export async function fail(core: Core, lease: Lease, trial: Trial | undefined, error: unknown): Promise<void> {
  const { task, signal } = lease;
  if (signal.aborted) return stopped(core, lease, signal.reason as StopReason);

  const facts = classify(trial, error);
  const route = task.route as unknown as FrozenTarget[];
  const target = route[task.targetIndex];
  const verdict = decide(facts, {
    phase: trial?.phase ?? 'preparing',
    hasHandle: trial?.handle !== undefined,
    resubmit: target?.resubmit ?? 'never',
    failures: task.failures,
    maxAttempts: core.config.ATELIER_MAX_ATTEMPTS,
    hasNextTarget: task.targetIndex + 1 < route.length,
  });
  core.log.warn(
    {
      taskId: toId('Task', task.id),
      attempt: task.attempt,
      provider: task.provider,
      err: error,
      code: facts.code,
      verdict,
    },
    `the attempt failed (${facts.class}): ${facts.message}`,
  );

  const told = toldOf(facts);
  if (verdict.next === 'review') await flagForReview(core, task);
  else if (verdict.next === 'look again') await park(core, task, trial!.handle!, verdict.delayMs);
  else if (verdict.next === 'end') {
    const usage = Array.isArray(facts.billed) ? facts.billed : [];
    await finish(core, task, {
      status: 'FAILED',
      error: told,
      charge: creditsFor(usage, target?.prices ?? []) ?? 0,
      usage,
    });
  } else {
    const { delayMs, counts } = verdict;
    const how =
      verdict.next === 'next target'
        ? { targetIndex: task.targetIndex + 1, failures: -task.failures }
        : { delayMs, failures: counts ? 1 : 0 };
    // Not queued: cancelled meanwhile, or no longer ours; the fence tells which.
    if (!(await requeue(core, task, { ...how, error: told }))) await finish(core, task, { status: 'CANCELLED' });
  }
}

/** Where an attempt was when it failed. */
export interface Situation {
  phase: Trial['phase'];
  hasHandle: boolean;
  resubmit: FrozenTarget['resubmit'];
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
  const harmless = phase === 'preparing' || situation.resubmit === 'safe';
  if (phase === 'collecting') {
    // What was bought is still at the vendor: fetched again from there, never bought again.
    if (situation.hasHandle && refetched.includes(facts.class)) return { next: 'look again', delayMs: lookAgainMs };
    if (!harmless) return { next: 'end' };
  }
  if (facts.class === 'rate_limited') {
    return { next: 'again', delayMs: Math.min(facts.retryAfterMs ?? backoff, longestRetryAfterMs), counts: false };
  }
  if (facts.class === 'ambiguous' && !harmless) return { next: 'review' };
  const budget = { retryable: maxAttempts, ambiguous: maxAttempts, bug: harmless ? 2 : 0 }[facts.class as string] ?? 0;
  if (failures + 1 < budget)
    return { next: 'again', delayMs: Math.max(backoff, facts.retryAfterMs ?? 0), counts: true };
  const mayFallBack = fallsBack.includes(facts.class) && (harmless || facts.class !== 'bug');
  return situation.hasNextTarget && mayFallBack ? { next: 'next target', delayMs: 0, counts: false } : { next: 'end' };
}

/** Exponential with jitter: 0.25–0.75 s, then doubled each time, 90 s at most. */
export function backoffMs(failures: number, random: () => number = Math.random): number {
  return Math.min(firstBackoffMs * 2 ** failures, longestBackoffMs) * (0.5 + random());
}

export const deadlineExceeded: TaskError = {
  code: 'DEADLINE_EXCEEDED',
  message: 'The task was not done within the longest run of its type.',
  retryable: true,
};

const firstBackoffMs = 500;
const longestBackoffMs = 60_000;
const longestRetryAfterMs = 3_600_000;
const lookAgainMs = 5_000;

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

async function stopped(core: Core, { task }: Lease, reason: StopReason): Promise<void> {
  if (reason === 'lost') return;
  if (reason === 'deadline') await finish(core, task, { status: 'FAILED', error: deadlineExceeded });
  else if (reason === 'cancelled' || !(await requeue(core, task, {})))
    await finish(core, task, { status: 'CANCELLED' });
}

function classify(trial: Trial | undefined, error: unknown): FailureFacts {
  if (isAdapterFailure(error)) return error.facts;
  const message = error instanceof Error ? error.message : String(error);
  // Ours, not the adapter's to judge: inputs that cannot be fetched, storage that does not answer.
  if (error instanceof OutsideError)
    return { class: error.retryable ? 'retryable' : 'permanent', code: 'TRANSFER_FAILED', message };
  const phase: CallPhase = trial?.phase === 'starting' ? 'start' : trial?.phase === 'watching' ? 'poll' : 'download';
  try {
    const facts = trial?.adapter.classify?.(error, phase);
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
