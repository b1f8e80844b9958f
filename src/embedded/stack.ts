import { randomBytes } from 'node:crypto';
import { mkdirSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { takeDirectory } from './directory.ts';
import { type EmbeddedPostgres, startPostgres } from './postgres.ts';
import { type EmbeddedRedis, startRedis } from './redis.ts';
import { keepSecret, readSecret } from './secret.ts';

export interface Stack {
  /** Where the data lies; differs from the one asked for when another process has that. */
  directory: string;
  /** The settings to add to the environment: only those that it lacked. */
  environment: { [name: string]: string };
  /** True when Postgres is ours: accounts and keys in it are nobody else's. */
  ownsDatabase: boolean;
  /** Tells commands beside this process how the services are reached; `more` goes along. */
  announce(more: { [name: string]: string }): void;
  /** Stops what was started. Idempotent. */
  close(): Promise<void>;
}

/**
 * Starts what the environment does not name: Postgres, Redis, a secret, a directory for assets. The programs end with this
 * process, however it ends.
 * @param options.directory everything is kept below it. @param options.exclusive see {@link takeDirectory}; default false.
 * @param options.throwaway see {@link startPostgres}; default false.
 * @throws ConfigError, OutsideError: see {@link startPostgres} and {@link startRedis}.
 */
export async function startStack(options: {
  directory: string;
  exclusive?: boolean;
  throwaway?: boolean;
  environment?: NodeJS.ProcessEnv;
}): Promise<Stack> {
  const given = options.environment ?? process.env;
  const isMissing = (name: string) => !given[name] && !given[`${name}_FILE`];
  const directory = await takeDirectory(resolve(options.directory), { exclusive: options.exclusive ?? false });
  const environment: { [name: string]: string } = {};
  let postgres: EmbeddedPostgres | undefined;
  let redis: EmbeddedRedis | undefined;
  const close = async () => {
    await Promise.all([postgres?.close(), redis?.close()]);
    directory.release();
  };
  try {
    // Redis first: where it is missing, that is known (and said) at once.
    if (isMissing('REDIS_URL')) {
      redis = await startRedis(directory);
      environment.REDIS_URL = redis.url;
    }
    if (isMissing('DATABASE_URL')) {
      postgres = await startPostgres(directory, { throwaway: options.throwaway ?? false });
      environment.DATABASE_URL = postgres.url;
      if (isMissing('ATELIER_GRAPHIQL')) environment.ATELIER_GRAPHIQL = 'true';
    }
  } catch (error) {
    await close();
    throw error;
  }
  if (isMissing('ATELIER_SECRET')) {
    // Kept, so that tokens and URLs outlive a restart.
    const file = join(directory.path, 'secret');
    environment.ATELIER_SECRET = readSecret(file) ?? keepSecret(file, randomBytes(32).toString('hex'));
  }
  if (isMissing('S3_BUCKET') && isMissing('ATELIER_STORAGE_DIRECTORY')) {
    environment.ATELIER_STORAGE_DIRECTORY = join(directory.path, 'assets');
    mkdirSync(environment.ATELIER_STORAGE_DIRECTORY, { recursive: true });
  }
  return {
    directory: directory.path,
    environment,
    ownsDatabase: postgres !== undefined,
    announce: (more) => directory.announce({ ...environment, ...more }),
    close,
  };
}
