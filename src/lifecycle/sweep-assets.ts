import type { Core } from '../core.ts';

/**
 * Removes bytes that no row points to any more, and uploads that expired a day ago. Safe to run in every worker at once. No
 * transaction is open while the storage is asked: it would hold up every feed.
 * @param limit rows of each sort per call.
 * @returns how many rows are gone; `limit` or more: there may be more to do.
 */
export async function sweepAssets(core: Core, limit = 100): Promise<number> {
  return (await sweepTable(core, orphans, limit)) + (await sweepTable(core, uploads, limit));
}

interface Sweep {
  /** Takes keys that are due by putting them off: whoever dies in between leaves them to the next. */
  take: string;
  /** Removes the rows of keys whose bytes are gone. */
  done: string;
}

const orphans: Sweep = {
  // A key that a row claims after all is no orphan.
  take: `UPDATE orphan SET due_at = now() + interval '5 minutes' WHERE key IN (
      SELECT key FROM orphan WHERE due_at <= now() ORDER BY due_at LIMIT $1 FOR UPDATE SKIP LOCKED)
    RETURNING key, EXISTS (SELECT FROM asset WHERE asset.key = orphan.key) AS claimed`,
  done: 'DELETE FROM orphan WHERE key = ANY($1)',
};

const uploads: Sweep = {
  // A day, so that completeUpload can be repeated, and a PUT that began in time has ended.
  take: `UPDATE upload SET expires_at = now() - interval '1 day' + interval '5 minutes' WHERE key IN (
      SELECT key FROM upload WHERE expires_at <= now() - interval '1 day' ORDER BY expires_at LIMIT $1 FOR UPDATE SKIP LOCKED)
    RETURNING key, false AS claimed`,
  done: 'DELETE FROM upload WHERE key = ANY($1)',
};

async function sweepTable(core: Core, sweep: Sweep, limit: number): Promise<number> {
  const taken = await core.db.sql<{ key: string; claimed: boolean }>(sweep.take, [limit]);
  const done: string[] = [];
  for (const { key, claimed } of taken) {
    try {
      if (!claimed) await core.storage.remove(key);
      done.push(key);
    } catch (error) {
      core.log.warn({ err: error, key }, 'bytes that nothing points to cannot be removed yet');
      // The storage is likely away: the others would only wait for the same time-out.
      break;
    }
  }
  if (done.length > 0) await core.db.sql(sweep.done, [done]);
  return done.length;
}
