import { describe, expect, it, vi } from 'vitest';
import type { Run } from '../src/db.ts';
import { createTask } from '../src/lifecycle/create.ts';
import { openRuns } from '../src/pipelines/advance.ts';
import { readBatches } from '../src/pipelines/batch.ts';
import { cancelRun, resumeRun } from '../src/pipelines/command.ts';
import { givenBack } from '../src/pipelines/outcome.ts';
import { eventually } from './kit.ts';
import { pipelineKit, text, transform, words } from './pipeline-kit.ts';
import { settleRuns } from './settle-runs.ts';

const kit = pipelineKit();
const { open, define, add, start, read, reaches, ended, items, tasks, stagesOf } = kit;

const odd = { ATELIER_PLUGINS: './test/fixtures/acme-odd.mjs' };

describe('a batch', () => {
  /** A run whose first batch is taken, by a worker that then was gone. */
  async function taken(): Promise<{ run: Run; batch: string }> {
    await open(false);
    await define([text('poems', 'word', 'poem')]);
    await add(words(1));
    const { id } = await start();
    const [run] = await kit.bed.sql<Run>('select * from run_claim(60000, 1)');
    await kit.bed.sql(`select run_turn($1, $2, '{"stage": {"key": "poems", "status": "RUNNING"}}')`, [id, run!.fence]);
    const [row] = await kit.bed.sql<{ batch: string }>(`select run_take($1, $2, 'poems', 1, 1) as batch`, [
      id,
      run!.fence,
    ]);
    return { run: run!, batch: row!.batch };
  }
  const makeTask = ({ holdId }: Run, batch: string) =>
    createTask(kit.bed.core, kit.scope, {
      type: 'generate_text',
      input: { prompt: 'x', maxTokens: 10 },
      projectId: kit.scope.projectId,
      holdId: holdId!,
      idempotencyKey: `batch:${batch}`,
      sent: { batch },
    });
  const leave = () => kit.bed.sql('update run set lease_until = null, due_at = now()');

  it('has its task from the moment that it exists: who cancels then cancels it, and nothing is bought twice', async () => {
    const { run, batch } = await taken();
    const { task } = await makeTask(run, batch);
    expect(await readBatches(kit.bed.core, [batch])).toMatchObject([{ state: 'RUNNING', taskId: task.id }]);
    await leave();
    await cancelRun(kit.bed.core, run, 'CANCEL');
    await settleRuns(kit.bed.core);
    expect(await read(run)).toMatchObject({ status: 'CANCELLED' });
    expect(await kit.bed.sql('select status from task')).toEqual([{ status: 'CANCELLED' }]);
  });

  it('that was given up gets no task any more, whoever still tries', async () => {
    const { run, batch } = await taken();
    await leave();
    const [given] = await readBatches(kit.bed.core, [batch]);
    await kit.bed.sql('select run_settle(id, fence, $1) from run_claim(60000, 1)', [
      JSON.stringify([givenBack(given!)]),
    ]);
    await expect(makeTask(run, batch)).rejects.toMatchObject({ code: 'AT410' });
    expect(await kit.bed.sql('select id from task')).toEqual([]);
    expect(await kit.bed.sql('select remaining = 2 as whole from hold')).toEqual([{ whole: true }]);
  });
});

describe('a turn', () => {
  async function takeTurn(): Promise<void> {
    const runs = openRuns(kit.bed.core, 1, () => {});
    await runs.take();
    await runs.settled();
  }

  it('that takes long holds nobody else up', async () => {
    let release = () => {};
    Object.assign(globalThis, { acmeSlow: new Promise<void>((resolve) => (release = resolve)) });
    await open(1, odd);
    await define([transform('acme_slow', 'stone', 'sand')], 'slow');
    await add(['a'], 'stone');
    const slow = await start({ pipeline: 'slow' });
    await eventually(async () => (await kit.bed.sql('select from batch')).length === 1);
    await define([text('poems', 'word', 'poem'), text('titles', 'poem', 'title')]);
    await add(words(3));
    expect(await ended(await start())).toMatchObject({ status: 'COMPLETED' });
    expect(await read(slow)).toMatchObject({ status: 'RUNNING' });
    release();
    expect(await ended(slow)).toMatchObject({ status: 'COMPLETED' });
  });

  it.each([
    ['nul', [{ text: 'ab\ufffd' }]],
    ['bigint', null],
    ['list', null],
    ['nothing', null],
  ])('with a function that gives %s keeps what can be kept, or the item fails', async (gives, kept) => {
    await open(1, odd);
    await define([transform('acme_odd', 'word', 'poem', { gives })]);
    await add(words(1));
    const run = await ended(await start());
    expect(run).toMatchObject({ status: 'COMPLETED', failures: kept ? 0 : 1 });
    expect((await items('poem')).map(({ data }) => data)).toEqual(kept ?? []);
    if (!kept)
      expect(await kit.bed.sql(`select error->>'code' as code from batch`)).toEqual([{ code: 'TRANSFORM_FAILED' }]);
  });

  it('that goes wrong is taken again after a rest; after ten the run is paused, and resumed it goes on', async () => {
    await open(false);
    await define([transform('unique_texts', 'word', 'word')]);
    await add(words(2));
    const run = await start();
    await kit.bed.sql(
      `create function broken() returns trigger language plpgsql as $$ begin raise exception 'broken'; end $$`,
    );
    await kit.bed.sql('create trigger broken before update of state on batch for each row execute function broken()');
    const warn = vi.spyOn(kit.bed.core.log, 'warn').mockImplementation(() => {});
    await takeTurn();
    expect(await read(run)).toMatchObject({ status: 'RUNNING', wrongTurns: 1, restsUntil: expect.any(Date) });
    for (let turn = 2; turn <= 10; turn++) {
      await kit.bed.sql('update run set rests_until = null');
      await takeTurn();
    }
    expect(await read(run)).toMatchObject({ status: 'PAUSED', reason: 'WENT_WRONG' });
    expect(warn).toHaveBeenCalledTimes(10);
    await takeTurn();
    expect(warn).toHaveBeenCalledTimes(10);
    warn.mockRestore();
    expect(await kit.bed.sql(`select data->>'level' as level from run_event where kind = 'logged'`)).toEqual([
      { level: 'ERROR' },
    ]);
    await kit.bed.sql('drop trigger broken on batch');
    await resumeRun(kit.bed.core, run);
    await settleRuns(kit.bed.core);
    expect(await read(run)).toMatchObject({ status: 'COMPLETED', wrongTurns: 0 });
  });
});

