import type { Core } from '../core.ts';
import type { ProviderCallback } from '../db.ts';
import { redacted } from '../redact.ts';
import type { CallbackRequest, Handle, Observation } from '../sdk/index.ts';
import { deadlineExceeded } from './classify.ts';
import { seekAgainMs, seekTimes } from './fail.ts';
import type { Lease, Leases } from './lease.ts';
import type { Looks } from './looks.ts';
import { persist } from './persist.ts';
import { attend, complete, observe } from './run.ts';
import { claimPolls, finish, flagForReview, keepHandle, leaveInReview, park, requeue, seek } from './status.ts';
import { type Due, type Trial, unlessStopped, withTrial } from './trial.ts';

/** After this a look that hangs is given up. */
const callLimitMs = 60_000;

/** Looks at the vendor jobs that are due and for which there is room, each under a lease of its own. Resolves when they are begun, with their number. */
export async function pollDue(
  core: Core,
  leases: Leases,
  workerId: string,
  looks: Looks,
  told: { track(work: Promise<void>): void; lag(lagMs: number): void },
): Promise<number> {
  const tasks = await claimPolls(core, workerId, looks.room(), looks.crowded());
  if (tasks.length === 0) return 0;
  const keys = [tasks.map((task) => task.id), tasks.map((task) => task.attempt)];
  const [attempts, callbacks] = await Promise.all([
    core.db.sql<Due>(
      `select a.*, (extract(epoch from clock_timestamp() - a.started_at) * 1000)::float8 as elapsed_ms,
         coalesce(a.seek_until <= clock_timestamp(), false) as unseen
       from attempt a join unnest($1::uuid[], $2::int[]) as due(task_id, number) on a.task_id = due.task_id and a.number = due.number`,
      keys,
      'poll_attempts',
    ),
    core.db.sql<ProviderCallback>(
      `select c.* from provider_callback c join unnest($1::uuid[], $2::int[]) as due(task_id, number)
       on c.task_id = due.task_id and c.attempt = due.number where not c.applied`,
      keys,
      'poll_callbacks',
    ),
  ]);
  const byTask = new Map(attempts.map((attempt) => [attempt.taskId, attempt]));
  for (const { overdue, lagMs, ...task } of tasks) {
    told.lag(lagMs);
    const own = callbacks.filter((callback) => callback.taskId === task.id);
    const due = {
      ...byTask.get(task.id)!,
      overdue,
      lagMs,
      callbacks: own.sort((a, b) => +a.receivedAt - +b.receivedAt),
    };
    const lease = leases.hold(task, { overdue });
    if (due.handle !== null) lease.park();
    told.track(looks.count(task.provider!, () => look(core, lease, due)));
  }
  return tasks.length;
}

async function look(core: Core, lease: Lease, due: Due): Promise<void> {
  await withTrial(core, lease, due, async (trial) => {
    const heard = await listen(trial, due);
    if (heard) return complete(trial, heard.answer);
    // A callback may have brought one.
    const { handle } = trial;
    if (!handle && trial.task.needsReview) return persist(() => leaveInReview(core, trial.task));
    if (!handle) return seekJob(trial, due);
    if (!due.handle) {
      // Found again: whatever becomes of this look, the job is known.
      if (!(await persist(() => keepHandle(core, trial.task, handle)))) return;
      trial.task.needsReview = false;
      trial.phase = 'watching';
      trial.lease.park();
      trial.lease.signal.throwIfAborted();
    }
    if (trial.task.cancelRequestedAt) return cancelAtVendor(trial, handle);
    if (due.overdue) return endAtDeadline(trial, handle);
    const observation = await unlessStopped(trial, () => trial.adapter.poll!(handle, trial.context), callLimitMs);
    if (observation.state === 'succeeded') return complete(trial, observation.answer);
    observe(trial, observation);
    await attend(trial, trial.lookAgainMs);
  });
}

