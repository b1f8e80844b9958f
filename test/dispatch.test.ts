import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { createTask } from '../src/lifecycle/create.ts';
import { setLane } from '../src/lifecycle/lanes.ts';
import { handOver } from '../src/lifecycle/status.ts';
import { sweep } from '../src/lifecycle/sweep.ts';
import { createTestBed, type TestBed } from './kit.ts';
import { scriptedAdapter } from './scripted-adapter.ts';

const lane = 'cpu_intensive';
const script = scriptedAdapter();
let bed: TestBed;
beforeAll(async () => {
  bed = await createTestBed({ adapters: [script.adapter], worker: false });
});
afterAll(() => bed.close());

async function account() {
  const { uuid } = await bed.createAccount();
  const [project] = await bed.sql<{ id: string }>('select id from project where account_id = $1', [uuid]);
  return { accountId: uuid, projectId: project!.id };
}
async function submit(
  caller: { accountId: string; projectId: string },
  more: object = {},
  options: object = {},
): Promise<string> {
  const input = { prompt: 'x', options: { outputs: 0, ...options } };
  return (
    await createTask(bed.core, caller, { type: 'generate_text', provider: 'scripted', input, sent: input, ...more })
  ).task.id;
}
/** The order in which one slot would run what waits. */
async function order(): Promise<string[]> {
  const ids: string[] = [];
  await setLane(bed.core, lane, { concurrency: 1 });
  for (let [job] = await handOver(bed.core, lane); job; [job] = await handOver(bed.core, lane)) {
    ids.push(job.taskId);
    const [task] = await bed.sql('select * from task_claim($1, $2, uuid_v7(), 60000, $3)', [
      job.taskId,
      job.dispatch,
      '{}',
    ]);
    await bed.sql('select task_finish($1, $2, $3)', [task!.id, task!.fence, { status: 'FAILED' }]);
  }
  return ids;
}

