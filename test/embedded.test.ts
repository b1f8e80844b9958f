import { type ChildProcess, spawn } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Redis } from 'ioredis';
import pg from 'pg';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { environmentOf } from '../src/embedded/directory.ts';
import { isAlive, type ProcessMark } from '../src/embedded/process.ts';
import { startStack } from '../src/embedded/stack.ts';
import { projectPath } from '../src/project-path.ts';
import { eventually } from './eventually.ts';

let folder: string;
let directory: string;
const children: ChildProcess[] = [];

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'atelier-embedded-'));
  directory = join(folder, 'stack');
});
afterEach(async () => {
  for (const child of children.splice(0)) child.kill('SIGKILL');
  await rm(folder, { recursive: true, force: true });
});

const start = (more: Partial<Parameters<typeof startStack>[0]> = {}) =>
  startStack({ directory, throwaway: true, environment: {}, ...more });

/** The services that the owner of the directory has noted. */
function services(): ProcessMark[] {
  const file = readdirSync(directory).find((name) => /^owner-\d+\.json$/.test(name));
  return file
    ? JSON.parse(readFileSync(join(directory, file), 'utf8')).services.map(
        (service: { mark: ProcessMark }) => service.mark,
      )
    : [];
}

/** Another process that starts a stack and then goes on as `then` says. Resolves when its stack is up, with the services. */
async function startElsewhere(then: string): Promise<{ child: ChildProcess; marks: ProcessMark[] }> {
  const script = `
    const { startStack } = await import(${JSON.stringify(projectPath('src/embedded/stack.ts'))});
    await startStack({ directory: ${JSON.stringify(directory)}, throwaway: true, environment: {} });
    process.stdout.write('up');
    ${then}`;
  const child = spawn(process.execPath, ['--import', 'tsx', '--input-type=module', '--eval', script], {
    cwd: projectPath(),
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  children.push(child);
  await new Promise((resolve) => child.stdout!.once('data', resolve));
  return { child, marks: services() };
}

describe('embedded services', () => {
  it('run until they are closed', async () => {
    const stack = await start();
    const marks = services();
    const client = new pg.Client({ connectionString: stack.environment.DATABASE_URL });
    await client.connect();
    expect((await client.query('select 1 as one')).rows).toEqual([{ one: 1 }]);
    await client.end();
    const redis = new Redis(stack.environment.REDIS_URL!);
    expect(await redis.ping()).toBe('PONG');
    redis.disconnect();
    expect(marks.filter(isAlive).length).toBeGreaterThanOrEqual(2);
    await stack.close();
    expect(marks.filter(isAlive)).toEqual([]);
  });

  it('keep data and secret over a restart', async () => {
    const first = await start({ throwaway: false });
    await query(first.environment.DATABASE_URL!, 'create table kept (id int)');
    await first.close();
    const second = await start({ throwaway: false });
    await query(second.environment.DATABASE_URL!, 'select id from kept');
    expect(second.environment.ATELIER_SECRET).toBe(first.environment.ATELIER_SECRET);
    await second.close();
  });

  it('are not started where the environment names others', async () => {
    const stack = await start({
      environment: { DATABASE_URL: 'postgresql://elsewhere/a', REDIS_URL: 'redis://elsewhere', S3_BUCKET: 'b' },
    });
    expect(Object.keys(stack.environment)).toEqual(['ATELIER_SECRET']);
    expect(stack.ownsDatabase).toBe(false);
    expect(services()).toEqual([]);
    await stack.close();
  });

  it('take a directory of their own beside a living owner, or refuse when told so', async () => {
    const none = { DATABASE_URL: 'postgresql://elsewhere/a', REDIS_URL: 'redis://elsewhere' };
    const first = await start({ environment: none });
    first.announce({ ATELIER_URL: 'http://127.0.0.1:1' });
    expect(environmentOf(directory)).toMatchObject({ ATELIER_URL: 'http://127.0.0.1:1' });
    const second = await start({ environment: none });
    expect(second.directory).toBe(`${first.directory}-2`);
    await expect(start({ environment: none, exclusive: true })).rejects.toThrow(`process ${process.pid}`);
    await first.close();
    await second.close();
    expect(environmentOf(directory)).toBeNull();
  });

  it.each([
    ['SIGINT', 'setInterval(() => {}, 1000)', 'SIGINT'],
    ['SIGTERM', 'setInterval(() => {}, 1000)', 'SIGTERM'],
    ['an uncaught error', 'setTimeout(() => { throw new Error("x") }, 1)', undefined],
    ['process.exit', 'setTimeout(() => process.exit(3), 1)', undefined],
  ] as const)('end with their process after %s', async (_, then, signal) => {
    const { child, marks } = await startElsewhere(then);
    if (signal) child.kill(signal);
    await eventually(() => child.exitCode !== null || child.signalCode !== null);
    await eventually(() => marks.filter(isAlive).length === 0);
  });

  it('that a killed process left are stopped by the next start', async () => {
    const { child, marks } = await startElsewhere('setInterval(() => {}, 1000)');
    child.kill('SIGKILL');
    await eventually(() => child.signalCode);
    expect(marks.filter(isAlive)).toHaveLength(2);
    const stack = await start();
    expect(stack.directory).toBe(directory);
    expect(marks.filter(isAlive)).toEqual([]);
    await stack.close();
  });
});

async function query(databaseUrl: string, statement: string): Promise<void> {
  const client = new pg.Client({ connectionString: databaseUrl });
  await client.connect();
  await client.query(statement).finally(() => client.end());
}
