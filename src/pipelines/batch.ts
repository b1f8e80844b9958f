import type { Core } from '../core.ts';
import type { Batch, Item, Run } from '../db.ts';
import { storableJson } from '../lifecycle/storable.ts';
import { type KeptPassage, writePassages } from './passage.ts';

/** Items that a stage took together, and what they were made from. */
export interface FullBatch extends Batch {
  items: (Item & { note: string | null; sentBack: number })[];
  /** Of its first item: the data of the nearest item of each kind that it is or was made from. */
  ancestors: Record<string, unknown>;
}

/** Reads batches with their items, in the order of their ids. */
export async function readBatches(core: Core, ids: string[]): Promise<FullBatch[]> {
  if (ids.length === 0) return [];
  const [batches, items, ancestors] = await Promise.all([
    core.db.sql<Batch>('select * from batch where id = any($1) order by id', [ids], 'batches'),
    core.db.sql<FullBatch['items'][number] & { takenBy: string }>(
      'select i.*, w.note, w.sent_back, w.batch_id as taken_by from work w join item i on i.id = w.item_id where w.batch_id = any($1) order by i.id',
      [ids],
      'batch_items',
    ),
    core.db.sql<{ takenBy: string; kind: string; data: unknown }>(
      `with recursive line as (
         select first.batch_id as taken_by, first.item_id as id, 0 as far
         from (select distinct on (batch_id) batch_id, item_id from work where batch_id = any($1) order by batch_id, item_id) first
         union
         select line.taken_by, o.id, line.far + 1 from line join item i on i.id = line.id cross join unnest(i.origin) as o(id) where line.far < 100
       )
       select distinct on (line.taken_by, i.kind) line.taken_by, i.kind, i.data from line join item i on i.id = line.id
       order by line.taken_by, i.kind, line.far, i.id`,
      [ids],
      'batch_ancestors',
    ),
  ]);
  const full = new Map(batches.map((batch) => [batch.id, { ...batch, items: [], ancestors: {} } as FullBatch]));
  for (const { takenBy, ...item } of items) full.get(takenBy)?.items.push(item);
  for (const { takenBy, kind, data } of ancestors) full.get(takenBy)!.ancestors[kind] = data;
  return [...full.values()];
}

/** What a batch begins with. */
export interface Begun {
  batch: string;
  /** STARTING: it waits for its task. RUNNING: it goes on without the worker. */
  state: 'STARTING' | 'RUNNING';
  agent?: { id: string; version: number } | null;
  passages?: KeptPassage[] | null;
  /** When it is looked at again, if nothing happens before. */
  dueAt?: Date | null;
}

/** Writes what batches begin with. @returns false: the run is another worker's by now. */
export async function writeBegun(core: Core, run: Pick<Run, 'id' | 'fence'>, begun: Begun[]): Promise<boolean> {
  const written = await core.db.sql(
    'select id from run_begun($1, $2, $3)',
    [run.id, run.fence, storableJson(begun)],
    'run_begun',
  );
  return written.length > 0;
}

/** What templates of a stage can say of a batch. */
export function scopeOf(
  batch: Pick<FullBatch, 'ancestors'> & { items: { data: unknown; note: string | null }[] },
  input: unknown,
  more: Record<string, unknown> = {},
): Record<string, unknown> {
  const [first] = batch.items;
  const retrieved = Object.values(batch.ancestors).find((data) => Array.isArray((data as any)?.passages)) as any;
  return {
    passages: retrieved && writePassages(retrieved.passages),
    ...batch.ancestors,
    item: first?.data,
    items: batch.items.map(({ data }) => data),
    input: input ?? {},
    note: first?.note ?? undefined,
    ...more,
  };
}
