import pg from 'pg';
import { readConfig } from '../config.ts';
import { type Core, openCore } from '../core.ts';
import { ConfigError, OutsideError } from '../errors.ts';
import { seedLanes } from '../lifecycle/lanes.ts';
import { seedPrices } from '../lifecycle/prices.ts';
import { migrate } from '../migrate.ts';

const connectTimeoutMs = 5_000;

/**
 * Applies what migrations there are to apply, and gives a new installation its lanes and prices.
 * @returns the names of the migrations that were applied.
 * @throws ConfigError without a database's address; OutsideError when it cannot be connected to.
 */
export async function prepareDatabase(environment: NodeJS.ProcessEnv): Promise<string[]> {
  const { DATABASE_URL } = readConfig(environment);
  if (!DATABASE_URL) throw new ConfigError('DATABASE_URL is needed, or a running `atelier start` in this folder');
  await tryConnection(DATABASE_URL);
  const applied = await migrate(DATABASE_URL);
  await withCore(environment, async (core) => {
    await seedLanes(core);
    await seedPrices(core);
  });
  return applied;
}

/**
 * Runs a piece of work on a core that is open for it alone.
 * @throws OutsideError when the database cannot be connected to.
 */
export async function withCore<Value>(
  environment: NodeJS.ProcessEnv,
  work: (core: Core) => Promise<Value>,
): Promise<Value> {
  const config = readConfig({ LOG_LEVEL: 'warn', ...environment });
  if (config.DATABASE_URL) await tryConnection(config.DATABASE_URL);
  const core = await openCore(config, { name: 'cli' });
  try {
    return await work(core);
  } finally {
    await core.close();
  }
}

/** First of all, so that a wrong address is one line for whoever gave it, whatever would have met it later. */
async function tryConnection(databaseUrl: string): Promise<void> {
  const client = new pg.Client({ connectionString: databaseUrl, connectionTimeoutMillis: connectTimeoutMs });
  try {
    await client.connect();
    await client.end();
  } catch (cause) {
    // Of several addresses of one host the error has no message, only a code. The URL itself may hold a password.
    const { message, code } = cause as Error & { code?: string };
    const where = `connecting to the database at ${client.host}:${client.port}`;
    throw new OutsideError(`${where}: ${message || code}`, { retryable: true, cause });
  }
}
