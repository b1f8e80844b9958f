import type { Core } from '../core.ts';

/** How long an answer is good for. */
const freshMs = 10_000;
const known = new WeakMap<object, Map<string, { at: number; ms: Promise<number | null> }>>();

/** The median processing time of the last 50 completed tasks of one type, provider and model, in milliseconds; null when there are none. */
export function usualDurationMs(
  core: Core,
  type: string,
  provider: string | null | undefined,
  model: string | null | undefined,
): Promise<number | null> {
  const key = JSON.stringify([type, provider ?? null, model ?? null]);
  const cache = known.get(core.db) ?? new Map();
  known.set(core.db, cache);
  const cached = cache.get(key);
  if (cached && Date.now() - cached.at < freshMs) return cached.ms;
  const ms = measure(core, type, provider, model);
  cache.set(key, { at: Date.now(), ms });
  ms.catch(() => cache.delete(key));
  return ms;
}

async function measure(
  core: Core,
  type: string,
  provider: string | null | undefined,
  model: string | null | undefined,
): Promise<number | null> {
  const [row] = await core.db.sql<{ ms: number | null }>(
    `select round(percentile_cont(0.5) within group (order by extract(epoch from completed_at - started_at) * 1000))::float8 as ms from (
       select started_at, completed_at from task
       where type = $1 and provider = $2 and model is not distinct from $3 and status = 'COMPLETED'
       order by completed_at desc limit 50) recent`,
    [type, provider ?? null, model ?? null],
    'task_usual_duration',
  );
  return row?.ms ?? null;
}
