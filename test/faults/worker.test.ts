import { afterAll, beforeAll, expect, it } from 'vitest';
import { createTask } from '../../src/lifecycle/create.ts';
import { createTestBed, eventually, type TestBed } from '../kit.ts';
import { workerProcesses } from './worker-process.ts';

let bed: TestBed;
const workers = workerProcesses(() => bed);

beforeAll(async () => {
  bed = await createTestBed({ worker: false, environment: { ATELIER_LEASE_SECONDS: '3' } });
});
afterAll(async () => {
  await workers.close();
  await bed.close();
});

it('loses no task and no credit when one of two workers is killed in the middle', { timeout: 60_000 }, async () => {
  const [first] = await Promise.all([workers.start(), workers.start()]);
  const [project] = await bed.sql<{ id: string }>('select id from project where account_id = $1', [bed.account.uuid]);
  const caller = { accountId: bed.account.uuid, projectId: project!.id };
  const input = { prompt: 'A lighthouse', maxTokens: 100 };
  const request = { type: 'generate_text', input, sent: input };
  const count = 12;
  await Promise.all(Array.from({ length: count }, () => createTask(bed.core, caller, request)));
  const running = () => bed.sql(`select worker_id from task where status = 'PROCESSING'`);
  await eventually(async () => new Set((await running()).map((task) => task.workerId)).size === 2);
  await workers.end(first, 'SIGKILL');

  await eventually(async () => (await bed.sql(`select from task where status = 'COMPLETED'`)).length === count, 40_000);
  const again = await bed.sql(`select error->>'code' as code from attempt where error is not null`);
  expect(again.length).toBeGreaterThan(0);
  expect(new Set(again.map(({ code }) => code))).toEqual(new Set(['WORKER_LOST']));
  const captures = await bed.sql(`select from ledger_entry where leg = 'CAPTURE'`);
  expect(captures).toHaveLength(count);
  const [sums] = await bed.sql(
    `select a.held, a.available = sum(l.available_change) as available, a.held = sum(l.held_change) as whole
     from account a join ledger_entry l on l.account_id = a.id where a.id = $1 group by a.id`,
    [bed.account.uuid],
  );
  expect(sums).toEqual({ held: 0n, available: true, whole: true });
});