/** What the vendor said by itself. @returns the success among it; throws for a failure. */
async function listen(
  trial: Trial,
  { callbacks, handle }: Due,
): Promise<Extract<Observation, { state: 'succeeded' }> | undefined> {
  for (const { taskId, attempt, digest, headers, query, body, receivedAt } of callbacks) {
    const request = { headers, query, body } as CallbackRequest;
    // Not spread: the context makes its directory when it is asked for it.
    const context = Object.create(trial.context, { now: { value: () => receivedAt } });
    const observation = await unlessStopped(
      trial,
      () => trial.adapter.receive!(request, handle as Handle | null, context),
      callLimitMs,
    ).catch((error) => {
      if (trial.lease.signal.aborted) throw error;
      const hide = redacted(context.secrets);
      trial.core.log.warn(`a callback could not be read a second time; the job is polled: ${hide(String(error))}`);
      return null;
    });
    if (observation?.state === 'succeeded') return observation;
    // One that does not know either decides nothing.
    const isUnknown = observation?.state === 'failed' && observation.failure.class === 'ambiguous';
    if (observation && !isUnknown) observe(trial, observation);
    // Only what decided nothing: else the end of the task forgets it, and until then it must not be lost.
    await trial.core.db.sql(
      'update provider_callback set applied = true where task_id = $1 and attempt = $2 and digest = $3',
      [taskId, attempt, digest],
      'callback_applied',
    );
  }
  return undefined;
}

/** Asks the vendor whether a call whose answer was lost has come to him. */
async function seekJob(trial: Trial, due: Due): Promise<void> {
  const { core, task, adapter, context } = trial;
  trial.phase = 'seeking';
  if (due.overdue) {
    const ended = { status: 'FAILED', error: deadlineExceeded } as const;
    await persist(() => (adapter.resubmit === 'safe' ? finish(core, task, ended) : flagForReview(core, task)));
    return;
  }
  const found = await unlessStopped(trial, () => adapter.find!(due.key, due.startedAt, context), callLimitMs);
  if (found) await persist(() => park(core, task, found, 0));
  else if (!due.unseen) await persist(() => seek(core, task, { ...seekTimes(trial, false), firstMs: seekAgainMs }));
  else if (task.cancelRequestedAt) await persist(() => finish(core, task, { status: 'CANCELLED' }));
  else if (task.failures + 1 >= core.config.ATELIER_MAX_ATTEMPTS)
    await persist(() => finish(core, task, { status: 'FAILED', error: neverTaken }));
  else await persist(() => requeue(core, task, { failures: 1, error: neverTaken }));
}

const neverTaken = {
  code: 'NOT_TAKEN',
  message: 'The provider did not take the work in, though it was sent.',
  retryable: true,
};

/** Unconfirmed, the job is looked at, and the vendor asked again; and the task ends CANCELLED all the same, 30 s after it was asked for. */
async function cancelAtVendor(trial: Trial, handle: Handle): Promise<void> {
  const { core, task, adapter, context } = trial;
  const answer = adapter.cancel
    ? await unlessStopped(trial, () => adapter.cancel!(handle, context), callLimitMs).catch(() => 'unknown')
    : 'cancelled';
  const hasEnded = answer === 'cancelled' || answer === 'too_late' || (await isOver(trial, handle));
  if (hasEnded) await persist(() => finish(core, task, { status: 'CANCELLED' }));
  else await persist(() => park(core, task, handle, cancelAgainMs));
}

/** Whether the job goes on at the vendor no more; false, too, when that cannot be told. */
async function isOver(trial: Trial, handle: Handle): Promise<boolean> {
  const { adapter, context } = trial;
  const observation = await unlessStopped(trial, () => adapter.poll!(handle, context), callLimitMs).catch(() => null);
  return observation !== null && !['queued', 'running'].includes(observation.state);
}

const cancelAgainMs = 5_000;

async function endAtDeadline(trial: Trial, handle: Handle): Promise<void> {
  const { core, task, adapter, context } = trial;
  if (adapter.cancel) await unlessStopped(trial, () => adapter.cancel!(handle, context), callLimitMs).catch(() => {});
  await persist(() => finish(core, task, { status: 'FAILED', error: deadlineExceeded }));
}
