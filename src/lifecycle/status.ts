import DataLoader from 'dataloader';
import type { Core } from '../core.ts';
import type { Task } from '../db.ts';
import { toId } from '../id.ts';
import type { Cost, Handle, Usage } from '../sdk/index.ts';
import { doorsOf } from './doors.ts';
import type { Job } from './queue.ts';
import { storable, storableJson } from './storable.ts';
import { drawnChannel, eventChannel } from './wake.ts';

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
  /** What the vendor charges the operator. */
  cost?: Cost;
}

/** The tasks of one round of dispatch in a lane, each to be handed over. */
export function handOver(core: Core, lane: string): Promise<Job[]> {
  return core.db.sql<Job>(
    'select id as task_id, dispatch from task_dispatch($1, $2, $3)',
    [lane, 2_000, doorsOf(core)],
    'task_dispatch',
  );
}

/** Takes a handed-over task under a lease. Undefined: another has it, or it may not run now. */
export async function claim(core: Core, job: Job, workerId: string): Promise<Task | undefined> {
  const task = await write(core, 'task_claim', [job.taskId, job.dispatch, workerId, leaseMs(core), doorsOf(core)]);
  if (task) {
    const { attempt, provider, model } = task;
    core.log.info({ taskId: toId('Task', task.id), attempt, provider, model }, `an attempt at ${task.type} begins`);
  }
  return task;
}

/** Takes parked handles whose next look is due. `overdue`, and by how much the look is late, go by the database's clock. */
export function claimPolls(
  core: Core,
  workerId: string,
  limit: number,
  without: string[],
): Promise<(Task & { overdue: boolean; lagMs: number })[]> {
  return core.db.sql(
    'select (claimed).*, lag_ms, coalesce((claimed).deadline_at <= clock_timestamp(), false) as overdue from task_claim_polls($1, $2, $3, $4)',
    [workerId, leaseMs(core), limit, without],
    'task_claim_polls',
  );
}

/** Extends the leases that are still held. What is missing in the answer is lost. */
export function renew(
  core: Core,
  held: { id: string; fence: number }[],
): Promise<{ id: string; cancelRequestedAt: Date | null; overdue: boolean }[]> {
  return core.db.sql(
    // Rows are locked in the order of their ids, as by all that lock many: else two would wait for each other.
    `with held as (
       select t.id from task t join unnest($1::uuid[], $2::int[]) as held(id, fence) on t.id = held.id and t.fence = held.fence
       where t.status = 'PROCESSING' and t.lease_until is not null order by t.id for update of t
     )
     update task t set lease_until = clock_timestamp() + $3 * interval '1 millisecond' from held where t.id = held.id
     returning t.id, t.cancel_requested_at, coalesce(t.deadline_at <= clock_timestamp(), false) as overdue`,
    [held.map((lease) => lease.id), held.map((lease) => lease.fence), leaseMs(core)],
    'task_renew',
  );
}

/** To be called right before the paid call. False: cancelled or lost meanwhile; do not call. */
export async function announceCall(core: Core, task: Task): Promise<boolean> {
  const rows = await core.db.sql('select from task_calling($1, $2)', [task.id, task.fence], 'task_calling');
  return rows.length > 0;
}

/** Stores the handle and gives the lease back. Nobody is woken: no event tells of it. False: ended or lost meanwhile. */
export function park(core: Core, { id, fence }: Held, handle: Handle, pollAfterMs: number): Promise<boolean> {
  const parks = parking.get(core) ?? openParking(core);
  parking.set(core, parks);
  return parks.load({ id, fence, handle: storableJson(handle), pollMs: Math.round(pollAfterMs) });
}

interface Park {
  id: string;
  fence: number;
  handle: string;
  pollMs: number;
}

const parking = new WeakMap<Core, DataLoader<Park, boolean>>();
const parkedAtOnce = 100;
const parkWithinMs = 2;

/** Thousands of looks a second end alike: those that end together are written together. */
function openParking(core: Core): DataLoader<Park, boolean> {
  const writeAll = async (parks: readonly Park[]): Promise<boolean[]> => {
    const rows = await core.db.sql<{ id: string }>(
      `select p.id from (select * from unnest($1::uuid[], $2::int[], $3::jsonb[], $4::int[]) as p(id, fence, handle, poll_ms) order by id) p
       cross join lateral task_park(p.id, p.fence, p.handle, p.poll_ms)`,
      [
        parks.map(({ id }) => id),
        parks.map(({ fence }) => fence),
        parks.map(({ handle }) => handle),
        parks.map(({ pollMs }) => pollMs),
      ],
      'task_park',
    );
    const parked = new Set(rows.map(({ id }) => id));
    return parks.map(({ id }) => parked.has(id));
  };
  // One that cannot be written must not keep the others from it.
  const apart = (parks: readonly Park[]) =>
    Promise.all(
      parks.map((each) =>
        writeAll([each]).then(
          ([done]) => done!,
          (error: Error) => error,
        ),
      ),
    );
  return new DataLoader((parks) => writeAll(parks).catch((error) => (parks.length > 1 ? apart(parks) : [error])), {
    cache: false,
    maxBatchSize: parkedAtOnce,
    batchScheduleFn: (callback) => setTimeout(callback, parkWithinMs),
  });
}

