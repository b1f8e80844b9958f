import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, rmSync } from 'node:fs';
import { createAccount, createApiKey } from '../../src/access.ts';
import { readConfig } from '../../src/config.ts';
import { type Core, openCore } from '../../src/core.ts';
import { freePort } from '../../src/embedded/port.ts';
import { startStack } from '../../src/embedded/stack.ts';
import { changeCredits } from '../../src/lifecycle/credits.ts';
import { seedLanes } from '../../src/lifecycle/lanes.ts';
import { seedPrices } from '../../src/lifecycle/prices.ts';
import { migrate } from '../../src/migrate.ts';
import { dead, instant, slow } from './vendor.ts';

/** An embedded Atelier as operators run it: Postgres with fsync, API and worker each a process of its own. */
export interface Bench {
  core: Core;
  url: string;
  api: ChildProcess;
  worker: ChildProcess | undefined;
  createKey(): Promise<{ key: string; accountId: string; projectId: string }>;
  close(): Promise<void>;
}

const directory = '.atelier/bench';

/** @param options.environment further settings of API and worker. */
export async function startBench(options: {
  worker: boolean;
  environment?: { [name: string]: string };
}): Promise<Bench> {
  // What an earlier bench left would stand before this one's tasks.
  rmSync(directory, { recursive: true, force: true });
  const stack = await startStack({ directory, environment: {} });
  const environment: { [name: string]: string } = {
    ...stack.environment,
    ATELIER_PORT: String(await freePort()),
    ATELIER_ADAPTER_SCRIPTED: JSON.stringify({ enabled: true }),
    ATELIER_PLUGINS: './test/bench/vendor.ts',
    ATELIER_LANE_CONCURRENCY: 'gpu_heavy=50,gpu_medium=50,cpu_intensive=50',
    LOG_LEVEL: 'warn',
    ...options.environment,
  };
  await migrate(environment.DATABASE_URL!);
  const core = await openCore(readConfig({ ...environment, ATELIER_PLUGINS: '' }), {
    name: 'bench',
    adapters: [instant, slow, dead],
    environment,
  });
  await seedLanes(core);
  await core.db.sql('update lane set concurrency = 50');
  await seedPrices(core);
  const api = startProcess(['src/cli.ts', 'api'], environment);
  const worker = options.worker ? startProcess(['src/cli.ts', 'worker'], environment) : undefined;
  const url = `http://127.0.0.1:${environment.ATELIER_PORT}`;
  await answers(`${url}/readyz`);
  return {
    core,
    url,
    api,
    worker,
    async createKey() {
      const { account, project } = await createAccount(core, { name: 'bench' });
      const accountId = account.id;
      await changeCredits(core, { accountId, leg: 'GRANT', change: 1_000_000_000, idempotencyKey: 'bench' });
      const { secret } = await createApiKey(core, {
        accountId,
        name: 'bench',
        scopes: ['tasks:read', 'tasks:write'],
      });
      return { key: secret, accountId, projectId: project.id };
    },
    async close() {
      await Promise.all([api, worker].map((child) => child && stop(child)));
      await core.close();
      await stack.close();
    },
  };
}

export function startProcess(
  program: string[],
  environment: { [name: string]: string | undefined },
  stdout: 'inherit' | 'pipe' = 'inherit',
): ChildProcess {
  return spawn(process.execPath, ['--import', 'tsx', ...program], {
    env: { ...process.env, ...environment },
    stdio: ['ignore', stdout, 'inherit'],
  });
}

export async function stop(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null) return;
  child.kill('SIGTERM');
  await once(child, 'exit');
}

/** Resolves when the URL answers with 2xx. */
export async function answers(url: string): Promise<void> {
  const deadline = Date.now() + 60_000;
  while (Date.now() < deadline) {
    if (
      await fetch(url).then(
        (response) => response.ok,
        () => false,
      )
    )
      return;
    await new Promise((resolve) => setTimeout(resolve, 25));
  }
  throw new Error(`${url} does not answer`);
}

/** Resident memory of a process and its children, in megabytes. */
export function residentMegabytes(child: ChildProcess): number {
  const kilobytes = /VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${child.pid}/status`, 'utf8'))?.[1];
  return Math.round(Number(kilobytes) / 1024);
}

export function percentile(sorted: number[], fraction: number): number {
  return sorted[Math.min(Math.floor(sorted.length * fraction), sorted.length - 1)]!;
}
