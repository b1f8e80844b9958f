import { afterAll, beforeAll, expect, it } from 'vitest';
import type { Task } from '../src/db.ts';
import { createTask } from '../src/lifecycle/create.ts';
import {
  cancel,
  claim,
  finish,
  flagForReview,
  handOver,
  park,
  progress,
  renew,
  requeue,
} from '../src/lifecycle/status.ts';
import { createTestBed, type TestBed } from './kit.ts';
import { scriptedAdapter } from './scripted-adapter.ts';

const workerId = '00000000-0000-7000-8000-000000000001';
let bed: TestBed;
beforeAll(async () => {
  bed = await createTestBed({ adapters: [scriptedAdapter().adapter], worker: false });
});
afterAll(() => bed.close());

async function claimed(): Promise<Task> {
  await bed.sql('delete from task');
  const [project] = await bed.sql<{ id: string }>('select id from project where account_id = $1', [bed.account.uuid]);
  const caller = { accountId: bed.account.uuid, projectId: project!.id };
  await createTask(bed.core, caller, { type: 'generate_text', provider: 'scripted', input: { prompt: 'x' }, sent: 0 });
  return claimNext();
}
async function claimNext(): Promise<Task> {
  const [job] = await handOver(bed.core, 'cpu_intensive');
  return (await claim(bed.core, job!, workerId))!;
}
const read = async (task: Task) => (await bed.sql<Task>('select * from task where id = $1', [task.id]))[0]!;

it('lets a worker under an old fence write nothing', async () => {
  const old = await claimed();
  await requeue(bed.core, old, {});
  const task = await claimNext();
  expect(await finish(bed.core, old, { status: 'COMPLETED', charge: 1 })).toBeUndefined();
  expect(await requeue(bed.core, old, {})).toBeUndefined();
  expect(await park(bed.core, old, { job: 1 }, 0)).toBe(false);
  expect(await flagForReview(bed.core, old)).toBeUndefined();
  await progress(bed.core, old, 0.9, 'late');
  expect(await renew(bed.core, [old])).toEqual([]);
  expect(await read(task)).toMatchObject({ status: 'PROCESSING', fence: task.fence, progress: 0, charged: 0n });
  expect(await finish(bed.core, task, { status: 'COMPLETED' })).toMatchObject({ status: 'COMPLETED' });
});

it('never completes, and never runs again, what was cancelled', async () => {
  const task = await claimed();
  await cancel(bed.core, task.id);
  expect(await finish(bed.core, task, { status: 'COMPLETED', charge: 11 })).toBeUndefined();
  expect(await requeue(bed.core, task, {})).toBeUndefined();
  expect(await finish(bed.core, task, { status: 'CANCELLED' })).toMatchObject({ status: 'CANCELLED', charged: 0n });
  expect(await finish(bed.core, { id: task.id, fence: null }, { status: 'FAILED' })).toBeUndefined();
});

it('gives a task that leaves its review the longest run of its type again', async () => {
  const task = await claimed();
  const reviewed = (await flagForReview(bed.core, task))!;
  expect(reviewed.deadlineAt!.getTime() - Date.now()).toBeGreaterThan(3_600_000);
  await requeue(bed.core, reviewed, {});
  expect((await claimNext()).deadlineAt!.getTime() - Date.now()).toBeLessThanOrEqual(task.longestRunMs);
});

it('puts no lease on a job that was parked a moment ago', async () => {
  const task = await claimed();
  await park(bed.core, task, { job: 1 }, 1_000);
  expect(await renew(bed.core, [task])).toEqual([]);
  expect((await read(task)).leaseUntil).toBeNull();
});
