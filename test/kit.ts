import { randomBytes, randomUUID } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { CreateBucketCommand, S3Client } from '@aws-sdk/client-s3';
import { createClient } from 'graphql-sse';
import pg from 'pg';
import { inject } from 'vitest';
import { createAccount, createApiKey } from '../src/access.ts';
import { type Config, readConfig } from '../src/config.ts';
import { type Core, openCore } from '../src/core.ts';
import { freePort } from '../src/embedded/port.ts';
import { toId } from '../src/id.ts';
import { changeCredits } from '../src/lifecycle/credits.ts';
import { seedLanes } from '../src/lifecycle/lanes.ts';
import { seedPrices } from '../src/lifecycle/prices.ts';
import type { Adapter, TaskType } from '../src/sdk/index.ts';
import { startServer } from '../src/server.ts';
import { startWorker, type Worker } from '../src/worker.ts';

export { eventually } from './eventually.ts';

const grantedCredits = 1_000_000;

export interface TestBedOptions {
  /** On top of the built-in ones. */
  adapters?: Adapter[];
  taskTypes?: TaskType<any, any>[];
  /** Settings that replace the bed's own, as `{ ATELIER_LEASE_SECONDS: '3' }`, and the adapters' secrets and configuration. */
  environment?: { [name: string]: string };
  /** How many workers run; true = 1, false = none. Default: true. */
  worker?: boolean | number;
  /** Where assets go. Default: the S3 server. */
  storage?: 's3' | 'directory';
}

export interface GraphqlAnswer<Data = any> {
  status: number;
  data: Data;
  errors:
    | { message: string; path?: (string | number)[]; extensions?: { code?: string; [name: string]: unknown } }[]
    | undefined;
}

/** A whole Atelier of its own: database, Redis prefix, storage, API on a port, workers, an account with credits and keys. */
export interface TestBed {
  /** The API's; each worker has one of its own, as in real life. */
  core: Core;
  workers: Worker[];
  config: Config;
  /** Base URL of the API. */
  url: string;
  /** Has 1,000,000 credits. */
  account: { uuid: string; id: string };
  operatorKey: string;
  tasksKey: string;
  /** Asks the API over HTTP. `key`: default the tasks key; null = none. */
  graphql<Data = any>(
    query: string,
    variables?: object,
    options?: { key?: string | null },
  ): Promise<GraphqlAnswer<Data>>;
  /** Results of a subscription over SSE; ends when the server completes it. Break out of the loop to end it yourself. */
  subscribe<Data = any>(
    query: string,
    variables?: object,
    options?: { key?: string },
  ): AsyncIterableIterator<{ data: Data; errors?: unknown[] }>;
  sql: Core['db']['sql'];
  /** A key of an account, of the bed's own by default. */
  createKey(scopes: string[], accountUuid?: string): Promise<string>;
  /** Another account, with credits (default 1,000,000) and a key with all scopes but operator. */
  createAccount(credits?: number): Promise<{ uuid: string; id: string; key: string }>;
  /** One more worker; closed with the bed. */
  addWorker(): Promise<Worker>;
  close(): Promise<void>;
}

