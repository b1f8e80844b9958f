import type { Core } from '../core.ts';
import type { AdapterModel } from '../sdk/index.ts';

/** Runs that are looked at, the last ones. */
const runs = 50;

/** The median time from start to end of the last tasks that a model completed here, in milliseconds; undefined when there are none. */
export async function typicalMs(core: Core, provider: string, model: AdapterModel): Promise<number | undefined> {
  const [row] = await core.db.sql<{ ms: number | null }>(
    `select percentile_cont(0.5) within group (order by ms) as ms from unnest($1::text[]) as wanted(type) cross join lateral (
       select extract(epoch from completed_at - started_at)::float8 * 1000 as ms from task
       where task.type = wanted.type and provider = $2 and model = $3 and status = 'COMPLETED' and completed_at is not null
       order by completed_at desc limit $4) last`,
    [model.taskTypes, provider, model.id, runs],
    'typical_ms',
  );
  return row?.ms == null ? undefined : Math.round(row.ms);
}
