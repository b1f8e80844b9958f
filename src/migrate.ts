import { readdirSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { PrismaPg } from '@prisma/adapter-pg';
import { bindMigrationAwareSqlAdapterFactory } from '@prisma/driver-adapter-utils';
import pg from 'pg';
import { projectPath } from './project-path.ts';

/** Any number that other programs on the same database are unlikely to lock. */
const advisoryLock = 4_021_965;
const filters = { externalTables: [], externalEnums: [] };

/**
 * Brings a database up to the newest migration, as `prisma migrate deploy` would: same files, same `_prisma_migrations`
 * table, so either can go on where the other stopped. Prisma's engine runs as WebAssembly: nothing is downloaded.
 * Processes that start together wait for each other.
 * @returns the names of the migrations that were applied, oldest first.
 */
export async function migrate(databaseUrl: string): Promise<string[]> {
  const lock = new pg.Client({ connectionString: databaseUrl });
  await lock.connect();
  try {
    await lock.query('select pg_advisory_lock($1)', [advisoryLock]);
    await forgetInterrupted(lock);
    const engine = await openEngine(databaseUrl);
    try {
      const { appliedMigrationNames } = await engine.applyMigrations({ migrationsList: readMigrations(), filters });
      return appliedMigrationNames;
    } finally {
      engine.free();
    }
  } finally {
    await lock.end();
  }
}

/** The SQL that makes the tables of schema.prisma from nothing. A test holds the migrations against it. */
export async function schemaScript(databaseUrl: string): Promise<string> {
  const path = projectPath('prisma/schema.prisma');
  const content = readFileSync(path, 'utf8');
  const engine = await openEngine(databaseUrl, [[path, content]]);
  try {
    const to = { tag: 'schemaDatamodel' as const, files: [{ path, content }] };
    return (await engine.diff({ from: { tag: 'empty' }, to, script: true, exitCode: null, filters })).stdout ?? '';
  } finally {
    engine.free();
  }
}

// Node has WebAssembly; its type declarations leave it to the browser's.
declare const WebAssembly: {
  instantiate(bytes: Uint8Array, imports: object): Promise<{ instance: { exports: { __wbindgen_start(): void } } }>;
};

type Engine = typeof import('@prisma/schema-engine-wasm').SchemaEngine;

/** Once a process: the package's JavaScript half holds one WebAssembly half only. */
let engineClass: Promise<Engine> | undefined;

async function openEngine(databaseUrl: string, datamodels?: [string, string][]) {
  engineClass ??= loadEngine();
  // The engine never closes its pool: connections must go by themselves, or the process stays for them.
  const pool = new PrismaPg({ connectionString: databaseUrl, idleTimeoutMillis: 1 });
  const adapter = bindMigrationAwareSqlAdapterFactory(wholeScripts(pool));
  return (await engineClass).new({ datamodels }, () => {}, adapter);
}

async function loadEngine(): Promise<Engine> {
  // Node 20 cannot import .wasm, which the package's own entry does, so its two halves are joined by hand.
  const require = createRequire(import.meta.url);
  const folder = dirname(require.resolve('@prisma/schema-engine-wasm'));
  const binding = await import('@prisma/schema-engine-wasm/schema_engine_bg');
  const bytes = readFileSync(join(folder, 'schema_engine_bg.wasm'));
  const { instance } = await WebAssembly.instantiate(bytes, {
    './schema_engine_bg.js': { ...binding, ...idleTimers(binding) },
  });
  const { __wbg_set_wasm, SchemaEngine } = binding as unknown as {
    __wbg_set_wasm(exports: object): void;
    SchemaEngine: Engine;
  };
  __wbg_set_wasm(instance.exports);
  instance.exports.__wbindgen_start();
  return SchemaEngine;
}

/**
 * A migration that somebody's kill interrupted was rolled back by Postgres, and only its note remains, which would stop
 * every later one.
 */
async function forgetInterrupted(client: pg.Client): Promise<void> {
  const { rows } = await client.query(`select to_regclass('_prisma_migrations') is not null as exists`);
  if (!rows[0].exists) return;
  await client.query(
    'update _prisma_migrations set rolled_back_at = now() where finished_at is null and rolled_back_at is null',
  );
}

/** The engine never clears its time-out of 10 s, and would keep the process alive for so long after the work is done. */
function idleTimers(binding: object): object {
  const timers = Object.entries(binding).filter(([name]) => name.startsWith('__wbg_setTimeout_'));
  return Object.fromEntries(
    timers.map(([name, start]) => [name, (run: () => void, timeoutMs: number) => start(run, timeoutMs).unref()]),
  );
}

/** In the transaction of the migration itself: whenever it is interrupted, it is either done and noted, or neither. */
const noteFinished =
  'update _prisma_migrations set finished_at = now() where finished_at is null and rolled_back_at is null';

/**
 * The adapter cuts a migration at each semicolon, also inside a function's body. Sent whole, Postgres reads it right, and
 * runs it as one transaction.
 */
function wholeScripts(factory: PrismaPg): PrismaPg {
  const connect = factory.connect.bind(factory);
  factory.connect = async () => {
    const connection = await connect();
    connection.executeScript = async (script) => {
      const isMigration = readMigrations().migrationDirectories.some(
        ({ migrationFile }) => migrationFile.content.value === script,
      );
      await connection.underlyingDriver().query(isMigration ? `${script};\n${noteFinished}` : script);
    };
    return connection;
  };
  return factory;
}

function readMigrations() {
  const baseDir = projectPath('prisma/migrations');
  const names = readdirSync(baseDir, { withFileTypes: true })
    .filter((entry) => entry.isDirectory())
    .map((entry) => entry.name)
    .sort();
  return {
    baseDir,
    lockfile: { path: 'migration_lock.toml', content: readFileSync(join(baseDir, 'migration_lock.toml'), 'utf8') },
    shadowDbInitScript: '',
    migrationDirectories: names.map((path) => ({
      path,
      migrationFile: {
        path: 'migration.sql',
        content: { tag: 'ok' as const, value: readFileSync(join(baseDir, path, 'migration.sql'), 'utf8') },
      },
    })),
  };
}
