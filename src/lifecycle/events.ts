import type { Core } from '../core.ts';
import type { TaskEvent } from '../db.ts';
import { type FeedScope, openFeed } from './feed.ts';
import { eventChannels } from './wake.ts';

/** What an API process offers to subscribers. Nothing is missed and nothing comes twice, whatever becomes of Redis. */
export interface Events {
  /** Every event of a task with seq > after, then live; ends after the terminal one, or when the task is gone. */
  follow(taskId: string, after: number): AsyncIterableIterator<TaskEvent>;
  /** Every event of every task in scope, in commit order, from a cursor on; null: from now. Never ends by itself. */
  feed(scope: FeedScope, after: string | null): AsyncIterableIterator<TaskEvent>;
  /** The cursor of this moment: a feed from here misses nothing that is committed later. */
  feedCursor(): Promise<string>;
  cursorOf(event: Pick<TaskEvent, 'xid' | 'taskId' | 'seq'>): string;
  close(): Promise<void>;
}

const terminal = new Set(['COMPLETED', 'FAILED', 'CANCELLED', 'EXPIRED']);
const pageSize = 200;
/** What a subscriber may leave unread before its events are dropped and read again when he comes for them. */
const maxBuffered = 200;
const checkMs = 5_000;
const checkWithoutRedisMs = 1_000;

interface Watch {
  /** The newest seq that was handed to the subscribers. */
  seq: number;
  subscribers: Set<(events: TaskEvent[] | null) => void>;
}

/** One per API process: however many watch a task, its new events are read once. */
export async function openEvents(core: Core): Promise<Events> {
  const watches = new Map<string, Watch>();
  const dirty = new Set<string>();
  const feed = openFeed(core);
  let reading = false;
  let closed = false;

  async function readDirty(): Promise<void> {
    if (reading || closed) return;
    reading = true;
    try {
      while (dirty.size > 0) {
        const ids = [...dirty].filter((id) => watches.has(id));
        dirty.clear();
        if (ids.length > 0) await readNew(ids);
      }
    } catch (error) {
      core.log.warn({ err: error }, 'events were not read; the next look follows');
    } finally {
      reading = false;
    }
  }
  async function readNew(ids: string[]): Promise<void> {
    const rows = await core.db.sql<TaskEvent>(
      `select e.* from unnest($1::uuid[], $2::int[]) as w(id, seq) join task_event e on e.task_id = w.id and e.seq > w.seq order by e.task_id, e.seq`,
      [ids, ids.map((id) => watches.get(id)!.seq)],
      'events_new',
    );
    const byTask = new Map<string, TaskEvent[]>();
    for (const row of rows) byTask.set(row.taskId, [...(byTask.get(row.taskId) ?? []), row]);
    for (const [id, events] of byTask) {
      const watch = watches.get(id);
      if (!watch) continue;
      watch.seq = events.at(-1)!.seq;
      for (const push of watch.subscribers) push(events);
    }
  }
  function touch(taskId: string, seq: number): void {
    const watch = watches.get(taskId);
    if (!watch || seq <= watch.seq) return;
    dirty.add(taskId);
    void readDirty();
  }
  /** A lost wake-up costs this long, not for ever. */
  async function check(): Promise<void> {
    if (watches.size === 0) return;
    const ids = [...watches.keys()];
    const rows = await core.db.sql<{ id: string; lastSeq: number }>(
      'select id, last_seq from task where id = any($1)',
      [ids],
      'events_check',
    );
    const present = new Map(rows.map((row) => [row.id, row.lastSeq]));
    for (const id of ids) {
      const seq = present.get(id);
      if (seq !== undefined) touch(id, seq);
      else for (const push of watches.get(id)?.subscribers ?? []) push(null);
    }
  }
  let timer: NodeJS.Timeout;
  function schedule(): void {
    timer = setTimeout(
      () => {
        check()
          .catch((error) => core.log.warn({ err: error }, 'watched tasks were not checked; the next check follows'))
          .finally(() => closed || schedule());
      },
      core.bus.up ? checkMs : checkWithoutRedisMs,
    );
  }
  schedule();
  const heard = ({ taskId, accountId, seq }: { taskId: string; accountId: string; seq: number }) => {
    touch(taskId, seq);
    feed.touch(accountId);
  };
  const silence = await Promise.all(eventChannels.map((channel) => core.bus.listen(channel, heard)));
  const forget = core.bus.onReturn(() => {
    check().catch(() => {});
    feed.touchAll();
  });

  function follow(taskId: string, after: number): AsyncIterableIterator<TaskEvent> {
    let last = after;
    let buffer: TaskEvent[] = [];
    let behind = true;
    let ended = false;
    let wake: (() => void) | undefined;
    const push = (events: TaskEvent[] | null) => {
      if (events === null) ended = true;
      else if (behind || buffer.length + events.length > maxBuffered) {
        behind = true;
        buffer = [];
      } else buffer.push(...events);
      wake?.();
    };
    // Listens before it reads: what is committed in between is in one of the two.
    const watch = watches.get(taskId) ?? { seq: after, subscribers: new Set() };
    // What one subscriber has no use for, another may wait for.
    watch.seq = Math.min(watch.seq, after);
    watches.set(taskId, watch);
    watch.subscribers.add(push);

    async function readOwn(): Promise<void> {
      behind = false;
      const rows = await core.db.sql<TaskEvent>(
        'select * from task_event where task_id = $1 and seq > $2 order by seq limit $3',
        [taskId, last, pageSize],
        'events_own',
      );
      if (rows.length > 0) {
        behind = rows.length === pageSize;
        buffer = [...rows, ...buffer.filter((event) => event.seq > rows.at(-1)!.seq)];
        return;
      }
      const [task] = await core.db.sql<{ status: string; lastSeq: number }>(
        'select status, last_seq from task where id = $1',
        [taskId],
      );
      if (!task || (terminal.has(task.status) && task.lastSeq <= last)) ended = true;
      else if (task.lastSeq > last) behind = true;
      // Behind its newest event there is nothing to wait for: he gets what comes next.
      else {
        last = task.lastSeq;
        watch.seq = Math.min(watch.seq, last);
      }
    }
    function leave(): void {
      ended = true;
      watch.subscribers.delete(push);
      if (watch.subscribers.size === 0 && watches.get(taskId) === watch) watches.delete(taskId);
      wake?.();
    }
    return {
      [Symbol.asyncIterator]() {
        return this;
      },
      async next() {
        while (true) {
          if (ended && buffer.length === 0) {
            leave();
            return { done: true, value: undefined };
          }
          const event = buffer[0];
          if (event && event.seq === last + 1) {
            buffer.shift();
            last = event.seq;
            if (isTerminal(event)) {
              buffer = [];
              leave();
            }
            return { done: false, value: event };
          }
          if (event && event.seq <= last) buffer.shift();
          else if (event || behind) await readOwn();
          else {
            await new Promise<void>((resolve) => {
              wake = resolve;
            });
            wake = undefined;
          }
        }
      },
      async return() {
        buffer = [];
        leave();
        return { done: true, value: undefined };
      },
    };
  }

  return {
    follow,
    feed: feed.follow,
    feedCursor: feed.cursor,
    cursorOf: feed.cursorOf,
    async close() {
      closed = true;
      clearTimeout(timer);
      forget();
      for (const end of silence) end();
      for (const watch of watches.values()) for (const push of [...watch.subscribers]) push(null);
      feed.close();
    },
  };
}

function isTerminal(event: TaskEvent): boolean {
  return event.kind === 'status_changed' && terminal.has((event.data as { status: string }).status);
}