describe('a run', () => {
  it('whose tasks cost more than the estimate is topped up by what they take', async () => {
    await open();
    const task = { prompt: '{{word.text}}', maxTokens: '{{word.tokens}}' };
    await define([text('poems', 'word', 'poem', { task })]);
    await kit.bed.sql('update stage set max_parallel = 1');
    await kit.bed.sql(`update price set credits_per_unit = 1 where task_type = 'generate_text'`);
    // An estimate goes by the newest.
    await add([...['a', 'b', 'c'].map((text) => ({ text, tokens: 5_000 })), { text: 'd', tokens: 10 }]);
    const paused = await reaches(await start(), 'PAUSED');
    expect(paused).toMatchObject({ reason: 'LOW_CREDITS', refused: expect.any(BigInt) });
    let resumed = 0;
    for (let now = paused; now.status === 'PAUSED'; now = await reaches(paused, 'PAUSED', 'COMPLETED')) {
      await resumeRun(kit.bed.core, now);
      resumed++;
    }
    expect(resumed).toBe(1);
    expect(await ended(paused)).toMatchObject({ status: 'COMPLETED', failures: 0 });
    expect(await tasks()).toBe(4);
  });

  it('takes on what is added while it waits for a review', async () => {
    await open();
    await define([text('poems', 'word', 'poem'), { key: 'gate', title: 'Gate', kind: 'REVIEW', input: 'poem' }]);
    await add(words(1));
    const run = await reaches(await start(), 'WAITING_FOR_REVIEW');
    await add(words(2));
    await eventually(async () => (await kit.bed.sql('select from review')).length === 2);
    expect(await reaches(run, 'WAITING_FOR_REVIEW')).toMatchObject({ failures: 0 });
    await cancelRun(kit.bed.core, run, 'CANCEL');
    await ended(run);
    expect(await stagesOf(run)).toMatchObject([{ status: 'COMPLETED' }, { status: 'COMPLETED', done: 0, failed: 0 }]);
  });

  it('is cancelled with any number of reviews that wait', async () => {
    await open(false);
    await define([{ key: 'gate', title: 'Gate', kind: 'REVIEW', input: 'word', timeoutSeconds: 3_600 }]);
    await add(words(1_000));
    await add(words(700, { more: 1 }));
    const run = await start();
    await settleRuns(kit.bed.core);
    expect(await read(run)).toMatchObject({ status: 'WAITING_FOR_REVIEW' });
    await cancelRun(kit.bed.core, run, 'CANCEL');
    await settleRuns(kit.bed.core);
    expect(await read(run)).toMatchObject({ status: 'CANCELLED' });
    expect(await kit.bed.sql('select waiting, running from stage')).toEqual([{ waiting: 1_700, running: 0 }]);
    expect(await kit.bed.sql('select distinct outcome from review')).toEqual([{ outcome: 'ABANDONED' }]);
  });

  it('shows an item by all that it waits for, in each of its pipelines', async () => {
    await open();
    await define([text('poems', 'word', 'poem')]);
    await define([text('songs', 'word', 'song')], 'songs');
    await add(words(1));
    await ended(await start());
    expect(await items('word')).toMatchObject([{ state: 'WAITING' }]);
    await ended(await start({ pipeline: 'songs' }));
    expect(await items('word')).toMatchObject([{ state: 'DONE' }]);
  });
});
