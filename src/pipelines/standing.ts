import type { Core } from '../core.ts';

/** Where a stage of a run stands. */
export interface StageStanding {
  runId: string;
  key: string;
  status: string;
  /** Items that wait for it, in the project; of a run that has ended, those that it left. */
  waiting: number;
  running: number;
  done: number;
  failed: number;
  startedAt: Date | null;
  completedAt: Date | null;
}

/** The stages of runs, each run's first to last. */
export function stagesOfRuns(core: Core, runIds: string[]): Promise<StageStanding[]> {
  return core.db.sql<StageStanding>(
    `select sr.run_id, sr.key, sr.status, coalesce(sr.waiting, s.waiting, 0) as waiting, sr.running, sr.done, sr.failed, sr.started_at, sr.completed_at
     from stage_run sr join run r on r.id = sr.run_id left join stage s on s.configuration_id = r.configuration_id and s.key = sr.key
     where sr.run_id = any($1) order by sr.run_id, sr.position`,
    [runIds],
    'runs_stages',
  );
}

/** What runs hold now and have been charged, by the ledger. */
export function creditsOfRuns(core: Core, runIds: string[]): Promise<{ runId: string; held: bigint; used: bigint }[]> {
  return core.db.sql(
    `select run_id, sum(held_change)::int8 as held, coalesce(sum(amount) filter (where leg = 'CAPTURE'), 0)::int8 as used
     from ledger_entry where run_id = any($1) group by 1`,
    [runIds],
    'runs_credits',
  );
}

/** What the tasks of runs have been charged, stage by stage, by the ledger. */
export function creditsOfStages(
  core: Core,
  runIds: string[],
): Promise<{ runId: string; stage: string; used: bigint }[]> {
  return core.db.sql(
    `select b.run_id, b.stage, sum(l.amount)::int8 as used from batch b join ledger_entry l on l.task_id = b.task_id and l.leg = 'CAPTURE'
     where b.run_id = any($1) and b.task_id is not null group by 1, 2`,
    [runIds],
    'runs_stage_credits',
  );
}
