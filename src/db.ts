import { PrismaPg } from '@prisma/adapter-pg';
import pg from 'pg';
import { PrismaClient } from './generated/prisma/client.ts';
import type { Log } from './log.ts';

export type {
  Account,
  AgentProfile,
  ApiKey,
  Asset,
  Attempt,
  Batch,
  Item,
  KnowledgeDocument,
  LedgerEntry,
  Pipeline,
  PipelineConfiguration,
  Project,
  ProviderCallback,
  Review,
  Run,
  RunEvent,
  Stage,
  StageRun,
  Task,
  TaskEvent,
  Upload,
  WebhookDelivery,
} from './generated/prisma/client.ts';
export { Prisma } from './generated/prisma/client.ts';

/** Postgres: `sql` for the single statements of the hot path, `prisma` for reads. Both share one pool. */
export interface Database {
  prisma: PrismaClient;
  /** Rows as objects with camelCase keys; int8 as bigint where Prisma has BigInt. A `name` prepares the statement once per connection. */
  sql<Row = Record<string, unknown>>(text: string, values?: unknown[], name?: string): Promise<Row[]>;
  pool: pg.Pool;
  close(): Promise<void>;
}

/** No statement here takes as long on a database that is well. */
const queryTimeoutMs = 5_000;

const types = {
  // int8 as Prisma gives it, so that raw rows can stand for Prisma's.
  getTypeParser: ((oid: number, format?: never) =>
    oid === pg.types.builtins.INT8 ? BigInt : pg.types.getTypeParser(oid, format)) as never,
};

export function connectDatabase(url: string, options: { poolSize: number; log: Log }): Database {
  const pool = new pg.Pool({
    connectionString: url,
    max: options.poolSize,
    connectionTimeoutMillis: 5_000,
    // A server that hangs must not hang its callers.
    query_timeout: queryTimeoutMs,
    idleTimeoutMillis: 30_000,
    application_name: 'atelier',
    types,
  });
  // Without a listener a connection that dies while idle would end the process.
  pool.on('error', (error) => options.log.warn({ err: error }, 'a database connection was lost'));
  const prisma = new PrismaClient({ adapter: new PrismaPg(pool) });
  return {
    prisma,
    pool,
    async sql<Row>(text: string, values?: unknown[], name?: string) {
      try {
        const result = await pool.query({ text, values, name });
        return result.rows.map(camelCase) as Row[];
      } catch (error) {
        fromDatabase.add(error as object);
        throw error;
      }
    },
    async close() {
      await prisma.$disconnect();
      await pool.end();
    },
  };
}

const fromDatabase = new WeakSet<object>();

/** True for what `sql` threw: a connection, a time-out, a statement that was refused; never somebody else's fault. */
export function isFromDatabase(error: unknown): boolean {
  return typeof error === 'object' && error !== null && fromDatabase.has(error);
}

const names = new Map<string, string>();

function camelCase(row: Record<string, unknown>): Record<string, unknown> {
  const out: Record<string, unknown> = {};
  for (const key in row) {
    let name = names.get(key);
    if (!name) {
      name = key.replace(/_([a-z0-9])/g, (_, letter: string) => letter.toUpperCase());
      names.set(key, name);
    }
    out[name] = row[key];
  }
  return out;
}