describe('a round of dispatch', () => {
  beforeEach(() => bed.sql('delete from task'));

  it('goes by priority, then by age, inside an account', async () => {
    const caller = await account();
    const low = await submit(caller);
    const high = await submit(caller, { priority: 9 });
    const alsoLow = await submit(caller);
    expect(await order()).toEqual([high, low, alsoLow]);
  });

  it("hands one account's first task over before a flood of another, whatever its priority", async () => {
    const [flooder, other] = [await account(), await account()];
    for (let n = 0; n < 20; n++) await submit(flooder, { priority: 9 });
    const first = await submit(other);
    await setLane(bed.core, lane, { concurrency: 2 });
    expect((await handOver(bed.core, lane)).map((job) => job.taskId)).toContain(first);
  });

  it.each([
    { slots: 1, floods: 1 },
    { slots: 2, floods: 2 },
    { slots: 4, floods: 4 },
  ])('lets a late account have its turn among $floods floods for $slots slots', async ({ slots, floods }) => {
    await bed.sql('update lane set turn_after = null');
    for (let flood = 0; flood < floods; flood++) {
      const flooder = await account();
      for (let n = 0; n < 10; n++) await submit(flooder, { priority: 9 });
    }
    const late = await submit(await account());
    const ran: string[] = [];
    await setLane(bed.core, lane, { concurrency: slots });
    // One slot after the other becomes free, as in life: the floods always hold the rest.
    const running: { id: string; fence: number }[] = [];
    while (!ran.includes(late)) {
      for (const job of await handOver(bed.core, lane)) {
        const [task] = await bed.sql('select id, fence from task_claim($1, $2, uuid_v7(), 60000, $3)', [
          job.taskId,
          job.dispatch,
          '{}',
        ]);
        running.push(task as never);
        ran.push(job.taskId);
      }
      const done = running.shift()!;
      await bed.sql('select task_finish($1, $2, $3)', [done.id, done.fence, { status: 'FAILED' }]);
    }
    expect(ran.indexOf(late)).toBeLessThanOrEqual(slots + floods);
  });

  it('hands over no more than the lane has free, and repeats what nobody claimed', async () => {
    const caller = await account();
    for (let n = 0; n < 5; n++) await submit(caller);
    await setLane(bed.core, lane, { concurrency: 3 });
    expect(await handOver(bed.core, lane)).toHaveLength(3);
    expect(await handOver(bed.core, lane)).toHaveLength(0);
    await bed.sql(`update task set available_at = clock_timestamp() - interval '1 second' where handed_over`);
    const again = await handOver(bed.core, lane);
    expect(again).toHaveLength(3);
    expect(again.map((job) => job.dispatch)).toContain(2);
  });

  it('gives a task to one of many that claim it, and to nobody under an old number', async () => {
    await submit(await account());
    await setLane(bed.core, lane, { concurrency: 1 });
    const [job] = await handOver(bed.core, lane);
    const claim = (dispatch: number) =>
      bed.sql('select id from task_claim($1, $2, uuid_v7(), 60000, $3)', [job!.taskId, dispatch, '{}']);
    expect(await claim(job!.dispatch - 1)).toHaveLength(0);
    const claims = await Promise.all(Array.from({ length: 10 }, () => claim(job!.dispatch)));
    expect(claims.flat()).toHaveLength(1);
  });

  it('leaves a paused lane alone, also what was handed over before', async () => {
    await submit(await account());
    await setLane(bed.core, lane, { concurrency: 1 });
    const [job] = await handOver(bed.core, lane);
    await setLane(bed.core, lane, { paused: true });
    expect(
      await bed.sql('select id from task_claim($1, $2, uuid_v7(), 60000, $3)', [job!.taskId, job!.dispatch, '{}']),
    ).toHaveLength(0);
    await bed.sql(`update task set available_at = clock_timestamp() - interval '1 second'`);
    expect(await handOver(bed.core, lane)).toHaveLength(0);
    await setLane(bed.core, lane, { paused: false });
    expect(await handOver(bed.core, lane)).toHaveLength(1);
  });

  it('takes turns among more accounts than it looks at in one round', async () => {
    await bed.sql(`insert into account (name, webhook_secret) select 'many', 'whsec_' from generate_series(1, 300)`);
    await bed.sql(
      `insert into task (account_id, project_id, type, lane, status, input, route, quoted, held, longest_run_ms)
       select id, id, 'generate_text', $1, 'QUEUED', '{}', '[]', 0, 0, 1 from account where name = 'many'`,
      [lane],
    );
    await setLane(bed.core, lane, { concurrency: 200 });
    const seen = new Set((await handOver(bed.core, lane)).map((job) => job.taskId));
    await setLane(bed.core, lane, { concurrency: 400 });
    for (const job of await handOver(bed.core, lane)) seen.add(job.taskId);
    for (const job of await handOver(bed.core, lane)) seen.add(job.taskId);
    expect(seen.size).toBe(300);
  });
});

describe('due times', () => {
  beforeEach(() => bed.sql('delete from task'));
  const status = async (id: string) =>
    (await bed.sql<{ status: string }>('select status from task where id = $1', [id]))[0]!.status;

  it('start what was scheduled', async () => {
    const id = await submit(await account(), { runAt: new Date(Date.now() + 3_600_000) });
    await sweep(bed.core);
    expect(await status(id)).toBe('SCHEDULED');
    await bed.sql('update task set run_at = created_at where id = $1', [id]);
    await sweep(bed.core);
    expect(await status(id)).toBe('QUEUED');
  });

  it('expire what never started, and release its credits', async () => {
    const caller = await account();
    const id = await submit(caller, { ttlSeconds: 60 });
    await bed.sql('update task set expires_at = created_at where id = $1', [id]);
    await Promise.all([sweep(bed.core), sweep(bed.core), sweep(bed.core)]);
    expect(await status(id)).toBe('EXPIRED');
    expect(await bed.sql('select held from account where id = $1', [caller.accountId])).toEqual([{ held: 0n }]);
  });

  it('are seen to by many sweepers at once, over many accounts, without a deadlock', async () => {
    const callers = await Promise.all(Array.from({ length: 6 }, account));
    for (let n = 0; n < 90; n++) await submit(callers[n % callers.length]!, { ttlSeconds: 60 });
    await bed.sql('update task set expires_at = created_at');
    await Promise.all([sweep(bed.core), sweep(bed.core), sweep(bed.core), sweep(bed.core)]);
    expect(await bed.sql(`select count(*)::int from task where status = 'EXPIRED'`)).toEqual([{ count: 90 }]);
  });
});
