import type { TestBed } from '../kit.ts';

/** What must never be so: a query that finds the rows of which it is. */
interface Invariant {
  name: string;
  rows: string;
}

const versions = 'pipeline_configuration c join pipeline p on p.name = c.pipeline';
const ownStage = `batch b join run r on r.id = b.run_id join pipeline p on p.id = r.pipeline_id
  cross join lateral (select value as own, ord from jsonb_array_elements(p.definition->'stages') with ordinality as e(value, ord)
    where value->>'key' = b.stage) me`;
/** A version of the pipeline has no such stage: what waited there was sent on. */
const isSometimesGone = (configuration: string, stage: string) =>
  `exists (select from ${versions} where c.id = ${configuration} and not p.definition->'stages' @> jsonb_build_array(jsonb_build_object('key', ${stage})))`;

/** Holds at each moment, whatever goes on. */
export const always: Invariant[] = [
  {
    name: 'a stage counts what stands there',
    rows: `select c.pipeline, s.*, real.* from stage s join pipeline_configuration c on c.id = s.configuration_id
      cross join lateral (select count(*) filter (where state = 'WAITING') as w, count(*) filter (where state = 'RUNNING') as r,
        count(*) filter (where state in ('DONE', 'REJECTED')) as d, count(*) filter (where state = 'FAILED') as f
        from work where configuration_id = s.configuration_id and stage = s.key) real
      where (s.waiting, s.running, s.done, s.failed) is distinct from (w::int, r::int, d::int, f::int)`,
  },
  {
    name: 'a stage of a run counts what it has at work',
    rows: `select sr.*, n from stage_run sr cross join lateral (select count(*) as n from work w join batch b on b.id = w.batch_id
        where b.run_id = sr.run_id and b.stage = sr.key and w.state = 'RUNNING') real where sr.running <> n`,
  },
  {
    name: 'what is at work belongs to a batch that has not ended, of a run that has not',
    rows: `select w.*, b.state as batch_state, r.status from work w left join batch b on b.id = w.batch_id left join run r on r.id = b.run_id
      where w.state = 'RUNNING' and (r.id is null or r.completed_at is not null or b.ended_at is not null)`,
  },
  {
    name: 'a paused run has nothing at work but reviews',
    rows: `select r.id, r.reason, b.stage, b.state, b.task_id from ${ownStage}
      where r.status = 'PAUSED' and r.reason is distinct from 'WENT_WRONG' and b.state in ('STARTING', 'RUNNING') and own->>'kind' <> 'REVIEW'`,
  },
  {
    name: 'an item is in one round of a stage at a time, and has one result there',
    rows: `select item_id, stage, array_agg(state order by round) as states from work where state <> 'RETRIED'
      group by item_id, configuration_id, stage having count(*) > 1`,
  },
  {
    name: 'an account has what its ledger says',
    rows: `select a.id, a.available, a.held, sum(available_change) as by_ledger, sum(held_change) as held_by_ledger
      from account a join ledger_entry l on l.account_id = a.id group by a.id
      having (a.available, a.held) is distinct from (sum(available_change)::int8, sum(held_change)::int8)`,
  },
  {
    name: 'nobody waits for another for ever',
    rows: 'select deadlocks from pg_stat_database where datname = current_database() and deadlocks > 0',
  },
];

