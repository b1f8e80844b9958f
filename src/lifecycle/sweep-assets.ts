import type pg from 'pg';
import type { Core } from '../core.ts';

/**
 * Removes bytes that no row points to any more, and uploads that expired a day ago. Safe to run in every worker at once.
 * @param limit rows of each sort per call.
 * @returns how many rows are gone; `limit` or more: there may be more to do.
 */
export async function sweepAssets(core: Core, limit = 100): Promise<number> {
  return (await sweepTable(core, orphans, limit)) + (await sweepTable(core, uploads, limit));
}

interface Sweep {
  /** Locks and returns the keys that are due. */
  due: string;
  /** Removes the rows of keys whose bytes are gone. */
  done: string;
  /** Puts off the keys that the storage refused, so that they do not stand before the others for ever. */
  later: string;
}

const orphans: Sweep = {
  // A key that a row claims after all is no orphan.
  due: `SELECT key, EXISTS (SELECT FROM asset WHERE asset.key = orphan.key) AS claimed FROM orphan WHERE due_at <= now()
    ORDER BY due_at LIMIT $1 FOR UPDATE SKIP LOCKED`,
  done: 'DELETE FROM orphan WHERE key = ANY($1)',
  later: `UPDATE orphan SET due_at = now() + interval '5 minutes' WHERE key = ANY($1)`,
};

const uploads: Sweep = {
  // A day, so that completeUpload can be repeated, and a PUT that began in time has ended.
  due: `SELECT key, false AS claimed FROM upload WHERE expires_at <= now() - interval '1 day' ORDER BY expires_at LIMIT $1 FOR UPDATE SKIP LOCKED`,
  done: 'DELETE FROM upload WHERE key = ANY($1)',
  later: `UPDATE upload SET expires_at = now() - interval '1 day' + interval '5 minutes' WHERE key = ANY($1)`,
};

async function sweepTable(core: Core, sweep: Sweep, limit: number): Promise<number> {
  const client = await core.db.pool.connect();
  try {
    await client.query('BEGIN');
    const gone = await removeDue(core, client, sweep, limit);
    await client.query('COMMIT');
    client.release();
    return gone;
  } catch (error) {
    // The connection may be what failed: it is not used again.
    client.release(true);
    throw error;
  }
}

async function removeDue(core: Core, client: pg.PoolClient, sweep: Sweep, limit: number): Promise<number> {
  const { rows } = await client.query<{ key: string; claimed: boolean }>(sweep.due, [limit]);
  if (rows.length === 0) return 0;
  const done: string[] = [];
  const later: string[] = [];
  for (const { key, claimed } of rows) {
    try {
      if (!claimed) await core.storage.remove(key);
      done.push(key);
    } catch (error) {
      core.log.warn({ err: error, key }, 'bytes that nothing points to cannot be removed yet');
      later.push(key);
      // The storage is likely away: the others would only wait for the same time-out.
      break;
    }
  }
  if (done.length > 0) await client.query(sweep.done, [done]);
  if (later.length > 0) await client.query(sweep.later, [later]);
  return done.length;
}
