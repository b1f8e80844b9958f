import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import type { Task } from '../src/db.ts';
import { toId } from '../src/id.ts';
import { cancelTask } from '../src/lifecycle/cancel.ts';
import { createTask } from '../src/lifecycle/create.ts';
import { type Events, openEvents } from '../src/lifecycle/events.ts';
import { reviewTask } from '../src/lifecycle/review.ts';
import { createTestBed, eventually, type TestBed } from './kit.ts';
import { scriptedAdapter } from './scripted-adapter.ts';

const safe = scriptedAdapter();
const paid = scriptedAdapter({ name: 'paid', runs: 'vendor', resubmit: 'never' });
let bed: TestBed;
let events: Events;

beforeAll(async () => {
  bed = await createTestBed({ adapters: [safe.adapter, paid.adapter], environment: { ATELIER_LEASE_SECONDS: '3' } });
  events = await openEvents(bed.core);
});
// One test's failures must not let the next one's provider rest.
afterEach(() => bed.sql('delete from circuit'));
afterAll(async () => {
  await events.close();
  await bed.close();
});

async function submit(options: object, request: object = {}): Promise<Task> {
  const [project] = await bed.sql<{ id: string }>('select id from project where account_id = $1', [bed.account.uuid]);
  const caller = { accountId: bed.account.uuid, projectId: project!.id };
  const input = { prompt: 'x', options: { outputs: 0, ...options } };
  return (
    await createTask(bed.core, caller, { type: 'generate_text', provider: 'scripted', input, sent: input, ...request })
  ).task;
}
async function read(id: string): Promise<Task> {
  return (await bed.sql<Task>('select * from task where id = $1', [id]))[0]!;
}
async function ended(task: Task): Promise<Task> {
  for await (const _ of events.follow(task.id, 0));
  return read(task.id);
}
async function reaches(task: Task, holds: (task: Task) => boolean): Promise<Task> {
  return eventually(async () => {
    const now = await read(task.id);
    return holds(now) ? now : undefined;
  });
}

describe('an attempt that fails', () => {
  it.each([
    { failClass: 'retryable', failTimes: 1, status: 'COMPLETED', attempts: 2 },
    { failClass: 'retryable', failTimes: -1, status: 'FAILED', attempts: 4 },
    { failClass: 'rate_limited', failTimes: 1, status: 'COMPLETED', attempts: 2 },
    { failClass: 'invalid_input', failTimes: 1, status: 'FAILED', attempts: 1 },
    { failClass: 'content_policy', failTimes: 1, status: 'FAILED', attempts: 1 },
    { failClass: 'permanent', failTimes: 1, status: 'FAILED', attempts: 1 },
    { failClass: 'authentication', failTimes: 1, status: 'FAILED', attempts: 1 },
    { failClass: 'bug', failTimes: 1, status: 'COMPLETED', attempts: 2 },
    { failClass: 'bug', failTimes: -1, status: 'FAILED', attempts: 2 },
    { failClass: 'ambiguous', failTimes: 1, status: 'COMPLETED', attempts: 2 },
  ])('$failClass, $failTimes times: $status after $attempts', async ({ failClass, failTimes, status, attempts }) => {
    const task = await ended(await submit({ failClass, failTimes }));
    expect(task).toMatchObject({ status, attempt: attempts, held: 0n });
    if (status === 'FAILED')
      expect(task).toMatchObject({ charged: 0n, released: task.quoted, error: { code: 'SCRIPTED' } });
  });

  it('releases the credits of a task whose adapter throws, and says so', async () => {
    const task = await ended(await submit({ throws: true }));
    expect(task).toMatchObject({
      status: 'FAILED',
      charged: 0n,
      released: task.quoted,
      error: { code: 'ADAPTER_ERROR' },
    });
  });

  it('does not start a paid call again after a bug: it may have been bought', async () => {
    const task = await ended(await submit({ throws: true }, { provider: 'paid' }));
    expect(task).toMatchObject({ status: 'FAILED', attempt: 1 });
  });

  it('charges what the vendor billed for a failure', async () => {
    const billed = [{ unit: 'token', quantity: 250 }];
    const task = await ended(await submit({ failTimes: -1, failClass: 'content_policy', billed }));
    expect(task).toMatchObject({ status: 'FAILED', charged: 3n, released: task.quoted - 3n });
  });
});

