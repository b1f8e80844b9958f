import { readNumbers } from '../config.ts';
import type { Core } from '../core.ts';
import { ConfigError, notFound, validation } from '../errors.ts';
import { isStorable } from './storable.ts';

export interface LaneState {
  name: string;
  /** Tasks that may hold a slot at once. */
  concurrency: number;
  paused: boolean;
  queued: number;
  processing: number;
}

const defaultConcurrency = 2;
const maxConcurrency = 1_000;

/** Makes a row for each lane that a task type names. What exists stays as it is. */
export async function seedLanes(core: Pick<Core, 'db' | 'registry' | 'config'>): Promise<void> {
  const configured = readNumbers(core.config.ATELIER_LANE_CONCURRENCY);
  const names = laneNames(core);
  for (const [name, concurrency] of Object.entries(configured)) {
    const wrong = !names.includes(name)
      ? `no lane is called ${name}; there are ${names.join(', ')}`
      : concurrency > maxConcurrency
        ? `${name} may have at most ${maxConcurrency}`
        : null;
    if (wrong) throw new ConfigError(`ATELIER_LANE_CONCURRENCY: ${wrong}`);
  }
  await core.db.sql(
    'insert into lane (name, concurrency) select * from unnest($1::text[], $2::int[]) on conflict do nothing',
    [names, names.map((name) => configured[name] ?? defaultConcurrency)],
  );
}

export function laneNames(core: Pick<Core, 'registry'>): string[] {
  return [...new Set(core.registry.taskTypes.map((type) => type.lane))];
}

/** All lanes with their backlog, over all accounts. Counts above 10,000 are shown as 10,000: exact ones would cost a scan. */
export async function listLanes(core: Core): Promise<LaneState[]> {
  return core.db.sql<LaneState>(
    `select name, concurrency, paused,
       (select count(*)::int from (select from task where lane = name and status = 'QUEUED' limit 10000) q) as queued,
       (select count(*)::int from task where lane = name and status = 'PROCESSING') as processing
     from lane order by name`,
  );
}

/** Changes a lane at run time; work that has begun goes on. Throws a Refusal for an unknown lane or a number out of range. */
export async function setLane(
  core: Core,
  name: string,
  change: { paused?: boolean | null; concurrency?: number | null },
): Promise<LaneState> {
  const { concurrency } = change;
  if (concurrency != null && (concurrency < 0 || concurrency > maxConcurrency)) {
    throw validation([{ path: ['concurrency'], message: `must be from 0 to ${maxConcurrency}` }]);
  }
  if (!isStorable(name)) throw notFound('lane');
  const changed = await core.db.sql(
    'update lane set paused = coalesce($2, paused), concurrency = coalesce($3, concurrency) where name = $1 returning name',
    [name, change.paused ?? null, concurrency ?? null],
  );
  if (changed.length === 0) throw notFound('lane');
  core.bus.wake('dispatch', { lane: name });
  return (await listLanes(core)).find((lane) => lane.name === name)!;
}
