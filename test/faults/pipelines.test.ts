import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { startStack } from '../../src/embedded/stack.ts';
import { setRoute } from '../../src/lifecycle/routes.ts';
import { createPipeline } from '../../src/pipelines/catalog.ts';
import { configure } from '../../src/pipelines/configuration.ts';
import { addItems } from '../../src/pipelines/items.ts';
import { startRun } from '../../src/pipelines/start.ts';
import { createTestBed, eventually, type TestBed } from '../kit.ts';
import { workerProcesses } from './worker-process.ts';

/** A Redis of its own: what happens to it must not happen to other files' tests. */
let stack: Awaited<ReturnType<typeof startStack>>;
let bed: TestBed;
const directory = mkdtempSync(join(tmpdir(), 'atelier-faults-'));
const scripted = { ATELIER_ADAPTER_SCRIPTED: '{"enabled":true}' };
const workers = workerProcesses(() => bed, scripted);

beforeAll(async () => {
  stack = await startStack({ directory, environment: { DATABASE_URL: 'postgresql://elsewhere' } });
  bed = await createTestBed({
    worker: false,
    environment: { ...scripted, REDIS_URL: stack.environment.REDIS_URL!, ATELIER_LEASE_SECONDS: '3' },
  });
  await setRoute(bed.core, 'generate_text', [{ provider: 'scripted', model: null }]);
});
afterAll(async () => {
  await workers.close();
  await bed.close();
  await stack.close();
  rmSync(directory, { recursive: true, force: true });
});

const count = 6;
const kinds = ['a', 'b', 'c', 'd', 'e', 'f', 'g', 'h'].map((letter) => `kind_${letter}`);
const stages = kinds.slice(1).map((output, index) => ({
  key: `to_${output}`,
  title: output,
  kind: 'TASKS',
  input: kinds[index]!,
  output,
  taskType: 'generate_text',
  task: { prompt: `{{${kinds[index]}.text}}`, maxTokens: 50, options: { durationMs: 200 } },
  data: { text: `{{${kinds[index]}.text}}` },
}));

it('ends a run as if nothing had happened when every process is killed at each of its seven stages and Redis forgets everything', {
  timeout: 120_000,
}, async () => {
  const [project] = await bed.sql<{ id: string }>('select id from project where account_id = $1', [bed.account.uuid]);
  const scope = { accountId: bed.account.uuid, projectId: project!.id };
  await createPipeline(bed.core, scope.accountId, { name: 'seven', title: 'Seven', stages });
  await configure(bed.core, scope, 'seven');
  await bed.sql('update stage set max_parallel = 3');
  const words = Array.from({ length: count }, (_, index) => ({ text: `word ${index}` }));
  await addItems(bed.core, scope, kinds[0]!, words);
  const run = await startRun(bed.core, scope, { pipeline: 'seven', trigger: 'MANUAL' });

  const redis = new Redis(stack.environment.REDIS_URL!);
  let worker = await workers.start();
  for (const { key } of stages) {
    await eventually(async () => (await bed.sql('select from batch where stage = $1', [key])).length > 0, 30_000);
    await workers.end(worker, 'SIGKILL');
    if (key === 'to_kind_e') await redis.flushall();
    worker = await workers.start();
  }
  redis.disconnect();
  await eventually(async () => (await bed.sql('select from run where completed_at is not null')).length === 1, 60_000);

  expect(await bed.sql('select status, failures from run')).toEqual([{ status: 'COMPLETED', failures: 0 }]);
  for (const kind of kinds) {
    const items = await bed.sql<{ state: string; data: unknown }>(
      `select state, data from item where kind = $1 order by data->>'text'`,
      [kind],
    );
    expect(items).toEqual(words.map((data) => ({ state: 'DONE', data })));
  }
  expect(await bed.sql('select count(*)::int as tasks from task')).toEqual([{ tasks: count * stages.length }]);
  const [sums] = await bed.sql(
    `select sum(held_change)::int as held, sum(available_change)::int as spent,
       (select -sum(charged)::int from task) as charged from ledger_entry where run_id = $1`,
    [run.id],
  );
  expect(sums).toEqual({ held: 0, spent: sums!.charged, charged: sums!.charged });
});