/** Stores the handle as soon as there is one, and keeps the lease. False: ended or lost meanwhile. */
export async function keepHandle(core: Core, task: Held, handle: Handle): Promise<boolean> {
  const values = [task.id, task.fence, storableJson(handle)];
  return (await core.db.sql('select from task_keep_handle($1, $2, $3)', values, 'task_keep_handle')).length > 0;
}

/** Has a job looked for whose answer was lost: first in `firstMs`; what is not seen in `untilMs` was not bought. */
export function seek(core: Core, task: Held, times: { firstMs: number; untilMs: number }): Promise<Task | undefined> {
  return write(core, 'task_seek', [task.id, task.fence, times.firstMs, times.untilMs]);
}

export async function progress(core: Core, task: Held, fraction: number, step: string | undefined): Promise<void> {
  await write(core, 'task_progress', [task.id, task.fence, fraction, step === undefined ? null : storable(step)]);
}

export async function note(
  core: Core,
  task: Held,
  kind: 'output_added' | 'logged',
  data: Record<string, unknown>,
): Promise<void> {
  await write(core, 'task_note', [task.id, task.fence, kind, storableJson(data)]);
}

/** Back to the backlog. Undefined: ended, lost or cancelled meanwhile. */
export async function requeue(
  core: Core,
  task: Held,
  how: {
    delayMs?: number;
    error?: TaskError;
    failures?: number;
    targetIndex?: number;
    resend?: boolean;
    anew?: boolean;
  },
): Promise<Task | undefined> {
  const json = storableJson({ ...how, delayMs: Math.round(how.delayMs ?? 0) });
  const queued = await write(core, 'task_requeue', [task.id, task.fence, json]);
  if (queued) core.bus.wake('dispatch', { lane: queued.lane });
  return queued;
}

/** Keeps a task, hold and all, until an operator decides what a lost answer meant. */
export function flagForReview(core: Core, task: Held): Promise<Task | undefined> {
  return write(core, 'task_flag_review', [task.id, task.fence, core.config.ATELIER_REVIEW_SECONDS * 1000]);
}

/** A look at a task in review that brought nothing: it waits on for its operator. A callback that nobody has come to an end with brings one more look. */
export async function leaveInReview(core: Core, task: Held): Promise<void> {
  await core.db.sql(
    `update task set lease_until = null, worker_id = null,
       next_poll_at = (select max(clock_timestamp()) + interval '5 seconds' from provider_callback c
         where c.task_id = task.id and c.attempt = task.attempt and not c.applied)
     where id = $1 and fence = $2 and needs_review`,
    [task.id, task.fence],
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
  const ended = await write(core, 'task_finish', [task.id, task.fence, storableJson(ending)]);
  if (ended) announceEnd(core, ended);
  return ended;
}

/** Cancels at once what has not started; else asks for it. The row as it is then, or undefined when there is none. */
export async function cancel(core: Core, taskId: string): Promise<Task | undefined> {
  const task = await write(core, 'task_cancel', [taskId]);
  if (task?.status === 'CANCELLED') announceEnd(core, task);
  else if (task?.cancelRequestedAt) core.bus.wake('leases', { taskId });
  return task;
}

/** Deletes an ended task. Undefined: there is none, or it has not ended. */
export async function remove(core: Core, taskId: string): Promise<Task | undefined> {
  const [task] = await core.db.sql<Task>('select * from task_delete($1)', [taskId], 'task_delete');
  return task;
}

/** SCHEDULED tasks whose time has come go to the backlog. */
export async function releaseScheduled(core: Core, limit: number): Promise<void> {
  const released = await core.db.sql<Task>(
    'select * from task_release_scheduled($1)',
    [limit],
    'task_release_scheduled',
  );
  for (const task of released) announce(core, task);
  for (const lane of new Set(released.map((task) => task.lane))) core.bus.wake('dispatch', { lane });
}

/**
 * Ends what nobody else will end. One transaction for each task, so that two who do this never wait for each other's
 * accounts; the fence that was read guards each: what was claimed or ended meanwhile is left alone.
 * @param due a condition on `task`; it compares with now(), which an index can use. @param order the column that is due.
 */
export async function finishDue(core: Core, due: string, order: string, ending: Ending, limit: number): Promise<void> {
  const tasks = await core.db.sql<Held>(`select id, fence from task where ${due} order by ${order} limit $1`, [limit]);
  for (const task of tasks) await finish(core, task, ending);
}

type Held = Pick<Task, 'id' | 'fence'>;

/** Calls a function of the migrations that changes one task, and wakes who watches it. */
async function write(core: Core, name: string, values: unknown[]): Promise<Task | undefined> {
  const places = values.map((_, index) => `$${index + 1}`).join(', ');
  const [task] = await core.db.sql<Task>(`select * from ${name}(${places})`, values, name);
  if (task) announce(core, task);
  return task;
}

function announce(core: Core, { id, accountId, lastSeq }: Task): void {
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
  if (task.holdId) core.bus.wake(drawnChannel, { holdId: task.holdId });
}

function leaseMs(core: Core): number {
  return core.config.ATELIER_LEASE_SECONDS * 1000;
}
