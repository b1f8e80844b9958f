import type { Core } from '../core.ts';
import type { Attempt, Task } from '../db.ts';
import { toId } from '../id.ts';
import type { Handle } from '../sdk/index.ts';
import { deadlineExceeded } from './fail.ts';
import type { Lease, Leases } from './lease.ts';
import { complete, observe, type Trial, unlessStopped, withTrial } from './run.ts';
import { claimPolls, finish, park } from './status.ts';

const shortestRhythmMs = 1_000;
const longestRhythmMs = 10_000;
/** After a poll that went wrong: it says nothing about the job. */
const afterErrorMs = 5_000;

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
  const attempts = await core.db.sql<Attempt>(
    'select a.* from attempt a join unnest($1::uuid[], $2::int[]) as due(task_id, number) on a.task_id = due.task_id and a.number = due.number',
    [tasks.map((task) => task.id), tasks.map((task) => task.attempt)],
  );
  const byTask = new Map(attempts.map((attempt) => [attempt.taskId, attempt]));
  for (const task of tasks) track(look(core, leases.hold(task), byTask.get(task.id)!));
  return tasks.length;
}

async function look(core: Core, lease: Lease, attempt: Attempt): Promise<void> {
  await withTrial(core, lease, attempt, async (trial) => {
    trial.phase = 'watching';
    const handle = attempt.handle as Handle;
    if (trial.task.cancelRequestedAt) return cancelAtVendor(trial, handle);
    if (trial.task.deadlineAt! <= new Date()) return endAtDeadline(trial, handle);
    const observation = await unlessStopped(trial, trial.adapter.poll!(handle, trial.context)).catch((error) => {
      // Cancelled meanwhile: parked again, it is due in a moment, and the vendor is told then.
      if (lease.signal.reason !== 'cancelled') lease.signal.throwIfAborted();
      core.log.warn({ taskId: toId('Task', trial.task.id), err: error }, 'a poll failed; the job is looked at again');
      return null;
    });
    if (!observation) return parkAgain(trial, handle, afterErrorMs);
    if (observation.state === 'succeeded') return complete(trial, observation.answer);
    observe(trial, observation);
    await parkAgain(trial, handle, rhythmMs(trial.task, attempt));
  });
}

async function parkAgain(trial: Trial, handle: Handle, afterMs: number): Promise<void> {
  await trial.report.flush();
  await park(trial.core, trial.task, handle, afterMs);
}

/** Unconfirmed, the task ends CANCELLED all the same, 30 s after it was asked for. */
async function cancelAtVendor(trial: Trial, handle: Handle): Promise<void> {
  const { core, task, adapter, context } = trial;
  const answer = adapter.cancel
    ? await unlessStopped(trial, adapter.cancel(handle, context)).catch(() => 'unknown' as const)
    : ('cancelled' as const);
  if (answer === 'cancelled' || answer === 'too_late') await finish(core, task, { status: 'CANCELLED' });
  else await parkAgain(trial, handle, shortestRhythmMs);
}

async function endAtDeadline(trial: Trial, handle: Handle): Promise<void> {
  await trial.adapter.cancel?.(handle, trial.context).catch(() => {});
  await finish(trial.core, trial.task, { status: 'FAILED', error: deadlineExceeded });
}

/** A tenth of the time that has passed: a short job is seen soon, a long one costs few requests. */
function rhythmMs(task: Task, attempt: Attempt): number {
  const elapsedMs = Date.now() - attempt.startedAt.getTime();
  const leftMs = task.deadlineAt ? Math.max(task.deadlineAt.getTime() - Date.now(), 0) : longestRhythmMs;
  return Math.min(Math.max(elapsedMs / 10, shortestRhythmMs), longestRhythmMs, leftMs + 100);
}
