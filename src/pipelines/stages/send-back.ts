import { toId } from '../../id.ts';
import type { FullBatch } from '../batch.ts';
import { nextOf, type TasksStage } from '../definition.ts';
import { done, failed, type Outcome } from '../outcome.ts';
import { lookUp } from '../template.ts';
import type { Turn } from './stage.ts';

/** What an earlier stage took, of which a judged item was made. */
interface Source {
  judged: string;
  itemId: string;
  sentBack: number;
  /** It is being made again already, from another's verdict. */
  isOld: boolean;
}

/**
 * Lets the items of a batch pass, or sends what they were made from back to an earlier stage, which does it again with the note. After so
 * many times they pass all the same.
 */
export async function judge(
  turn: Turn,
  stage: TasksStage,
  batch: FullBatch,
  result: Record<string, unknown>,
): Promise<Outcome> {
  const { to, unless, note } = stage.sendBack!;
  const verdict = lookUp(result, unless);
  if (typeof verdict !== 'boolean') {
    const message = `The result of ${stage.taskType} has neither true nor false at ${unless}.`;
    return failed(batch, { code: 'NO_OUTPUT', message, retryable: true });
  }
  if (verdict) {
    const same = batch.items.map(({ id, data }) => ({ data, from: [id] }));
    return done(turn.definition, stage, batch, same);
  }
  const reason = String(lookUp(result, note) ?? '');
  const sources = await sourcesOf(turn, batch, to);
  const judged = batch.items.map((item) => {
    const own = sources.filter(({ judged }) => judged === item.id);
    return { item, own, state: stateOf(turn, stage, item.id, own, reason) };
  });
  const next = nextOf(turn.definition, stage);
  const message = `Sent back with "${reason}", but "${to}" has not made it.`;
  return {
    batch: batch.id,
    stage: stage.key,
    state: judged.every(({ state }) => state === 'FAILED') ? 'FAILED' : 'DONE',
    error: judged.some(({ state }) => state === 'FAILED')
      ? { code: 'NOTHING_TO_SEND_BACK', message, retryable: false }
      : undefined,
    items: judged.map(({ item, state }) => ({ id: item.id, state, next: state === 'DONE' ? next : [] })),
    outputs: [],
    back: judged
      .filter(({ state }) => state === 'REJECTED')
      .flatMap(({ own }) =>
        own.filter(({ isOld }) => !isOld).map(({ itemId }) => ({ item: itemId, stage: to, note: reason })),
      ),
  };
}

/** What becomes of an item that was not let pass, with a line in the log. */
function stateOf(
  turn: Turn,
  stage: TasksStage,
  id: string,
  own: Source[],
  reason: string,
): 'DONE' | 'REJECTED' | 'FAILED' {
  const { to, atMost } = stage.sendBack!;
  const named = toId('Item', id);
  if (own.length === 0) return 'FAILED';
  if (own.every(({ isOld }) => isOld)) {
    turn.log('INFO', `${named} goes no further: what it was made from is being done again already.`, stage.key);
    return 'REJECTED';
  }
  if (own.some(({ sentBack }) => sentBack >= atMost)) {
    turn.log(
      'WARN',
      `${named} may not be sent back again (atMost ${atMost}); it goes on as it is: ${reason}`,
      stage.key,
    );
    return 'DONE';
  }
  turn.log('INFO', `${named} is sent back to ${to}: ${reason}`, stage.key);
  return 'REJECTED';
}

/** Of a stage that lets items pass, it is the stage behind that made the judged one of them. */
function sourcesOf({ core, run }: Turn, batch: FullBatch, stage: string): Promise<Source[]> {
  return core.db.sql<Source>(
    `with recursive line as (
       select id as judged, id, batch_id, 0 as far from item where id = any($1)
       union
       select line.judged, o.id, o.batch_id, line.far + 1 from line join item i on i.id = line.id join item o on o.id = any(i.origin) where line.far < 100
     )
     select line.judged, w.item_id, w.sent_back,
       not (w.state = 'DONE' and (w.item_id = line.judged
         or exists (select from line made where made.judged = line.judged and made.batch_id = w.batch_id)
         or exists (select from line made join work taken on taken.batch_id = made.batch_id and taken.item_id = w.item_id and taken.state <> 'RETRIED'
           where made.judged = line.judged))) as is_old
     from (select distinct judged, id from line) line
     cross join lateral (
       select item_id, sent_back, state, batch_id from work
       where item_id = line.id and configuration_id = $2 and stage = $3 order by round desc limit 1) w`,
    [batch.items.map(({ id }) => id), run.configurationId, stage],
    'send_back',
  );
}
