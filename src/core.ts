import { type Bus, openBus } from './bus.ts';
import type { Config } from './config.ts';
import { connectDatabase, type Database } from './db.ts';
import { ConfigError } from './errors.ts';
import { createLog, type Log } from './log.ts';
import { createOutbound, type Outbound } from './outbound.ts';
import { connectRedis } from './redis.ts';
import { loadRegistry, type Registry } from './registry.ts';
import type { Adapter, TaskType } from './sdk/index.ts';
import { openStorage } from './storage/open.ts';
import type { Storage } from './storage/storage.ts';
import { createVendors, type Vendors } from './vendor.ts';

/** What both processes stand on. Functions of the lifecycle take it first. */
export interface Core {
  config: Config;
  log: Log;
  db: Database;
  bus: Bus;
  storage: Storage;
  outbound: Outbound;
  registry: Registry;
  vendors: Vendors;
  /** Where clients and vendors reach the API, without a slash at the end. The server sets it again when any free port was asked for. */
  publicUrl: string;
  /** Signs client tokens and the URLs of a storage directory. */
  secret: string;
  close(): Promise<void>;
}

/**
 * Connects to everything that the configuration names.
 * @param options.name `api` or `worker`, in the log.
 * @param options.adapters and `options.taskTypes` come on top of the built-in ones and of plugins.
 * @param options.environment holds the adapters' secrets and configuration. Default: the process's.
 */
export async function openCore(
  config: Config,
  options: {
    name: string;
    adapters?: Adapter[];
    taskTypes?: TaskType<any, any>[];
    environment?: NodeJS.ProcessEnv;
  },
): Promise<Core> {
  const { DATABASE_URL, REDIS_URL, ATELIER_SECRET } = config;
  if (!DATABASE_URL || !REDIS_URL)
    throw new ConfigError(
      'DATABASE_URL and REDIS_URL are needed; `atelier start` runs private ones when they are not set',
    );
  if (!ATELIER_SECRET)
    throw new ConfigError(
      'ATELIER_SECRET is needed: at least 32 random characters, the same for all processes, as from `openssl rand -hex 32`',
    );
  const log = createLog(config.LOG_LEVEL, options.name);
  const publicUrl = (config.ATELIER_PUBLIC_URL ?? `http://${config.ATELIER_HOST}:${config.ATELIER_PORT}`).replace(
    /\/$/,
    '',
  );
  const extra = { adapters: options.adapters ?? [], taskTypes: options.taskTypes ?? [] };
  const registry = await loadRegistry(config, extra, options.environment ?? process.env);
  const { ATELIER_ALLOWED_HOSTS: allowedHosts, ATELIER_REDIS_PREFIX: prefix } = config;
  const redis = connectRedis(REDIS_URL, { log });
  const vendors = createVendors({ allowedHosts, redis, prefix });
  const db = connectDatabase(DATABASE_URL, { poolSize: config.ATELIER_POOL_SIZE, log });
  const bus = openBus({ url: REDIS_URL, prefix, log });
  const core: Core = {
    config,
    log,
    db,
    bus,
    storage: openStorage(config, { publicUrl: () => core.publicUrl, secret: ATELIER_SECRET }),
    outbound: createOutbound({ allowedHosts }),
    registry,
    vendors,
    publicUrl,
    secret: ATELIER_SECRET,
    async close() {
      await Promise.all([core.outbound.close(), core.vendors.close(), core.storage.close(), bus.close()]);
      redis.disconnect();
      await db.close();
    },
  };
  return core;
}
