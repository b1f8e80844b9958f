import { readConfig } from '../config.ts';
import { type Core, openCore } from '../core.ts';
import { ConfigError } from '../errors.ts';
import { seedLanes } from '../lifecycle/lanes.ts';
import { seedPrices } from '../lifecycle/prices.ts';
import { migrate } from '../migrate.ts';

/**
 * Applies what migrations there are to apply, and gives a new installation its lanes and prices.
 * @returns the names of the migrations that were applied.
 */
export async function prepareDatabase(environment: NodeJS.ProcessEnv): Promise<string[]> {
  const { DATABASE_URL } = readConfig(environment);
  if (!DATABASE_URL) throw new ConfigError('DATABASE_URL is needed, or a running `atelier start` in this folder');
  const applied = await migrate(DATABASE_URL);
  await withCore(environment, async (core) => {
    await seedLanes(core);
    await seedPrices(core);
  });
  return applied;
}

/** Runs a piece of work on a core that is open for it alone. */
export async function withCore<Value>(
  environment: NodeJS.ProcessEnv,
  work: (core: Core) => Promise<Value>,
): Promise<Value> {
  const core = await openCore(readConfig({ LOG_LEVEL: 'warn', ...environment }), { name: 'cli' });
  try {
    return await work(core);
  } finally {
    await core.close();
  }
}