describe('the charge', () => {
  it.each([
    { name: 'the usage, rounded up once', usage: [{ unit: 'token', quantity: 101 }], charged: 2n, basis: 'USAGE' },
    { name: 'never above the quote', usage: [{ unit: 'token', quantity: 1e9 }], charged: 11n, basis: 'USAGE' },
    { name: 'the quote for an unknown usage', usage: undefined, charged: 11n, basis: 'QUOTE' },
    {
      name: 'the quote for a unit without a price',
      usage: [{ unit: 'joule', quantity: 1 }],
      charged: 11n,
      basis: 'QUOTE',
    },
    { name: 'nothing for a usage of zero', usage: [{ unit: 'token', quantity: 0 }], charged: 0n, basis: 'USAGE' },
  ])('is $name', async ({ usage, charged, basis }) => {
    expect(await ended(await submit(usage ? { usage } : {}))).toMatchObject({
      status: 'COMPLETED',
      quoted: 11n,
      charged,
      basis,
    });
  });
});

describe('success without an output', () => {
  it('is a failure, and costs nothing', async () => {
    const input = { prompt: 'x', options: { outputs: 0 } };
    const task = await ended(await submit({}, { type: 'generate_image', input }));
    expect(task).toMatchObject({ status: 'FAILED', charged: 0n, error: { code: 'NO_OUTPUT' } });
  });
});

describe('cancel', () => {
  it('ends a queued task at once', async () => {
    const task = await submit({}, { runAt: new Date(Date.now() + 60_000) });
    expect(task.status).toBe('SCHEDULED');
    expect(await cancelTask(bed.core, task.id)).toMatchObject({
      outcome: 'CANCELLED',
      task: { status: 'CANCELLED', held: 0n },
    });
    expect(await cancelTask(bed.core, task.id)).toMatchObject({ outcome: 'CANCELLED' });
  });

  it.each([{ deaf: false }, { deaf: true }])('stops a running task (deaf to its signal: $deaf)', async ({ deaf }) => {
    const gate = `cancel-${deaf}`;
    const task = await submit({ gate, deaf });
    await safe.reached(gate);
    expect(await cancelTask(bed.core, task.id)).toMatchObject({ outcome: 'REQUESTED' });
    expect(await ended(task)).toMatchObject({ status: 'CANCELLED', charged: 0n, held: 0n });
    safe.open(gate);
    expect((await read(task.id)).status).toBe('CANCELLED');
  });

  it('reaches the vendor for a parked job', async () => {
    const task = await submit({ polls: 1_000 }, { provider: 'paid' });
    await reaches(task, (now) => now.nextPollAt !== null);
    await cancelTask(bed.core, task.id);
    expect((await ended(task)).status).toBe('CANCELLED');
    expect(paid.cancels).toEqual([`${task.id}-1`]);
  });

  it('is a conflict once the task has ended', async () => {
    const task = await ended(await submit({}));
    await expect(cancelTask(bed.core, task.id)).rejects.toMatchObject({ kind: 'ConflictError' });
  });
});

describe('a vendor job', () => {
  it('holds no slot and no lease while it is parked, and completes by polls', async () => {
    const task = await submit({ polls: 3 }, { provider: 'paid' });
    const parked = await reaches(task, (now) => now.nextPollAt !== null);
    expect(parked).toMatchObject({ status: 'PROCESSING', slot: false, leaseUntil: null });
    expect((await ended(task)).status).toBe('COMPLETED');
    expect(paid.starts.filter((key) => key.startsWith(task.id))).toHaveLength(1);
  });

  it('is not bought again when a look at it goes wrong', async () => {
    const task = await submit({ polls: 2, pollThrows: 1 }, { provider: 'paid' });
    expect((await ended(task)).status).toBe('COMPLETED');
    expect(paid.starts.filter((key) => key.startsWith(task.id))).toHaveLength(1);
  });
});

