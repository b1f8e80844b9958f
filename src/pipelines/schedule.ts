import type { Core } from '../core.ts';
import type { PipelineConfiguration, Run } from '../db.ts';
import { Refusal } from '../errors.ts';
import { toId } from '../id.ts';
import { findPipeline } from './catalog.ts';
import { cancelRun } from './command.ts';
import { startRun } from './start.ts';
import { endedStatuses } from './status.ts';
import { nextRun } from './update-configuration.ts';
import { runEventsChannel } from './wake.ts';

const atOnce = 20;
/** Without catch-up, a date that was missed by more is left out. */
const lateMs = 5 * 60_000;

type Due = Pick<
  PipelineConfiguration,
  'id' | 'pipeline' | 'enabled' | 'cron' | 'timeZone' | 'overlap' | 'catchUp' | 'nextRunAt' | 'queued'
> & {
  now: Date;
  /** The UUID of its live run. */
  live: string | null;
};

/**
 * Starts the runs whose time has come. Any worker may call it, and as many as like: a date is taken under the lock of its row and becomes a
 * start that is owed, in one transaction; what is owed is made in the transaction that writes the run.
 * @param now default: the database's clock.
 * @returns true when there may be more.
 */
export async function startDue(core: Core, now?: Date): Promise<boolean> {
  const taken = await takeDates(core, now ?? null);
  const started = await startOwed(core);
  return taken === atOnce || started === atOnce;
}

/** Makes of each date that has come a start that is owed, or leaves it out; and names the next. */
async function takeDates(core: Core, now: Date | null): Promise<number> {
  const client = await core.db.pool.connect();
  const skipped: Due[] = [];
  let rows: Due[] = [];
  try {
    await client.query('begin');
    const due = await client.query(
      `select c.id, c.pipeline, c.enabled, c.cron, c.time_zone as "timeZone", c.overlap, c.catch_up as "catchUp", c.next_run_at as "nextRunAt", c.queued,
         coalesce($1, clock_timestamp()) as now,
         (select r.id from run r where r.configuration_id = c.id and r.status <> all ($3)) as live
       from pipeline_configuration c where c.enabled and c.next_run_at <= coalesce($1, clock_timestamp())
       order by c.next_run_at limit $2 for no key update of c skip locked`,
      [now, atOnce, endedStatuses],
    );
    rows = due.rows as Due[];
    for (const row of rows) {
      const isMissed = !row.catchUp && row.now.getTime() - row.nextRunAt!.getTime() > lateMs;
      const isInTheWay = row.overlap === 'SKIP' && row.live !== null;
      if (isMissed || isInTheWay) skipped.push(row);
      await client.query('update pipeline_configuration set next_run_at = $2, queued = queued or $3 where id = $1', [
        row.id,
        nextDate(core, row),
        !isMissed && !isInTheWay,
      ]);
    }
    await client.query('commit');
  } catch (error) {
    await client.query('rollback').catch(() => {});
    throw error;
  } finally {
    client.release();
  }
  for (const { id, pipeline, nextRunAt, live, overlap } of skipped) {
    const date = nextRunAt!.toISOString();
    if (overlap === 'SKIP' && live)
      await log(core, live, `The start that was scheduled for ${date} is left out: this run goes on.`);
    else
      core.log.warn(
        { configurationId: toId('PipelineConfiguration', id), pipeline, date },
        'a scheduled start was missed and is left out',
      );
  }
  return rows.length;
}

/** A schedule that cannot be read any more, as when a time zone was abolished, has no next date. */
function nextDate(core: Core, row: Due): Date | null {
  try {
    return nextRun(row, row.now);
  } catch (err) {
    core.log.warn({ err, configurationId: toId('PipelineConfiguration', row.id) }, 'a schedule cannot be read');
    return null;
  }
}

type Owed = Pick<PipelineConfiguration, 'id' | 'accountId' | 'projectId' | 'pipeline' | 'overlap' | 'nextRunAt'>;