/** Holds when every run has ended. */
export const atRest: Invariant[] = [
  {
    name: 'a run that has ended holds no credits',
    rows: `select r.id, r.status, sum(l.held_change) as held from run r join ledger_entry l on l.run_id = r.id group by r.id having sum(l.held_change) <> 0`,
  },
  {
    name: 'a run is charged what its tasks are',
    rows: `select r.id from run r where (select coalesce(sum(amount), 0) from ledger_entry l where l.run_id = r.id and leg = 'CAPTURE') <>
      (select coalesce(sum(l.amount), 0) from batch b join ledger_entry l on l.task_id = b.task_id and l.leg = 'CAPTURE' where b.run_id = r.id)`,
  },
  {
    name: 'no batch and no task of a run goes on',
    rows: `select b.id, b.stage, b.state, t.status from batch b left join task t on t.id = b.task_id
      where b.state in ('STARTING', 'RUNNING') or t.completed_at is null and t.id is not null`,
  },
  {
    name: 'a task that draws on a run is that of one batch',
    rows: `select id, status from task t where hold_id is not null and not exists (select from batch where task_id = t.id)`,
  },
  {
    name: 'a review that is open has its batch',
    rows: `select v.* from review v join batch b on b.id = v.batch_id where v.outcome is null and b.state not in ('STARTING', 'RUNNING')`,
  },
  {
    name: 'a run says how many of its items failed, and its stages do',
    rows: `select r.id, r.failures, sum(sr.failed) as of_stages from run r join stage_run sr on sr.run_id = r.id group by r.id having r.failures <> sum(sr.failed)`,
  },
  {
    name: 'a stage of a run counts what it has done',
    rows: `select sr.*, n from stage_run sr cross join lateral (select count(*) as n from work w join batch b on b.id = w.batch_id
        where b.run_id = sr.run_id and b.stage = sr.key and w.state in ('DONE', 'FAILED', 'REJECTED', 'RETRIED')) real where sr.done + sr.failed <> n`,
  },
  {
    name: 'an item is what its work says',
    rows: `select i.id, i.kind, i.state, real.state as by_work from item i join (
        select item_id, (array_agg(state order by array_position('{RUNNING,WAITING,FAILED,REJECTED}', state)))[1] as state
        from (select distinct on (item_id, configuration_id, stage) item_id, case state when 'RETRIED' then 'DONE' else state end as state from work
          order by item_id, configuration_id, stage, round desc) newest group by 1) real on real.item_id = i.id
      where i.state <> real.state`,
  },
  {
    name: 'what is retried has a next round',
    rows: `select w.* from work w where state = 'RETRIED' and not exists (select from work o
        where (o.item_id, o.configuration_id, o.stage, o.round) = (w.item_id, w.configuration_id, w.stage, w.round + 1))
      and not ${isSometimesGone('w.configuration_id', 'w.stage')}`,
  },
  {
    name: 'nothing is sent back more often than it may',
    rows: `select w.* from work w where sent_back >= round or sent_back > (
        select coalesce(max((s->'sendBack'->>'atMost')::int), 0) from ${versions} cross join jsonb_array_elements(p.definition->'stages') s
        where c.id = w.configuration_id and s->'sendBack'->>'to' = w.stage)`,
  },
  {
    name: 'a task makes one item where its result is one, once',
    rows: `select b.id, b.stage, b.state, count(i.id) as items from ${ownStage} left join item i on i.batch_id = b.id
      where own->>'kind' = 'TASKS' and own->>'each' is null and own->>'output' <> own->>'input'
      group by b.id having count(i.id) <> case b.state when 'DONE' then 1 else 0 end`,
  },
  {
    name: 'what is made goes on',
    rows: `select i.id, i.kind, i.state, b.stage from item i join ${ownStage} on b.id = i.batch_id
      where not exists (select from work w where w.item_id = i.id) and exists (
        select from jsonb_array_elements(p.definition->'stages') with ordinality as n(value, ord) where n.ord > me.ord and n.value->>'input' = i.kind)`,
  },
  {
    name: 'what passes goes on',
    rows: `select w.*, n.key from work w join ${ownStage} on b.id = w.batch_id
      cross join lateral (select value->>'key' as key from jsonb_array_elements(p.definition->'stages') with ordinality as n(value, ord)
        where n.ord > me.ord and n.value->>'input' = own->>'input' order by n.ord limit 1) n
      where w.state = 'DONE' and coalesce(own->>'output', own->>'input') = own->>'input'
        and not exists (select from work o where (o.item_id, o.configuration_id, o.stage) = (w.item_id, w.configuration_id, n.key))
        and not ${isSometimesGone('w.configuration_id', 'n.key')}`,
  },
  {
    name: 'what is added goes into each pipeline that takes it',
    rows: `select i.id, i.kind, c.pipeline from item i join pipeline_configuration c on c.project_id = i.project_id
      join stage s on s.configuration_id = c.id and s.inlet = i.kind
      where i.digest is not null and not exists (select from work w where w.item_id = i.id and w.configuration_id = c.id)`,
  },
  {
    name: 'what waits at a stage is taken by the next run',
    rows: `select c.pipeline, s.key, s.waiting from stage s join pipeline_configuration c on c.id = s.configuration_id where s.waiting > 0 and s.input is not null`,
  },
  {
    name: 'events of a run are numbered without gaps',
    rows: `select r.id, r.last_seq, count(e.*) as events, max(e.seq) from run r left join run_event e on e.run_id = r.id
      group by r.id having r.last_seq <> count(e.*) or r.last_seq <> coalesce(max(e.seq), 0)`,
  },
  {
    name: 'who gave a callbackUrl is told of each stop, and nobody else',
    rows: `select r.id, e.seq, e.data, d.type from run r join run_event e on e.run_id = r.id and e.kind = 'status_changed'
        and e.data->>'status' in ('PAUSED', 'WAITING_FOR_REVIEW', 'COMPLETED', 'FAILED', 'CANCELLED')
      left join webhook_delivery d on d.run_id = r.id and d.sequence = e.seq where (r.callback_url is null) <> (d.id is null)`,
  },
  {
    name: 'no turn goes wrong for good',
    rows: `select id, wrong_turns from run where reason = 'WENT_WRONG'`,
  },
];

const rowsShown = 3;

/** @returns a line for each invariant that is broken: its name, and for which rows. */
export async function findBroken(bed: TestBed, invariants: Invariant[]): Promise<string[]> {
  const broken: string[] = [];
  for (const { name, rows } of invariants) {
    const found = await bed.sql(rows);
    const shown = found.slice(0, rowsShown).map((row) => JSON.stringify(row, asNumber));
    if (found.length > 0) broken.push(`not so: ${name}; ${found.length} rows, as ${shown.join(', ')}`);
  }
  return broken;
}

const asNumber = (_: string, value: unknown): unknown => (typeof value === 'bigint' ? Number(value) : value);