describe('a result that Postgres cannot keep', () => {
  it('is kept without what it cannot', async () => {
    const task = await ended(await submit({ unstorable: true }));
    expect(task).toMatchObject({ status: 'COMPLETED', result: { text: 'ab\ufffdc' } });
  });
});

describe('a lost answer', () => {
  it('keeps task and hold for a review, which an operator settles', async () => {
    const flag = async () =>
      reaches(await submit({ failTimes: 1, failClass: 'ambiguous' }, { provider: 'paid' }), (now) => now.needsReview);
    expect(await flag()).toMatchObject({ status: 'PROCESSING', held: 11n });
    expect(await reviewTask(bed.core, await flag(), 'FAIL_RELEASE')).toMatchObject({ status: 'FAILED', charged: 0n });
    expect(await reviewTask(bed.core, await flag(), 'FAIL_CHARGE')).toMatchObject({ status: 'FAILED', charged: 11n });
    expect((await ended(await reviewTask(bed.core, await flag(), 'RESUBMIT'))).status).toBe('COMPLETED');
    await expect(reviewTask(bed.core, await ended(await submit({})), 'RESUBMIT')).rejects.toMatchObject({
      kind: 'ConflictError',
    });
  });
});

describe('the deadline', () => {
  it('ends a task that runs too long, from its first start on', async () => {
    const task = await submit({ gate: 'deadline' });
    await safe.reached('deadline');
    await bed.sql('update task set deadline_at = clock_timestamp() where id = $1', [task.id]);
    expect(await ended(task)).toMatchObject({ status: 'FAILED', error: { code: 'DEADLINE_EXCEEDED' }, held: 0n });
  });
});

describe('a worker that is gone', () => {
  async function loseWorkerOf(task: Task): Promise<void> {
    // As a killed process leaves it: the lease runs out, and nobody renews it under this fence.
    await bed.sql(
      `update task set fence = fence + 1, lease_until = clock_timestamp() - interval '1 second' where id = $1`,
      [task.id],
    );
  }

  it('loses a safe task to another, and writes nothing any more', async () => {
    const task = await submit({ gate: 'lost', deaf: true });
    await safe.reached('lost');
    await loseWorkerOf(task);
    await reaches(task, (now) => now.attempt === 2);
    safe.open('lost');
    expect(await ended(task)).toMatchObject({ status: 'COMPLETED', attempt: 2, charged: 11n });
    const ends = await bed.sql(`select from task_event where task_id = $1 and data->>'status' = 'COMPLETED'`, [
      task.id,
    ]);
    expect(ends).toHaveLength(1);
  });

  it('leaves a paid call for review: it may have been bought', async () => {
    const task = await submit({ gate: 'lost-paid', deaf: true }, { provider: 'paid' });
    await paid.reached('lost-paid');
    await loseWorkerOf(task);
    await reaches(task, (now) => now.needsReview);
    paid.open('lost-paid');
  });

  it('hands back what is safe when it is told to stop', async () => {
    const second = await bed.addWorker();
    await bed.workers[0]!.close();
    const task = await submit({ gate: 'drain' });
    await safe.reached('drain');
    await second.close();
    expect(await read(task.id)).toMatchObject({ status: 'QUEUED', failures: 0 });
    safe.open('drain');
    await bed.addWorker();
    expect((await ended(task)).status).toBe('COMPLETED');
  });
});

it('keeps the ledger whole through all of this', async () => {
  const [sums] = await bed.sql(
    `select a.available, a.held, sum(l.available_change)::int8 as available_sum, sum(l.held_change)::int8 as held_sum
     from account a join ledger_entry l on l.account_id = a.id where a.id = $1 group by a.id`,
    [bed.account.uuid],
  );
  expect(sums!.availableSum).toBe(sums!.available);
  expect(sums!.heldSum).toBe(sums!.held);
  const gaps = await bed.sql(`select task_id from task_event group by task_id having max(seq) <> count(*)`);
  expect(gaps.map((row) => toId('Task', row.taskId as string))).toEqual([]);
});
