import type { Core } from '../core.ts';
import { OutsideError } from '../errors.ts';
import { type CallPhase, type FailureClass, type FailureFacts, isAdapterFailure } from '../sdk/index.ts';
import type { Lease, StopReason } from './lease.ts';
import type { FrozenTarget } from './plan.ts';
import { creditsFor } from './prices.ts';
import type { Trial } from './run.ts';
import { type Ending, finish, flagForReview, requeue, type TaskError } from './status.ts';

const firstBackoffMs = 500;
const longestBackoffMs = 60_000;
const longestRetryAfterMs = 3_600_000;
const fallsBack: FailureClass[] = ['retryable', 'authentication', 'quota', 'permanent', 'bug'];

/** Decides what follows an attempt that did not complete, by why it stopped and by the class of its failure. */
export async function fail(core: Core, lease: Lease, trial: Trial | undefined, error: unknown): Promise<void> {
  const { task, signal } = lease;
  if (signal.aborted) return stopped(core, lease, signal.reason as StopReason);

  const log = core.log.child({ taskId: task.id, attempt: task.attempt, provider: task.provider });
  const facts = classify(trial, error);
  const outcome: TaskError = {
    code: facts.code,
    message: facts.publicMessage ?? (facts.class === 'invalid_input' ? facts.message : publicMessages[facts.class]),
    retryable: !['invalid_input', 'content_policy'].includes(facts.class),
    providerRequestId: facts.providerRequestId,
    issues: facts.issues,
  };
  log.warn({ err: error, class: facts.class, code: facts.code }, `the attempt failed: ${facts.message}`);

  const called = trial !== undefined && trial.phase !== 'preparing';
  const target = (task.route as unknown as FrozenTarget[])[task.targetIndex];
  const harmless = !called || target?.resubmit === 'safe';
  if (facts.class === 'rate_limited')
    return again({ delayMs: Math.min(facts.retryAfterMs ?? backoffMs(task.failures), longestRetryAfterMs) });
  if (facts.class === 'ambiguous') {
    if (!harmless) return void (await flagForReview(core, task));
    if (task.failures + 1 < core.config.ATELIER_MAX_ATTEMPTS)
      return again({ failures: 1, delayMs: backoffMs(task.failures) });
  }
  const budget =
    facts.class === 'retryable' ? core.config.ATELIER_MAX_ATTEMPTS : facts.class === 'bug' && harmless ? 2 : 0;
  if (task.failures + 1 < budget)
    return again({ failures: 1, delayMs: Math.max(backoffMs(task.failures), facts.retryAfterMs ?? 0) });
  const hasNext = task.targetIndex + 1 < (task.route as unknown[]).length;
  if (hasNext && fallsBack.includes(facts.class) && (harmless || facts.class !== 'bug'))
    return again({ targetIndex: task.targetIndex + 1, failures: -task.failures });

  const billed = Array.isArray(facts.billed) ? creditsFor(facts.billed, target?.prices ?? []) : 0;
  const ending: Ending = {
    status: 'FAILED',
    error: outcome,
    charge: billed ?? 0,
    usage: Array.isArray(facts.billed) ? facts.billed : undefined,
  };
  await finish(core, task, ending);

  async function again(how: Parameters<typeof requeue>[2]): Promise<void> {
    const queued = await requeue(core, task, { ...how, error: outcome });
    // Not queued: cancelled meanwhile, or no longer ours; the fence tells which.
    if (!queued) await finish(core, task, { status: 'CANCELLED' });
  }
}

async function stopped(core: Core, { task }: Lease, reason: StopReason): Promise<void> {
  if (reason === 'lost') return;
  if (reason === 'cancelled') return void (await finish(core, task, { status: 'CANCELLED' }));
  if (reason === 'deadline') return void (await finish(core, task, { status: 'FAILED', error: deadlineExceeded }));
  if (!(await requeue(core, task, {}))) await finish(core, task, { status: 'CANCELLED' });
}

export const deadlineExceeded: TaskError = {
  code: 'DEADLINE_EXCEEDED',
  message: 'The task was not done within the longest run of its type.',
  retryable: true,
};

/** Exponential with jitter: 0.25–0.75 s, then doubled each time, 60 s at most. */
export function backoffMs(failures: number): number {
  return Math.min(firstBackoffMs * 2 ** failures, longestBackoffMs) * (0.5 + Math.random());
}

const publicMessages: Record<FailureClass, string> = {
  retryable: 'The provider could not be reached or failed, more than once.',
  rate_limited: 'The provider takes no more work for now.',
  invalid_input: 'The provider refuses this input.',
  content_policy: 'The provider refuses this content.',
  authentication: 'The operator has to look at this provider.',
  quota: 'The operator has to look at this provider.',
  permanent: 'The provider cannot do this.',
  expired: 'The result was gone before it could be fetched.',
  deadline: 'The task was not done within the longest run of its type.',
  ambiguous: 'The answer of the provider was lost.',
  bug: 'The adapter of this provider failed.',
};

function classify(trial: Trial | undefined, error: unknown): FailureFacts {
  if (isAdapterFailure(error)) return error.facts;
  const phase: CallPhase = trial?.phase === 'starting' ? 'start' : trial?.phase === 'watching' ? 'poll' : 'download';
  const message = error instanceof Error ? error.message : String(error);
  try {
    const facts = trial?.adapter.classify?.(error, phase);
    if (facts) return facts;
  } catch {
    return { class: 'bug', code: 'ADAPTER_ERROR', message: `classify itself threw for: ${message}` };
  }
  // What lies outside the adapter: inputs that cannot be fetched, storage that does not answer.
  if (error instanceof OutsideError)
    return { class: error.retryable ? 'retryable' : 'permanent', code: 'TRANSFER_FAILED', message };
  return { class: 'bug', code: 'ADAPTER_ERROR', message };
}
