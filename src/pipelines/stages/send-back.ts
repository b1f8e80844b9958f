import type { FullBatch } from '../batch.ts';
import type { TasksStage } from '../definition.ts';
import { done, failed, type Outcome } from '../outcome.ts';
import { lookUp } from '../template.ts';
import type { Turn } from './stage.ts';

/**
 * Lets the items of a batch pass, or sends what they were made from back to an earlier stage, which does it again with the note. After so
 * many rounds they pass all the same.
 */
export async function judge(
  turn: Turn,
  stage: TasksStage,
  batch: FullBatch,
  result: Record<string, unknown>,
): Promise<Outcome> {
  const { to, unless, note, atMost } = stage.sendBack!;
  const same = batch.items.map(({ id, data }) => ({ data, from: [id] }));
  const verdict = lookUp(result, unless);
  if (typeof verdict !== 'boolean') {
    const message = `The result of ${stage.taskType} has neither true nor false at ${unless}.`;
    return failed(batch, { code: 'NO_OUTPUT', message, retryable: true });
  }
  if (verdict) return done(turn.definition, stage, batch, same);
  const reason = String(lookUp(result, note) ?? '');
  const earlier = await worksOf(turn, batch, to);
  if (earlier.some(({ round }) => round > atMost)) {
    turn.log('WARN', `Sent back ${atMost} times already; it goes on as it is: ${reason}`, stage.key);
    return done(turn.definition, stage, batch, same);
  }
  turn.log('INFO', `Sent back to ${to}: ${reason}`, stage.key);
  const items = batch.items.map(({ id }) => ({ id, state: 'REJECTED' as const }));
  const back = earlier.map(({ itemId }) => ({ item: itemId, stage: to, note: reason }));
  return { batch: batch.id, state: 'DONE', items, outputs: [], back };
}

/** What an earlier stage took of the line that the items of a batch come from. */
function worksOf({ core, run }: Turn, batch: FullBatch, stage: string): Promise<{ itemId: string; round: number }[]> {
  return core.db.sql(
    `with recursive line as (
       select id, 0 as far from unnest($1::uuid[]) as i(id)
       union
       select o.id, line.far + 1 from line join item i on i.id = line.id cross join unnest(i.origin) as o(id) where line.far < 100
     )
     select w.item_id, max(w.round) as round from work w
     where w.item_id in (select id from line) and w.configuration_id = $2 and w.stage = $3 group by 1`,
    [batch.items.map(({ id }) => id), run.configurationId, stage],
    'send_back',
  );
}
