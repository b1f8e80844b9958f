import DataLoader from 'dataloader';
import type { Core } from '../core.ts';
import type { Asset, Task } from '../db.ts';

/**
 * Rows by UUID, those that are asked for together in one query. Nothing is remembered: a subscription lives long, and the task
 * in an event is the task as it is now.
 */
export interface Loaders {
  task: DataLoader<string, Task | null>;
  asset: DataLoader<string, Asset | null>;
  /** By `<lane> <account>`: the UUIDs of the first 100 that wait there, in the order in which they run. */
  backlog: DataLoader<string, string[]>;
}

export function createLoaders(core: Core): Loaders {
  const { db } = core;
  return {
    task: byId((ids) => db.prisma.task.findMany({ where: { id: { in: ids } } })),
    asset: byId((ids) => db.prisma.asset.findMany({ where: { id: { in: ids } } })),
    backlog: new DataLoader(
      async (keys) => {
        const read = new Map([...new Set(keys)].map((key) => [key, readBacklog(core, key)]));
        return Promise.all(keys.map((key) => read.get(key)!));
      },
      { cache: false },
    ),
  };
}

function byId<Row extends { id: string }>(read: (ids: string[]) => Promise<Row[]>): DataLoader<string, Row | null> {
  return new DataLoader(
    async (ids) => {
      const rows = new Map((await read([...new Set(ids)])).map((row) => [row.id, row]));
      return ids.map((id) => rows.get(id) ?? null);
    },
    { cache: false, maxBatchSize: 1_000 },
  );
}

async function readBacklog({ db }: Core, key: string): Promise<string[]> {
  const rows = await db.sql<{ id: string }>(
    `select id from task where lane = $1 and account_id = $2 and status = 'QUEUED' order by priority desc, id limit 100`,
    key.split(' '),
    'task_backlog',
  );
  return rows.map((row) => row.id);
}
