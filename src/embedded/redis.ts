import { randomBytes } from 'node:crypto';
import { accessSync, constants, existsSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { Redis } from 'ioredis';
import { ConfigError, OutsideError } from '../errors.ts';
import type { Directory } from './directory.ts';
import { freePort } from './port.ts';
import { runService, type Service } from './service.ts';

const startTimeoutMs = 20_000;
const installTimeoutMs = 300_000;

/** Debian's redis-tools holds the server too, and brings no system service; it goes by the name that it is called with. */
const debianProgram = '/usr/bin/redis-check-rdb';

export interface EmbeddedRedis {
  url: string;
  close(): Promise<void>;
}

/**
 * Starts a Redis (or Valkey) of our own on a free port of 127.0.0.1. It keeps nothing: Postgres is the truth. Where none
 * is installed, it is, on Debian and Ubuntu as root.
 * @throws ConfigError when there is none and it cannot be installed here; OutsideError when it does not start.
 */
export async function startRedis(directory: Directory): Promise<EmbeddedRedis> {
  const program = findProgram() ?? (await install(directory));
  const folder = join(directory.path, 'redis');
  const settings = join(folder, 'redis.conf');
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  for (let attempt = 1; ; attempt++) {
    const port = await freePort();
    const password = randomBytes(24).toString('hex');
    writeFileSync(
      settings,
      `bind 127.0.0.1\nport ${port}\ndir "${folder}"\nrequirepass ${password}\nsave ""\nappendonly no\n`,
      { mode: 0o600 },
    );
    // A program that keeps nothing has nothing to end in order.
    const service = runService(directory, {
      name: 'redis',
      command: program,
      argv0: 'redis-server',
      args: [settings],
      signal: 'SIGKILL',
    });
    const url = `redis://:${password}@127.0.0.1:${port}`;
    if (await isReady(service, url)) {
      return {
        url,
        async close() {
          await service.stop();
          rmSync(folder, { recursive: true, force: true });
        },
      };
    }
    await service.stop();
    if (attempt === 3)
      throw new OutsideError(`starting the private Redis in ${folder}: ${service.output()}`, { retryable: false });
  }
}

async function isReady(service: Service, url: string): Promise<boolean> {
  const deadline = Date.now() + startTimeoutMs;
  while (service.exitCode === null && Date.now() < deadline) {
    const redis = new Redis(url, { lazyConnect: true, retryStrategy: null, maxRetriesPerRequest: 0 });
    redis.on('error', () => {});
    try {
      await redis.connect();
      await redis.ping();
      return true;
    } catch {
      await wait(20);
    } finally {
      redis.disconnect();
    }
  }
  return false;
}

function findProgram(): string | undefined {
  const folders = (process.env.PATH ?? '').split(delimiter);
  const candidates = ['redis-server', 'valkey-server'].flatMap((name) => folders.map((folder) => join(folder, name)));
  return [...candidates, debianProgram].find(isExecutable);
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

async function install(directory: Directory): Promise<string> {
  if (!existsSync('/usr/bin/apt-get') || process.getuid?.() !== 0) {
    throw new ConfigError(
      'Redis is missing: install it (macOS: brew install redis; Debian, Ubuntu: sudo apt-get install redis-tools), or run one (docker run -p 6379:6379 redis) and set REDIS_URL',
    );
  }
  process.stderr.write('Redis is missing: installing redis-tools with apt-get …\n');
  const script =
    'export DEBIAN_FRONTEND=noninteractive; apt-get update -q && apt-get install -q -y --no-install-recommends redis-tools';
  const service = runService(directory, {
    name: 'apt-get',
    command: 'timeout',
    args: [String(installTimeoutMs / 1000), 'sh', '-c', script],
    signal: 'SIGTERM',
  });
  const code = await service.exited;
  const program = findProgram();
  if (code !== 0 || !program) {
    const words = service.output().split('\n').slice(-3).join(' ');
    throw new ConfigError(
      `Redis is missing, and apt-get could not install redis-tools (${words}); install it yourself, or set REDIS_URL`,
    );
  }
  return program;
}
