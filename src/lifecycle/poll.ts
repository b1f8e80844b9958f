import type { Core } from '../core.ts';
import type { Attempt } from '../db.ts';
import type { Handle } from '../sdk/index.ts';
import { deadlineExceeded, lookAgainMs } from './fail.ts';
import type { Lease, Leases } from './lease.ts';
import { persist } from './persist.ts';
import { complete, observe } from './run.ts';
import { claimPolls, finish, park } from './status.ts';
import { type Trial, unlessStopped, withTrial } from './trial.ts';

const shortestRhythmMs = 1_000;
const longestRhythmMs = 10_000;

type Due = Attempt & { elapsedMs: number; overdue: boolean };

/** Looks at the vendor jobs that are due, each under a lease of its own. Resolves when they are begun, with their number. */
export async function pollDue(
  core: Core,
  leases: Leases,
  workerId: string,
  limit: number,
  track: (work: Promise<void>) => void,
): Promise<number> {
  const tasks = await claimPolls(core, workerId, limit);
  if (tasks.length === 0) return 0;
  const attempts = await core.db.sql<Due>(
    `select a.*, (extract(epoch from clock_timestamp() - a.started_at) * 1000)::float8 as elapsed_ms
     from attempt a join unnest($1::uuid[], $2::int[]) as due(task_id, number) on a.task_id = due.task_id and a.number = due.number`,
    [tasks.map((task) => task.id), tasks.map((task) => task.attempt)],
    'poll_attempts',
  );
  const byTask = new Map(attempts.map((attempt) => [attempt.taskId, attempt]));
  for (const { overdue, ...task } of tasks) track(look(core, leases.hold(task), { ...byTask.get(task.id)!, overdue }));
  return tasks.length;
}

async function look(core: Core, lease: Lease, attempt: Due): Promise<void> {
  await withTrial(core, lease, attempt, async (trial) => {
    const handle = attempt.handle as Handle;
    if (trial.task.cancelRequestedAt) return cancelAtVendor(trial, handle);
    if (attempt.overdue) return endAtDeadline(trial, handle);
    const observation = await unlessStopped(trial, () => trial.adapter.poll!(handle, trial.context));
    if (observation.state === 'succeeded') return complete(trial, observation.answer);
    observe(trial, observation);
    await parkAgain(trial, handle, rhythmMs(attempt.elapsedMs));
  });
}

async function parkAgain(trial: Trial, handle: Handle, afterMs: number): Promise<void> {
  await trial.report.flush();
  await persist(() => park(trial.core, trial.task, handle, afterMs));
}

/** Unconfirmed, it is asked again; and the task ends CANCELLED all the same, 30 s after it was asked for. */
async function cancelAtVendor(trial: Trial, handle: Handle): Promise<void> {
  const { core, task, adapter, context } = trial;
  const answer = adapter.cancel
    ? await unlessStopped(trial, () => adapter.cancel!(handle, context)).catch(() => 'unknown')
    : 'cancelled';
  if (answer === 'cancelled' || answer === 'too_late') await persist(() => finish(core, task, { status: 'CANCELLED' }));
  else await parkAgain(trial, handle, lookAgainMs);
}

async function endAtDeadline(trial: Trial, handle: Handle): Promise<void> {
  const { core, task, adapter, context } = trial;
  if (adapter.cancel) await unlessStopped(trial, () => adapter.cancel!(handle, context)).catch(() => {});
  await persist(() => finish(core, task, { status: 'FAILED', error: deadlineExceeded }));
}

/** A tenth of the time that has passed: a short job is seen soon, a long one costs few requests. */
function rhythmMs(elapsedMs: number): number {
  return Math.min(Math.max(elapsedMs / 10, shortestRhythmMs), longestRhythmMs);
}
