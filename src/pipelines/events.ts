import type { Core } from '../core.ts';
import type { RunEvent } from '../db.ts';
import { type EventSource, openFollowers } from '../lifecycle/follow.ts';
import { endedStatuses } from './status.ts';
import { runEventsChannel } from './wake.ts';

/** What an API process offers to those who watch runs. */
export interface RunEvents {
  /** Every event of a run with seq > after, then live; ends after the terminal one, or when the run is gone. */
  follow(runId: string, after: number): AsyncIterableIterator<RunEvent>;
  close(): Promise<void>;
}

/** One per API process. */
export async function openRunEvents(core: Core): Promise<RunEvents> {
  const followers = openFollowers(core, sourceOf(core));
  const silence = await core.bus.listen(runEventsChannel, ({ runId }: { runId: string }) => followers.touch(runId));
  const forget = core.bus.onReturn(() => {
    followers.check().catch(() => {});
  });
  return {
    follow: followers.follow,
    async close() {
      forget();
      silence();
      followers.close();
    },
  };
}

const sourceOf = ({ db }: Core): EventSource<RunEvent> => ({
  what: 'runs',
  readNew: (ids, after, limit) =>
    db.sql<RunEvent>(
      `select e.* from unnest($1::uuid[], $2::int[]) as w(id, seq)
       cross join lateral (select * from run_event where run_id = w.id and seq > w.seq order by seq limit $3) e order by e.run_id, e.seq`,
      [ids, after, limit],
      'run_events_new',
    ),
  readOwn: (id, after, limit) =>
    db.sql<RunEvent>(
      'select * from run_event where run_id = $1 and seq > $2 order by seq limit $3',
      [id, after, limit],
      'run_events_own',
    ),
  async readStanding(ids) {
    const rows = await db.sql<{ id: string; status: string; lastSeq: number }>(
      'select id, status, last_seq from run where id = any($1)',
      [ids],
      'run_events_check',
    );
    return rows.map(({ id, status, lastSeq }) => ({ id, lastSeq, hasEnded: endedStatuses.includes(status) }));
  },
  idOf: ({ runId }) => runId,
  isLast: ({ kind, data }) => kind === 'status_changed' && endedStatuses.includes((data as { status: string }).status),
});
