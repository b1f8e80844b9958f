import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { startStack } from '../../src/embedded/stack.ts';
import { createTask } from '../../src/lifecycle/create.ts';
import { createTestBed, eventually, type TestBed } from '../kit.ts';
import { scriptedAdapter } from '../scripted-adapter.ts';

/** A Redis of its own: what happens to it must not happen to other files' tests. */
let stack: Awaited<ReturnType<typeof startStack>>;
let bed: TestBed;
let redis: Redis;
const directory = mkdtempSync(join(tmpdir(), 'atelier-faults-'));
const script = scriptedAdapter();

beforeAll(async () => {
  stack = await startStack({ directory, environment: { DATABASE_URL: 'postgresql://elsewhere' } });
  const url = stack.environment.REDIS_URL!;
  bed = await createTestBed({ adapters: [script.adapter], environment: { REDIS_URL: url } });
  redis = new Redis(url);
});
afterAll(async () => {
  redis.disconnect();
  await bed.close();
  await stack.close();
  rmSync(directory, { recursive: true, force: true });
});

async function submit(count: number, options: object = {}): Promise<string[]> {
  const [project] = await bed.sql<{ id: string }>('select id from project where account_id = $1', [bed.account.uuid]);
  const caller = { accountId: bed.account.uuid, projectId: project!.id };
  const input = { prompt: 'x', options: { outputs: 0, ...options } };
  const request = { type: 'generate_text', provider: 'scripted', input, sent: input };
  const made = await Promise.all(Array.from({ length: count }, () => createTask(bed.core, caller, request)));
  return made.map(({ task }) => task.id);
}
async function allCompleted(ids: string[]): Promise<void> {
  await eventually(async () => {
    const done = await bed.sql(`select from task where id = any($1) and status = 'COMPLETED'`, [ids]);
    return done.length === ids.length;
  }, 20_000);
}

it.each([
  ['loses all that it held', () => redis.flushall()],
  ['loses its scripts', () => redis.script('FLUSH')],
  ['cuts every connection', () => redis.client('KILL', 'TYPE', 'normal')],
])('goes on when Redis %s', async (name, fault) => {
  const running = await submit(2, { gate: name });
  await script.reached(name);
  const queued = await submit(30);
  await fault();
  script.open(name);
  await allCompleted([...running, ...queued, ...(await submit(5))]);
});

it('takes no garbage on its channels for a wake-up, and lives', async () => {
  for (const channel of ['dispatch', 'leases', 'events:0', 'keys', 'webhooks']) {
    await redis.publish(`${bed.config.ATELIER_REDIS_PREFIX}:${channel}`, 'null');
    await redis.publish(`${bed.config.ATELIER_REDIS_PREFIX}:${channel}`, 'garbage {');
  }
  await allCompleted(await submit(3));
  expect(bed.core.bus.up).toBe(true);
});