/** Use it in `beforeAll`, and `close` it in `afterAll`. */
export async function createTestBed(options: TestBedOptions = {}): Promise<TestBed> {
  const name = `bed_${randomUUID().replaceAll('-', '')}`;
  const directory = await mkdtemp(join(tmpdir(), 'atelier-bed-'));
  const database = await createDatabase(name);
  const storage =
    options.storage === 'directory'
      ? { ATELIER_STORAGE_DIRECTORY: join(directory, 'assets') }
      : await createBucket(name);
  const config = readConfig({
    DATABASE_URL: database.url,
    REDIS_URL: inject('services').redisUrl,
    ATELIER_REDIS_PREFIX: name,
    ATELIER_PORT: String(await freePort()),
    ATELIER_SECRET: randomBytes(32).toString('hex'),
    ATELIER_POOL_SIZE: '8',
    LOG_LEVEL: process.env.LOG_LEVEL ?? 'silent',
    ...storage,
    ...options.environment,
  });
  const open = (process: string) =>
    openCore(config, {
      name: process,
      adapters: options.adapters,
      taskTypes: options.taskTypes,
      environment: options.environment ?? {},
    });
  const core = await open('api');
  await seedLanes(core);
  await seedPrices(core);
  const server = await startServer(core);
  const workers: Worker[] = [];
  const closes: (() => Promise<void>)[] = [];

  const bed: TestBed = {
    core,
    workers,
    config,
    url: server.url,
    account: { uuid: '', id: '' },
    operatorKey: '',
    tasksKey: '',
    sql: core.db.sql,
    async graphql(query, variables = {}, { key = bed.tasksKey } = {}) {
      const response = await fetch(`${server.url}/graphql`, {
        method: 'POST',
        headers: { 'content-type': 'application/json', accept: 'application/json', ...authorization(key) },
        body: JSON.stringify({ query, variables }),
      });
      return {
        data: undefined,
        errors: undefined,
        ...((await response.json()) as object),
        status: response.status,
      } as GraphqlAnswer;
    },
    subscribe(query, variables = {}, { key = bed.tasksKey } = {}) {
      const client = createClient({ url: `${server.url}/graphql`, headers: authorization(key), retryAttempts: 0 });
      return client.iterate({ query, variables: { ...variables } }) as AsyncIterableIterator<any>;
    },
    async createKey(scopes, accountUuid = bed.account.uuid) {
      return (await createApiKey(core, { accountId: accountUuid, name: 'test', scopes })).secret;
    },
    async createAccount(credits = grantedCredits) {
      const { account } = await createAccount(core, { name: 'test' });
      const uuid = account.id;
      const grant = {
        accountId: uuid,
        leg: 'GRANT' as const,
        change: credits,
        idempotencyKey: 'test',
        note: 'for tests',
      };
      if (credits > 0) await changeCredits(core, grant);
      return {
        uuid,
        id: toId('Account', uuid),
        key: await bed.createKey(['tasks:read', 'tasks:write', 'account'], uuid),
      };
    },
    async addWorker() {
      const workerCore = await open('worker');
      const worker = await startWorker(workerCore);
      workers.push(worker);
      closes.push(async () => {
        await worker.close();
        await workerCore.close();
      });
      return worker;
    },
    async close() {
      await Promise.all(closes.map((close) => close()));
      await server.close();
      await core.close();
      await database.drop();
      await rm(directory, { recursive: true, force: true });
    },
  };
  const { key: _, ...account } = await bed.createAccount();
  bed.account = account;
  bed.operatorKey = await bed.createKey(['tasks:read', 'tasks:write', 'account', 'operator']);
  bed.tasksKey = await bed.createKey(['tasks:read', 'tasks:write']);
  for (let count = Number(options.worker ?? true); count > 0; count--) await bed.addWorker();
  return bed;
}

function authorization(key: string | null): { [name: string]: string } {
  return key === null ? {} : { authorization: `Bearer ${key}` };
}

async function createDatabase(name: string): Promise<{ url: string; drop(): Promise<void> }> {
  const { databaseUrl, templateDatabase } = inject('services');
  await run(databaseUrl, `create database ${name} template ${templateDatabase}`);
  const url = new URL(databaseUrl);
  url.pathname = name;
  return { url: url.href, drop: () => run(databaseUrl, `drop database ${name} with (force)`) };
}

async function run(databaseUrl: string, statement: string): Promise<void> {
  const client = new pg.Client({ connectionString: databaseUrl });
  await client.connect();
  await client.query(statement).finally(() => client.end());
}

async function createBucket(name: string): Promise<{ [name: string]: string }> {
  const { endpoint, accessKeyId, secretAccessKey } = inject('services').s3;
  const bucket = name.replace('_', '-');
  const client = new S3Client({
    endpoint,
    region: 'us-east-1',
    forcePathStyle: true,
    credentials: { accessKeyId, secretAccessKey },
  });
  await client.send(new CreateBucketCommand({ Bucket: bucket }));
  client.destroy();
  return {
    S3_BUCKET: bucket,
    S3_ENDPOINT: endpoint,
    S3_ACCESS_KEY_ID: accessKeyId,
    S3_SECRET_ACCESS_KEY: secretAccessKey,
  };
}
