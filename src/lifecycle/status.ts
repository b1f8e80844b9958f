import type { Core } from '../core.ts';
import type { Task } from '../db.ts';
import { toId } from '../id.ts';
import type { Handle, Usage } from '../sdk/index.ts';
import type { Job } from './queue.ts';
import { eventChannel } from './wake.ts';

/** Why a task FAILED or EXPIRED, or why an attempt ended, as clients see it. */
export interface TaskError {
  code: string;
  message: string;
  /** Whether `retryTask` can help. */
  retryable: boolean;
  providerRequestId?: string;
  issues?: { path: string[]; message: string }[];
}

export interface Ending {
  status: 'COMPLETED' | 'FAILED' | 'CANCELLED' | 'EXPIRED';
  result?: unknown;
  error?: TaskError;
  /** Credits; at most what the task holds is taken. Default 0. */
  charge?: number;
  /** QUOTE when the vendor reported no usage. Default USAGE. */
  basis?: 'USAGE' | 'QUOTE';
  usage?: Usage[];
}

const select = (call: string) => `select * from ${call}`;

/** The tasks of one round of dispatch in a lane, each to be handed over. */
export function handOver(core: Core, lane: string): Promise<Job[]> {
  return core.db.sql<Job>('select id as task_id, dispatch from task_dispatch($1, $2)', [lane, 2_000], 'task_dispatch');
}

/** Takes a handed-over task under a lease. Undefined: another has it, or it may not run now. */
export async function claim(core: Core, job: Job, workerId: string): Promise<Task | undefined> {
  const values = [job.taskId, job.dispatch, workerId, leaseMs(core)];
  const task = first(core, await rows(core, select('task_claim($1, $2, $3, $4)'), values, 'task_claim'));
  if (task) {
    const { attempt, provider, model } = task;
    core.log.info({ taskId: toId('Task', task.id), attempt, provider, model }, `an attempt at ${task.type} begins`);
  }
  return task;
}

/** Takes parked handles whose next look is due. */
export async function claimPolls(core: Core, workerId: string, limit: number): Promise<Task[]> {
  return rows(core, select('task_claim_polls($1, $2, $3)'), [workerId, leaseMs(core), limit], 'task_claim_polls');
}

/** Extends the leases that are still held. What is missing in the answer is lost. */
export function renew(
  core: Core,
  held: { id: string; fence: number }[],
): Promise<{ id: string; cancelRequestedAt: Date | null; overdue: boolean }[]> {
  return core.db.sql(
    `update task t set lease_until = clock_timestamp() + $3 * interval '1 millisecond'
     from unnest($1::uuid[], $2::int[]) as held(id, fence)
     where t.id = held.id and t.fence = held.fence and t.status = 'PROCESSING'
     returning t.id, t.cancel_requested_at, coalesce(t.deadline_at <= clock_timestamp(), false) as overdue`,
    [held.map((lease) => lease.id), held.map((lease) => lease.fence), leaseMs(core)],
    'task_renew',
  );
}

/** To be called right before the paid call. False: cancelled or lost meanwhile; do not call. */
export async function announceCall(core: Core, task: Task): Promise<boolean> {
  return (await rows(core, select('task_calling($1, $2)'), [task.id, task.fence], 'task_calling')).length > 0;
}

/** Stores the handle and gives slot and lease back. */
export async function park(core: Core, task: Task, handle: Handle, pollAfterMs: number): Promise<Task | undefined> {
  const parked = first(
    core,
    await rows(
      core,
      select('task_park($1, $2, $3, $4)'),
      [task.id, task.fence, JSON.stringify(handle), Math.round(pollAfterMs)],
      'task_park',
    ),
  );
  if (parked) core.bus.wake('dispatch', { lane: task.lane });
  return parked;
}

export async function progress(core: Core, task: Task, fraction: number, step: string | undefined): Promise<void> {
  announce(
    core,
    await rows(
      core,
      select('task_progress($1, $2, $3, $4)'),
      [task.id, task.fence, fraction, step ?? null],
      'task_progress',
    ),
  );
}

export async function note(
  core: Core,
  task: Task,
  kind: 'output_added' | 'logged',
  data: Record<string, unknown>,
): Promise<void> {
  announce(
    core,
    await rows(
      core,
      select('task_note($1, $2, $3, $4)'),
      [task.id, task.fence, kind, JSON.stringify(data)],
      'task_note',
    ),
  );
}

