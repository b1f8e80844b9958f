import type { Core } from '../core.ts';
import { Prisma, type TaskEvent } from '../db.ts';
import { Refusal } from '../errors.ts';

/** Which tasks a feed is about: those of one account, narrowed. Empty lists and undefined narrow nothing. */
export interface FeedScope {
  accountId: string;
  /** Only these tasks (uuids). */
  taskIds?: string[];
  projectId?: string;
  statuses?: string[];
  types?: string[];
  /** Tasks that carry all of these. */
  tags?: string[];
  needsReview?: boolean;
  createdAfter?: Date;
  createdBefore?: Date;
}

/** Ids are not commit order, so a place in the feed is (transaction, task, seq), read only below the oldest open transaction. */
interface Position {
  xid: bigint;
  taskId: string;
  seq: number;
}

const pageSize = 200;
const againMs = 50;
const checkMs = 5_000;
const lastTask = 'ffffffff-ffff-ffff-ffff-ffffffffffff';
const lastSeq = 2 ** 31 - 1;

export function openFeed(core: Core) {
  const followers = new Map<string, Set<() => void>>();
  let closed = false;

  async function horizon(): Promise<bigint> {
    const [row] = await core.db.sql<{ xmin: bigint }>(
      'select pg_snapshot_xmin(pg_current_snapshot())::text::int8 as xmin',
      [],
      'feed_horizon',
    );
    return row!.xmin;
  }

  function follow(scope: FeedScope, after: string | null): AsyncIterableIterator<TaskEvent> {
    let position = after === null ? null : decode(after);
    let buffer: TaskEvent[] = [];
    let touched = true;
    let ended = false;
    let wake: (() => void) | undefined;
    const touch = () => {
      touched = true;
      wake?.();
    };
    const group = followers.get(scope.accountId) ?? new Set();
    followers.set(scope.accountId, group.add(touch));

    async function read(): Promise<void> {
      touched = false;
      const below = await horizon();
      position ??= { xid: below - 1n, taskId: lastTask, seq: lastSeq };
      buffer = await readPage(core, scope, position, below);
      const last = buffer.at(-1);
      if (last && buffer.length === pageSize) {
        position = last;
        touched = true;
        return;
      }
      if (below - 1n > position.xid) position = { xid: below - 1n, taskId: lastTask, seq: lastSeq };
      // Committed, but behind a transaction that is still open: to be seen in a moment.
      const [{ pending } = { pending: false }] = await core.db.sql<{ pending: boolean }>(
        'select exists (select from task_event where account_id = $1 and xid >= $2) as pending',
        [scope.accountId, below],
        'feed_pending',
      );
      if (pending) setTimeout(touch, againMs).unref();
    }
    return {
      [Symbol.asyncIterator]() {
        return this;
      },
      async next() {
        while (!ended && !closed) {
          const event = buffer.shift();
          if (event) return { done: false, value: event };
          if (touched) await read();
          else {
            const timer = setTimeout(touch, checkMs);
            await new Promise<void>((resolve) => {
              wake = resolve;
            });
            wake = undefined;
            clearTimeout(timer);
          }
        }
        return { done: true, value: undefined };
      },
      async return() {
        ended = true;
        group.delete(touch);
        if (group.size === 0) followers.delete(scope.accountId);
        wake?.();
        return { done: true, value: undefined };
      },
    };
  }

  return {
    follow,
    cursorOf,
    async cursor(): Promise<string> {
      return cursorOf({ xid: (await horizon()) - 1n, taskId: lastTask, seq: lastSeq });
    },
    touch(accountId: string): void {
      for (const touch of followers.get(accountId) ?? []) touch();
    },
    touchAll(): void {
      for (const group of followers.values()) for (const touch of group) touch();
    },
    close(): void {
      closed = true;
      this.touchAll();
    },
  };
}

function cursorOf({ xid, taskId, seq }: Position): string {
  return Buffer.from(`${xid}.${taskId}.${seq}`).toString('base64url');
}

function decode(cursor: string): Position {
  const match = /^(\d{1,18})\.([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})\.(\d{1,10})$/.exec(
    Buffer.from(cursor, 'base64url').toString(),
  );
  if (!match || Number(match[3]) > lastSeq)
    throw new Refusal('ValidationError', 'BAD_CURSOR', 'after is no cursor: use one of an event, or feedCursor.', {
      issues: [],
    });
  return { xid: BigInt(match[1]!), taskId: match[2]!, seq: Number(match[3]) };
}

function readPage(core: Core, scope: FeedScope, after: Position, below: bigint): Promise<TaskEvent[]> {
  const conditions = [Prisma.sql`e.account_id = ${scope.accountId}::uuid`, Prisma.sql`e.xid < ${below}`];
  conditions.push(Prisma.sql`(e.xid, e.task_id, e.seq) > (${after.xid}, ${after.taskId}::uuid, ${after.seq})`);
  if (scope.taskIds) conditions.push(Prisma.sql`e.task_id = any(${scope.taskIds}::uuid[])`);
  if (scope.projectId) conditions.push(Prisma.sql`t.project_id = ${scope.projectId}::uuid`);
  if (scope.statuses?.length) conditions.push(Prisma.sql`t.status = any(${scope.statuses})`);
  if (scope.types?.length) conditions.push(Prisma.sql`t.type = any(${scope.types})`);
  if (scope.tags?.length) conditions.push(Prisma.sql`t.tags @> ${scope.tags}`);
  if (scope.needsReview !== undefined) conditions.push(Prisma.sql`t.needs_review = ${scope.needsReview}`);
  if (scope.createdAfter) conditions.push(Prisma.sql`t.created_at > ${scope.createdAfter}`);
  if (scope.createdBefore) conditions.push(Prisma.sql`t.created_at < ${scope.createdBefore}`);
  const { text, values } =
    Prisma.sql`select e.* from task_event e join task t on t.id = e.task_id where ${Prisma.join(conditions, ' and ')}
    order by e.xid, e.task_id, e.seq limit ${pageSize}`;
  return core.db.sql<TaskEvent>(text, values as unknown[]);
}
