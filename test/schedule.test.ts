import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import type { PipelineConfiguration, Run } from '../src/db.ts';
import { createPipeline } from '../src/pipelines/catalog.ts';
import { addItems } from '../src/pipelines/items.ts';
import { startDue } from '../src/pipelines/schedule.ts';
import { startRun } from '../src/pipelines/start.ts';
import { type ConfigurationChange, updateConfiguration } from '../src/pipelines/update-configuration.ts';
import { createTestBed, type TestBed } from './kit.ts';
import { settleRuns } from './settle-runs.ts';

let bed: TestBed;
let scope: { accountId: string; projectId: string };
beforeAll(async () => {
  bed = await createTestBed({ worker: false });
  await createPipeline(bed.core, bed.account.uuid, {
    name: 'tidy',
    title: 'Tidy',
    stages: [{ key: 'tidy', title: 'x', kind: 'TRANSFORM', input: 'word', output: 'word', transform: 'unique_texts' }],
  });
});
afterAll(() => bed.close());
beforeEach(async () => {
  // What another test has scheduled is none of this one's.
  await bed.sql('update pipeline_configuration set enabled = false, queued = false, next_run_at = null');
  const project = await bed.core.db.prisma.project.create({ data: { accountId: bed.account.uuid, name: 'test' } });
  scope = { accountId: bed.account.uuid, projectId: project.id };
});

const set = async (change: ConfigurationChange, pipeline = 'tidy') =>
  (await updateConfiguration(bed.core, scope, pipeline, { enabled: true, cron: '0 * * * *', ...change })).configuration;
const read = async (): Promise<PipelineConfiguration> =>
  (await bed.core.db.prisma.pipelineConfiguration.findFirst({ where: { projectId: scope.projectId } }))!;
const runs = () => bed.sql<Run>('select * from run where project_id = $1 order by id', [scope.projectId]);
const end = () => settleRuns(bed.core);
const later = (date: Date, ms: number) => new Date(date.getTime() + ms);
const hour = 3_600_000;
const minute = 60_000;
const logs = async ({ id }: Run) =>
  (
    await bed.sql<{ message: string }>(
      `select data->>'message' as message from run_event where run_id = $1 and kind = 'logged'`,
      [id],
    )
  ).map(({ message }) => message);