/** Back to the backlog. Undefined: ended, lost or cancelled meanwhile. */
export async function requeue(
  core: Core,
  task: Pick<Task, 'id' | 'fence'>,
  how: { delayMs?: number; error?: TaskError; failures?: number; targetIndex?: number },
): Promise<Task | undefined> {
  const queued = first(
    core,
    await rows(
      core,
      select('task_requeue($1, $2, $3)'),
      [task.id, task.fence, JSON.stringify({ ...how, delayMs: Math.round(how.delayMs ?? 0) })],
      'task_requeue',
    ),
  );
  if (queued) core.bus.wake('dispatch', { lane: queued.lane });
  return queued;
}

/** Keeps a task, hold and all, until an operator decides what a lost answer meant. */
export async function flagForReview(core: Core, task: Pick<Task, 'id' | 'fence'>): Promise<Task | undefined> {
  return first(
    core,
    await rows(core, select('task_flag_review($1, $2, $3)'), [
      task.id,
      task.fence,
      core.config.ATELIER_REVIEW_SECONDS * 1000,
    ]),
  );
}

/**
 * Ends a task: state, credits, event and webhook in one transaction.
 * @param task with `fence: null` for endings that no worker brings about.
 * @returns undefined when it had ended, its lease is lost, or it is cancelled and may not complete: nothing was written.
 */
export async function finish(
  core: Core,
  task: { id: string; fence: number | null },
  ending: Ending,
): Promise<Task | undefined> {
  const ended = first(
    core,
    await rows(core, select('task_finish($1, $2, $3)'), [task.id, task.fence, JSON.stringify(ending)], 'task_finish'),
  );
  if (ended) announceEnd(core, ended);
  return ended;
}

/** Cancels at once what has not started; else asks for it. The row as it is then, or undefined when there is none. */
export async function cancel(core: Core, taskId: string): Promise<Task | undefined> {
  const task = first(core, await rows(core, select('task_cancel($1)'), [taskId]));
  if (task?.status === 'CANCELLED') announceEnd(core, task);
  else if (task?.cancelRequestedAt) core.bus.wake('leases', { taskId });
  return task;
}

/** Deletes an ended task. Undefined: there is none, or it has not ended. */
export async function remove(core: Core, taskId: string): Promise<Task | undefined> {
  const [task] = await rows(core, select('task_delete($1)'), [taskId]);
  return task;
}

/** SCHEDULED tasks whose time has come go to the backlog. */
export async function releaseScheduled(core: Core, limit: number): Promise<number> {
  const released = await rows(core, select('task_release_scheduled($1)'), [limit], 'task_release_scheduled');
  announce(core, released);
  for (const lane of new Set(released.map((task) => task.lane))) core.bus.wake('dispatch', { lane });
  return released.length;
}

/** Ends what nobody else will end: one statement that finds, locks and finishes. `due` is a condition on task. */
export async function finishDue(
  core: Core,
  due: string,
  order: string,
  ending: Ending,
  limit: number,
): Promise<number> {
  const ended = await rows(
    core,
    `select f.* from (select id from task where ${due} order by ${order} limit $2 for update skip locked) d cross join lateral task_finish(d.id, null, $1) f`,
    [JSON.stringify(ending), limit],
  );
  announce(core, ended);
  for (const task of ended) announceEnd(core, task);
  return ended.length;
}

function rows(core: Core, text: string, values: unknown[], name?: string): Promise<Task[]> {
  return core.db.sql<Task>(text, values, name);
}

function first(core: Core, found: Task[]): Task | undefined {
  announce(core, found);
  return found[0];
}

function announce(core: Core, changed: Task[]): void {
  for (const { id, accountId, lastSeq } of changed)
    core.bus.wake(eventChannel(id), { taskId: id, accountId, seq: lastSeq });
}

function announceEnd(core: Core, task: Task): void {
  const { attempt, charged, error } = task;
  core.log.info(
    { taskId: toId('Task', task.id), attempt, charged: Number(charged), error },
    `the task ended ${task.status}`,
  );
  core.bus.wake('dispatch', { lane: task.lane });
  if (task.callbackUrl) core.bus.wake('webhooks', {});
}

function leaseMs(core: Core): number {
  return core.config.ATELIER_LEASE_SECONDS * 1000;
}