/** Makes the starts that are owed where no run is live; where one is in the way of CANCEL_OLD, it is cancelled. */
async function startOwed(core: Core): Promise<number> {
  // Somebody's run was quicker than the one that SKIP had room for.
  await core.db.sql(
    `update pipeline_configuration c set queued = false where c.queued and c.overlap = 'SKIP'
       and exists (select from run r where r.configuration_id = c.id and r.status <> all ($1))`,
    [endedStatuses],
    'schedule_skip',
  );
  const old = await core.db.sql<Run>(
    `select r.* from pipeline_configuration c join run r on r.configuration_id = c.id and r.status <> all ($2)
     where c.queued and c.overlap = 'CANCEL_OLD' and r.status <> 'CANCELLING' order by r.id limit $1`,
    [atOnce, endedStatuses],
    'schedule_old',
  );
  for (const run of old) {
    await log(core, run.id, 'Cancelled by the schedule, whose next run begins when this one has ended.');
    await cancelRun(core, run, 'CANCEL').catch(expected);
  }
  const owed = await core.db.sql<Owed>(
    `select c.id, c.account_id, c.project_id, c.pipeline, c.overlap, c.next_run_at from pipeline_configuration c
     where c.queued and not exists (select from run r where r.configuration_id = c.id and r.status <> all ($2)) order by c.id limit $1`,
    [atOnce, endedStatuses],
    'schedule_owed',
  );
  let started = 0;
  for (const one of owed) {
    try {
      await startRun(core, one, { pipeline: one.pipeline, trigger: 'SCHEDULED' });
      started++;
    } catch (err) {
      if (!(err instanceof Refusal))
        core.log.warn({ err, ...named(one) }, 'a scheduled start failed; it is made again');
      else await refused(core, one, err);
    }
  }
  return started;
}

/** What is refused now is tried at the next date, not every second; a run that FAILED says why. */
async function refused(core: Core, one: Owed, refusal: Refusal): Promise<void> {
  if (refusal.code === 'STARTED_ALREADY') return;
  // Somebody was quicker: the next look says what that means.
  if (refusal.kind === 'RunAlreadyActiveError') return;
  core.log.warn({ code: refusal.code, reason: refusal.message, ...named(one) }, 'a scheduled start was refused');
  const pipeline = await findPipeline(core, one.accountId, one.pipeline);
  // Gone with its plugin: there is nothing that a run could be of.
  if (!pipeline)
    return void (await core.db.sql('update pipeline_configuration set queued = false where id = $1', [one.id]));
  const issues = 'issues' in refusal.facts ? refusal.facts.issues : [];
  const why = issues.map(({ path, message }) => `${path.join('.')} ${message}`).join('; ') || refusal.message;
  const error = { code: refusal.code, message: `It could not be started: ${why}`, retryable: true };
  await core.db.sql(
    'select id from run_refused($1, $2, $3, $4)',
    [one.id, pipeline.id, one.nextRunAt, JSON.stringify(error)],
    'run_refused',
  );
}

const named = ({ id, projectId, pipeline }: Owed) => ({
  configurationId: toId('PipelineConfiguration', id),
  projectId: toId('Project', projectId),
  pipeline,
});

/** A line in a live run's log, from outside of its turns. */
async function log(core: Core, runId: string, message: string): Promise<void> {
  await core.db.sql(
    `with live as materialized (select id from run where id = $1 and status <> all ($2) for update) select run_events_add(id, $3) from live`,
    [runId, endedStatuses, JSON.stringify([{ kind: 'logged', data: { level: 'INFO', stage: null, message } }])],
    'schedule_log',
  );
  core.bus.wake(runEventsChannel, { runId });
}

/** It has ended by itself meanwhile. */
function expected(error: unknown): void {
  if (!(error instanceof Refusal)) throw error;
}