describe('a schedule', () => {
  it('starts a run at its date, once, however many look, and names the next', async () => {
    const { nextRunAt } = await set({});
    await startDue(bed.core);
    expect(await runs()).toEqual([]);
    await Promise.all(Array.from({ length: 8 }, () => startDue(bed.core, later(nextRunAt!, 1_000))));
    expect(await runs()).toMatchObject([{ trigger: 'SCHEDULED', status: 'RUNNING' }]);
    expect(await read()).toMatchObject({ nextRunAt: later(nextRunAt!, hour), queued: false });
    await end();
    await Promise.all(Array.from({ length: 8 }, () => startDue(bed.core, later(nextRunAt!, 2_000))));
    expect(await runs()).toHaveLength(1);
  });

  it('leaves a date out while a run is live, and says so in its log', async () => {
    const { nextRunAt } = await set({});
    const live = await startRun(bed.core, scope, { pipeline: 'tidy', trigger: 'MANUAL' });
    await startDue(bed.core, later(nextRunAt!, 1_000));
    expect(await logs(live)).toEqual([expect.stringContaining(nextRunAt!.toISOString())]);
    await end();
    await startDue(bed.core, later(nextRunAt!, 2_000));
    expect(await runs()).toHaveLength(1);
    expect((await read()).nextRunAt).toEqual(later(nextRunAt!, hour));
  });

  it('leaves a date out when somebody was quicker between the date and the start', async () => {
    const { id } = await set({});
    await bed.sql('update pipeline_configuration set queued = true where id = $1', [id]);
    await startRun(bed.core, scope, { pipeline: 'tidy', trigger: 'MANUAL' });
    await startDue(bed.core);
    expect(await read()).toMatchObject({ queued: false });
  });

  it('with QUEUE starts one when the live run has ended, whatever number of dates has come', async () => {
    const { nextRunAt } = await set({ overlap: 'QUEUE' });
    await startRun(bed.core, scope, { pipeline: 'tidy', trigger: 'MANUAL' });
    for (const hours of [0, 1, 2]) await startDue(bed.core, later(nextRunAt!, hours * hour + 1_000));
    expect(await runs()).toHaveLength(1);
    expect(await read()).toMatchObject({ queued: true, nextRunAt: later(nextRunAt!, 3 * hour) });
    await end();
    await Promise.all(Array.from({ length: 5 }, () => startDue(bed.core)));
    expect(await runs()).toMatchObject([{ trigger: 'MANUAL' }, { trigger: 'SCHEDULED' }]);
    await end();
    await startDue(bed.core);
    expect(await runs()).toHaveLength(2);
  });

  it('with CANCEL_OLD cancels the live run first', async () => {
    const { nextRunAt } = await set({ overlap: 'CANCEL_OLD' });
    const old = await startRun(bed.core, scope, { pipeline: 'tidy', trigger: 'MANUAL' });
    await startDue(bed.core, later(nextRunAt!, 1_000));
    expect(await runs()).toMatchObject([{ status: 'CANCELLING', childrenPolicy: 'CANCEL' }]);
    expect(await logs(old)).toEqual([expect.stringContaining('schedule')]);
    await startDue(bed.core);
    await end();
    await startDue(bed.core);
    expect(await runs()).toMatchObject([{ status: 'CANCELLED' }, { status: 'RUNNING', trigger: 'SCHEDULED' }]);
    expect(await logs(old)).toHaveLength(1);
  });

  it.each([
    [false, 4 * minute, 1],
    [false, 6 * minute, 0],
    [false, 5 * hour, 0],
    [true, 5 * hour, 1],
  ])('with catch-up %s starts what is %i ms late, %i times', async (catchUp, lateMs, times) => {
    const { nextRunAt } = await set({ catchUp });
    const now = later(nextRunAt!, lateMs);
    await startDue(bed.core, now);
    await end();
    await startDue(bed.core, now);
    expect(await runs()).toHaveLength(times);
    expect((await read()).nextRunAt).toEqual(later(nextRunAt!, Math.ceil(lateMs / hour + 1e-9) * hour));
  });

  it('makes a start that is owed after all, when the worker that took the date died', async () => {
    const { id } = await set({});
    await bed.sql('update pipeline_configuration set queued = true where id = $1', [id]);
    await Promise.all([startDue(bed.core), startDue(bed.core), startDue(bed.core)]);
    expect(await runs()).toHaveLength(1);
    await end();
    // As a worker that read the row before, and comes after that run has ended.
    const late = startRun(bed.core, scope, { pipeline: 'tidy', trigger: 'SCHEDULED' });
    await expect(late).rejects.toMatchObject({ code: 'STARTED_ALREADY' });
    expect(await runs()).toHaveLength(1);
  });

  it('that is refused is a run that FAILED, and is tried at the next date', async () => {
    const poor = await bed.createAccount(0);
    const [project] = await bed.sql<{ id: string }>('select id from project where account_id = $1', [poor.uuid]);
    scope = { accountId: poor.uuid, projectId: project!.id };
    const task = { prompt: '{{word.text}}', maxTokens: 50 };
    await createPipeline(bed.core, poor.uuid, {
      name: 'dear',
      title: 'Dear',
      stages: [{ key: 'a', title: 'a', kind: 'TASKS', input: 'word', output: 'poem', taskType: 'generate_text', task }],
    });
    const { nextRunAt } = await set({}, 'dear');
    await bed.sql(`update price set credits_per_unit = 1 where task_type = 'generate_text'`);
    await addItems(bed.core, scope, 'word', ['a', 'b']);
    const warn = vi.spyOn(bed.core.log, 'warn');
    await startDue(bed.core, later(nextRunAt!, 1_000));
    expect(warn).toHaveBeenCalledWith(expect.objectContaining({ code: 'INSUFFICIENT_CREDITS' }), expect.any(String));
    warn.mockRestore();
    expect(await runs()).toMatchObject([
      {
        status: 'FAILED',
        reason: 'INSUFFICIENT_CREDITS',
        holdId: null,
        error: { message: expect.stringContaining('could not be started') },
      },
    ]);
    expect(await read()).toMatchObject({ queued: false, nextRunAt: later(nextRunAt!, hour) });
  });

  it('that is switched off starts nothing, nor what it owes', async () => {
    const { id, nextRunAt } = await set({ overlap: 'QUEUE' });
    await bed.sql('update pipeline_configuration set queued = true where id = $1', [id]);
    expect(await set({ enabled: false })).toMatchObject({ nextRunAt: null, queued: false });
    await startDue(bed.core, later(nextRunAt!, 1_000));
    expect(await runs()).toEqual([]);
  });

  it('keeps a date that is due when something else is changed', async () => {
    const { id } = await set({});
    const due = new Date('2026-01-01T00:00:00Z');
    await bed.sql('update pipeline_configuration set next_run_at = $2 where id = $1', [id, due]);
    expect((await set({ maxFailures: 3 })).nextRunAt).toEqual(due);
    expect((await set({ cron: '5 * * * *' })).nextRunAt).not.toEqual(due);
  });
});

describe('when clocks change in Europe/Berlin, 02:30 every day', () => {
  it.each([
    ['forward', ['2027-03-27T01:30:00Z', '2027-03-28T01:00:00Z', '2027-03-29T00:30:00Z']],
    ['back', ['2027-10-30T00:30:00Z', '2027-10-31T00:30:00Z', '2027-11-01T01:30:00Z']],
  ])('%s, comes once a day', async (_, dates) => {
    const { id } = await set({ cron: '30 2 * * *', timeZone: 'Europe/Berlin' });
    const [first] = dates;
    await bed.sql('update pipeline_configuration set next_run_at = $2 where id = $1', [id, first]);
    const started: Date[] = [];
    // Looked at every quarter of an hour over the three days.
    const last = new Date(dates.at(-1)!).getTime();
    for (let now = new Date(first!).getTime(); now <= last; now += 15 * minute) {
      const before = (await runs()).length;
      await startDue(bed.core, new Date(now));
      if ((await runs()).length > before) started.push(new Date(now));
      await end();
    }
    expect(started).toEqual(dates.map((date) => new Date(date)));
  });
});
