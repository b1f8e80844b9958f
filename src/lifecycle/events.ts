import type { Core } from '../core.ts';
import type { TaskEvent } from '../db.ts';
import { type FeedScope, openFeed } from './feed.ts';
import { type EventSource, openFollowers } from './follow.ts';
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

/** One per API process. */
export async function openEvents(core: Core): Promise<Events> {
  const feed = openFeed(core);
  const followers = openFollowers(core, sourceOf(core));
  const heard = ({ taskId, accountId, seq }: { taskId: string; accountId: string; seq: number }) => {
    followers.touch(taskId, seq);
    feed.touch(accountId);
  };
  const silence = await Promise.all(eventChannels.map((channel) => core.bus.listen(channel, heard)));
  const forget = core.bus.onReturn(() => {
    followers.check().catch(() => {});
    feed.touchAll();
  });
  return {
    follow: followers.follow,
    feed: feed.follow,
    feedCursor: feed.cursor,
    cursorOf: feed.cursorOf,
    async close() {
      forget();
      for (const end of silence) end();
      followers.close();
      feed.close();
    },
  };
}

const sourceOf = ({ db }: Core): EventSource<TaskEvent> => ({
  what: 'tasks',
  readNew: (ids, after, limit) =>
    db.sql<TaskEvent>(
      `select e.* from unnest($1::uuid[], $2::int[]) as w(id, seq)
       cross join lateral (select * from task_event where task_id = w.id and seq > w.seq order by seq limit $3) e order by e.task_id, e.seq`,
      [ids, after, limit],
      'events_new',
    ),
  readOwn: (id, after, limit) =>
    db.sql<TaskEvent>(
      'select * from task_event where task_id = $1 and seq > $2 order by seq limit $3',
      [id, after, limit],
      'events_own',
    ),
  async readStanding(ids) {
    const rows = await db.sql<{ id: string; status: string; lastSeq: number }>(
      'select id, status, last_seq from task where id = any($1)',
      [ids],
      'events_check',
    );
    return rows.map(({ id, status, lastSeq }) => ({ id, lastSeq, hasEnded: terminal.has(status) }));
  },
  idOf: ({ taskId }) => taskId,
  isLast: ({ kind, data }) => kind === 'status_changed' && terminal.has((data as { status: string }).status),
});
