import { mkdirSync, rmSync } from 'node:fs';
import { createServer } from 'node:http';
import { join } from 'node:path';
import pg from 'pg';
import S3rver from 's3rver';
import type { TestProject } from 'vitest/node';
import { startStack } from '../src/embedded/stack.ts';
import { migrate } from '../src/migrate.ts';

declare module 'vitest' {
  export interface ProvidedContext {
    services: {
      /** Any database on the server of the tests, as a superuser. */
      databaseUrl: string;
      /** Migrated; beds are copies of it. */
      templateDatabase: string;
      redisUrl: string;
      s3: { endpoint: string; accessKeyId: string; secretAccessKey: string };
    };
  }
}

/** Postgres, Redis and an S3 server for one run of the tests, on free ports, away from those that `start` and `demo` use. */
export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const stack = await startStack({ directory: '.atelier/test', throwaway: true, environment: {} });
  const databaseUrl = stack.environment.DATABASE_URL!;
  const templateDatabase = 'template_atelier';
  await createTemplate(databaseUrl, templateDatabase);
  const s3 = await startS3(join(stack.directory, 's3'));
  project.provide('services', { databaseUrl, templateDatabase, redisUrl: stack.environment.REDIS_URL!, s3: s3.access });
  return async () => {
    s3.close();
    await stack.close();
  };
}

async function createTemplate(databaseUrl: string, name: string): Promise<void> {
  const client = new pg.Client({ connectionString: databaseUrl });
  await client.connect();
  await client.query(`create database ${name}`);
  await client.end();
  const url = new URL(databaseUrl);
  url.pathname = name;
  await migrate(url.href);
}

async function startS3(directory: string) {
  rmSync(directory, { recursive: true, force: true });
  mkdirSync(directory, { recursive: true });
  const s3rver = new S3rver({ directory, silent: true, configureBuckets: [] });
  await s3rver.configureBuckets();
  const server = createServer(s3rver.callback());
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as { port: number };
  return {
    access: { endpoint: `http://127.0.0.1:${port}`, accessKeyId: 'S3RVER', secretAccessKey: 'S3RVER' },
    close() {
      server.closeAllConnections();
      server.close();
    },
  };
}
