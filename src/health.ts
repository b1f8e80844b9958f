import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { cpus, freemem, totalmem } from 'node:os';
import { promisify } from 'node:util';
import type { Core } from './core.ts';
import { type LaneState, listLanes } from './lifecycle/lanes.ts';
import { projectPath } from './project-path.ts';

export type HealthStatus = 'HEALTHY' | 'DEGRADED' | 'DOWN';

export interface Health {
  /** DOWN without Postgres; DEGRADED without Redis, storage or a worker. */
  status: HealthStatus;
  postgres: HealthStatus;
  redis: HealthStatus;
  storage: HealthStatus;
  /** Empty while Postgres is down. */
  lanes: LaneState[];
  /** Those that were seen within 15 s. Empty while Postgres is down. */
  workers: { id: string; host: string; startedAt: Date; seenAt: Date; processing: number }[];
  /** Of this machine. Percent; `gpuUtilization` is empty where no `nvidia-smi` is. */
  load: { cpuPercent: number; memoryPercent: number; gpuUtilization: number[] };
  uptimeSeconds: number;
  version: string;
}

/** How long an answer is good for, and how long a part may take to give its own. */
const freshMs = 1_000;
const patienceMs = 2_000;
const version: string = JSON.parse(readFileSync(projectPath('package.json'), 'utf8')).version;
const known = new WeakMap<object, { at: number; health: Promise<Health> }>();

/** How everything is. Never throws; answers within 3 s; at most a second old, so that asking often costs nothing. */
export function readHealth(core: Core): Promise<Health> {
  const cached = known.get(core.db);
  if (cached && Date.now() - cached.at < freshMs) return cached.health;
  const health = measure(core);
  known.set(core.db, { at: Date.now(), health });
  return health;
}

/** HEALTHY or DOWN: whether Postgres answers within two seconds. */
export const checkPostgres = (core: Core): Promise<HealthStatus> => answers(core.db.sql('select 1'));

/** HEALTHY or DOWN: whether Redis answers within two seconds. */
export const checkRedis = (core: Core): Promise<HealthStatus> =>
  core.bus.up ? answers(core.bus.ping()) : Promise.resolve('DOWN');

async function measure(core: Core): Promise<Health> {
  const [postgres, redis, storage, cpuPercent, gpuUtilization] = await Promise.all([
    checkPostgres(core),
    checkRedis(core),
    answers(core.storage.check()),
    measureCpu(),
    measureGpus(),
  ]);
  const [lanes, workers] =
    postgres === 'DOWN' ? [[], []] : await Promise.all([within(listLanes(core), []), within(listWorkers(core), [])]);
  const whole = redis === 'HEALTHY' && storage === 'HEALTHY' && workers.length > 0;
  return {
    status: postgres === 'DOWN' ? 'DOWN' : whole ? 'HEALTHY' : 'DEGRADED',
    postgres,
    redis,
    storage,
    lanes,
    workers,
    load: { cpuPercent, memoryPercent: percent(1 - freemem() / totalmem()), gpuUtilization },
    uptimeSeconds: Math.floor(process.uptime()),
    version,
  };
}

function listWorkers(core: Core): Promise<Health['workers']> {
  return core.db.sql(
    `select id, host, started_at, seen_at, processing from worker where seen_at > clock_timestamp() - interval '15 seconds' order by started_at`,
  );
}

const answers = (work: Promise<unknown>): Promise<HealthStatus> =>
  within(
    work.then(() => 'HEALTHY' as const),
    'DOWN',
  );

function within<Value>(work: Promise<Value>, otherwise: Value): Promise<Value> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, patienceMs, otherwise);
    work.then(resolve, () => resolve(otherwise)).finally(() => clearTimeout(timer));
  });
}

let last = readCpu();

/** Over all cores, since the last look or, if that is too close, over the next 100 ms. */
async function measureCpu(): Promise<number> {
  if (readCpu().total - last.total < 100) await new Promise((resolve) => setTimeout(resolve, 100));
  const before = last;
  last = readCpu();
  return percent(1 - (last.idle - before.idle) / Math.max(1, last.total - before.total));
}

function readCpu(): { idle: number; total: number } {
  let idle = 0;
  let total = 0;
  for (const { times } of cpus()) {
    idle += times.idle;
    total += times.idle + times.user + times.nice + times.sys + times.irq;
  }
  return { idle, total };
}

let hasGpu = true;

async function measureGpus(): Promise<number[]> {
  if (!hasGpu) return [];
  try {
    const { stdout } = await promisify(execFile)(
      'nvidia-smi',
      ['--query-gpu=utilization.gpu', '--format=csv,noheader,nounits'],
      { timeout: patienceMs },
    );
    return stdout.trim().split('\n').map(Number).filter(Number.isFinite);
  } catch (error) {
    // Not installed: it is not looked for again.
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') hasGpu = false;
    return [];
  }
}

const percent = (fraction: number): number => Math.round(Math.min(1, Math.max(0, fraction)) * 1000) / 10;
