import { describe, expect, it } from 'vitest';
import { toId } from '../src/id.ts';
import { createPipeline } from '../src/pipelines/catalog.ts';
import { cancelRun, resumeRun } from '../src/pipelines/command.ts';
import { configure } from '../src/pipelines/configuration.ts';
import { addItems } from '../src/pipelines/items.ts';
import { updateConfiguration } from '../src/pipelines/update-configuration.ts';
import { eventually } from './kit.ts';
import { pipelineKit, text, words } from './pipeline-kit.ts';

const kit = pipelineKit();
const { open, define, add, start, reaches, ended, items, tasks } = kit;

const tidy = {
  key: 'tidy',
  title: 'Tidy',
  kind: 'TRANSFORM',
  input: 'word',
  output: 'word',
  transform: 'unique_texts',
};
const gate = { key: 'gate', title: 'Gate', kind: 'REVIEW', input: 'poem' };
const waiting = () => kit.bed.sql('select key, waiting from stage where waiting > 0 order by key');

describe('a new version', () => {
  it('that renames the first stage takes what waits, and nothing that is done', async () => {
    await open();
    await define([text('poems', 'word', 'poem')]);
    await add(words(2));
    await ended(await start());
    await add(words(3));
    await define([text('verses', 'word', 'poem')]);
    expect(await waiting()).toEqual([{ key: 'verses', waiting: 1 }]);
    expect(await ended(await start())).toMatchObject({ status: 'COMPLETED' });
    expect(await tasks()).toBe(3);
    expect(await items('poem')).toHaveLength(3);
    expect(await waiting()).toEqual([]);
  });

  it('that puts a stage in front lets what is done alone', async () => {
    await open();
    await define([text('poems', 'word', 'poem')]);
    await add(words(2));
    await ended(await start());
    await define([tidy, text('poems', 'word', 'poem')]);
    await add(words(3));
    expect(await ended(await start())).toMatchObject({ status: 'COMPLETED' });
    expect(await tasks()).toBe(3);
    expect(await kit.bed.sql(`select count(*)::int from work where stage = 'tidy'`)).toEqual([{ count: 1 }]);
  });

  it('without a stage at which items wait sends them on to the next that takes them', async () => {
    await open();
    await define([text('poems', 'word', 'poem'), gate, text('titles', 'poem', 'title')]);
    await add(words(2));
    const run = await reaches(await start(), 'WAITING_FOR_REVIEW');
    await cancelRun(kit.bed.core, run, 'CANCEL');
    await ended(run);
    await define([text('poems', 'word', 'poem'), text('titles', 'poem', 'title')]);
    expect(await waiting()).toEqual([{ key: 'titles', waiting: 2 }]);
    expect(await ended(await start())).toMatchObject({ status: 'COMPLETED' });
    expect(await items('title')).toHaveLength(2);
  });

  it('that comes while a run is live moves nothing until that has ended', async () => {
    await open();
    await define([text('poems', 'word', 'poem'), gate]);
    await kit.bed.sql('update stage set max_parallel = 1');
    await add(words(2));
    const run = await reaches(await start(), 'WAITING_FOR_REVIEW');
    await define([text('verses', 'word', 'poem'), gate]);
    await add(words(3));
    await eventually(async () => (await kit.bed.sql('select from review')).length === 3);
    await kit.bed.sql(`update review set outcome = 'APPROVE', decided_at = now()`);
    await kit.bed.sql('update batch set due_at = now() where task_id is null');
    expect(await ended(run)).toMatchObject({ status: 'COMPLETED' });
    expect(await tasks()).toBe(3);
    expect(await ended(await start())).toMatchObject({ status: 'COMPLETED' });
    expect(await tasks()).toBe(3);
  });
});

describe('what waits at stages that are gone', () => {
  /** A poem that waits at two stages. */
  async function waitAtTwo(): Promise<void> {
    await open();
    const slow = { from: 'poems', task: { prompt: 'x', maxTokens: 50, options: { durationMs: 60_000 } } };
    await define([
      text('poems', 'word', 'poem'),
      text('left', 'poem', 'left_song', slow),
      text('right', 'poem', 'right_song', { from: 'poems' }),
    ]);
    await add(words(1));
    const run = await start();
    await eventually(
      async () => (await kit.bed.sql(`select from work where stage = 'left' and state = 'RUNNING'`)).length === 1,
    );
    await cancelRun(kit.bed.core, run, 'CANCEL');
    await ended(run);
  }

  it('at two of them waits at the next once', async () => {
    await waitAtTwo();
    await define([text('poems', 'word', 'poem'), text('titles', 'poem', 'title')]);
    expect(await waiting()).toEqual([{ key: 'titles', waiting: 1 }]);
    expect(await ended(await start())).toMatchObject({ status: 'COMPLETED' });
    expect(await items('title')).toHaveLength(1);
  });

  it('is found by a later version that takes it', async () => {
    await waitAtTwo();
    await define([text('poems', 'word', 'poem')]);
    await define([text('poems', 'word', 'poem'), text('titles', 'poem', 'title')]);
    expect(await ended(await start())).toMatchObject({ status: 'COMPLETED' });
    expect(await items('title')).toHaveLength(1);
  });
});

describe('at the same time', () => {
  const deadlocks = async () =>
    (
      await kit.bed.sql<{ deadlocks: number }>(
        'select deadlocks::int from pg_stat_database where datname = current_database()',
      )
    )[0]!.deadlocks;

  it('items are added, stages change and a run goes on, and none waits for the other for ever', async () => {
    await open(1);
    const poems = [text('poems', 'word', 'poem'), text('titles', 'poem', 'title')];
    await define(poems);
    await define([tidy, text('songs', 'word', 'song')], 'songs');
    await add(words(20));
    const runs = [await start(), await start({ pipeline: 'songs' })];
    let isOver = false;
    const again = async (work: (time: number) => Promise<unknown>) => {
      for (let time = 0; !isOver; time++) await work(time);
    };
    const others = [
      again((time) =>
        add(
          Array.from({ length: 50 }, (_, each) => ({ text: `${time} ${each}`, options: { durationMs: 1 } })),
          'memo',
        ),
      ),
      again((time) =>
        define(
          time % 2
            ? [text('memos', 'memo', 'text')]
            : [{ ...tidy, input: 'memo', output: 'memo' }, text('memos', 'memo', 'text')],
          'memos',
        ),
      ),
      again((time) =>
        updateConfiguration(kit.bed.core, kit.scope, 'poems', {
          stages: ['titles', 'poems'].map((key) => ({ key, maxParallel: 3 + (time % 5) })),
        }),
      ),
    ];
    for (const run of runs) expect(await ended(run)).toMatchObject({ status: 'COMPLETED' });
    isOver = true;
    await Promise.all(others);
    expect(await deadlocks()).toBe(0);
  });

  it('settings change while a run is live, on a server of another collation', async () => {
    await open(2);
    await kit.bed.sql('alter table stage alter column key type text collate "en-x-icu"');
    await define([text('a_b', 'word', 'poem'), text('a1', 'poem', 'title')]);
    await add(words(30));
    const run = await start();
    let isOver = false;
    const change = async () => {
      for (let time = 0; !isOver; time++)
        await updateConfiguration(kit.bed.core, kit.scope, 'poems', {
          stages: ['a_b', 'a1'].map((key) => ({ key, maxParallel: 3 + (time % 5) })),
        });
    };
    const others = [change(), change()];
    expect(await ended(run)).toMatchObject({ status: 'COMPLETED' });
    isOver = true;
    await Promise.all(others);
    expect(await deadlocks()).toBe(0);
  });

  it('a key that is used for two pipelines starts one, and is refused for the other', async () => {
    await open(false);
    await define([tidy]);
    await define([tidy], 'songs');
    for (let time = 0; time < 5; time++) {
      const ends = await Promise.allSettled(
        ['poems', 'songs'].map((pipeline) => start({ pipeline, idempotencyKey: `key ${time}` })),
      );
      expect(ends.map(({ status }) => status).sort()).toEqual(['fulfilled', 'rejected']);
      const refused = ends.find(({ status }) => status === 'rejected') as PromiseRejectedResult;
      expect(refused.reason).toMatchObject({ code: 'IDEMPOTENCY_MISMATCH' });
      await kit.bed.sql(`update run set status = 'CANCELLED', completed_at = now()`);
    }
  });
});

describe("a run's input", () => {
  const schema = {
    type: 'object',
    properties: { topic: { type: 'string' }, form: { type: 'string', default: 'ode' } },
    required: ['topic'],
  };
  const own = (more: object = {}) => ({
    name: 'odes',
    title: 'Odes',
    input: { kind: 'wish', schema: { ...schema, ...more } },
    stages: [text('odes', 'wish', 'ode', { data: { text: '{{input.form}} of {{wish.topic}}, {{wish.form}}' } })],
  });
  const setUp = async (definition: object) => {
    await createPipeline(kit.bed.core, kit.scope.accountId, definition);
    await configure(kit.bed.core, kit.scope, 'odes');
  };

  it('has the defaults of its schema, and is made again when it is asked for again', async () => {
    await open();
    await setUp(own());
    for (let time = 0; time < 2; time++)
      expect(await ended(await start({ pipeline: 'odes', input: { topic: 'rain' } }))).toMatchObject({
        status: 'COMPLETED',
        input: { topic: 'rain', form: 'ode' },
        estimated: 1n,
      });
    expect((await items('ode')).map(({ data }) => data)).toEqual(Array(2).fill({ text: 'ode of rain, ode' }));
  });

  it('is what its items must be, too, however they came', async () => {
    await open();
    await setUp(own());
    await addItems(kit.bed.core, kit.scope, 'wish', [{ topic: 'snow' }, { topic: 7 }, 'sun']);
    const run = await ended(await start({ pipeline: 'odes' }));
    expect(run).toMatchObject({ status: 'COMPLETED', failures: 2 });
    expect((await items('ode')).map(({ data }) => data)).toEqual([{ text: ' of snow, ode' }]);
    const lines = await kit.bed.sql<{ message: string }>(
      `select data->>'message' as message from run_event where kind = 'logged'`,
    );
    expect(lines.map(({ message }) => message.replace(/item_\w+/, 'item')).sort()).toEqual([
      'item failed: INVALID_INPUT, topic must be string, by the input of the pipeline.',
      "item failed: INVALID_INPUT, topic must have required property 'topic', by the input of the pipeline.",
    ]);
  });

  it('takes none with it that fits, and is not asked again of what comes back', async () => {
    await open();
    const strict = {
      type: 'object',
      properties: { topic: { type: 'string' }, options: {} },
      required: ['topic'],
      additionalProperties: false,
    };
    const judge = text('judge', 'wish', 'wish', {
      data: undefined,
      sendBack: { to: 'facts', unless: 'json.ok', note: 'json.note', atMost: 1 },
    });
    await setUp({
      ...own(),
      input: { kind: 'wish', schema: strict },
      stages: [
        { key: 'facts', title: 'Facts', kind: 'RETRIEVE', input: 'wish', query: '{{wish.topic}}', batchSize: 10 },
        judge,
      ],
    });
    const options = { json: { ok: false, note: 'no' } };
    await addItems(kit.bed.core, kit.scope, 'wish', [
      { topic: 'snow', options },
      { topic: 7 },
      { topic: 'sun', options },
    ]);
    const run = await ended(await start({ pipeline: 'odes' }));
    expect(run).toMatchObject({ status: 'COMPLETED', failures: 1 });
    expect((await items('wish')).map(({ state }) => state)).toEqual(['DONE', 'FAILED', 'DONE']);
    const bad = (await items('wish'))[1]!;
    const lines = await kit.bed.sql<{ message: string }>(
      `select data->>'message' as message from run_event where kind = 'logged' and data->>'message' like '%failed%'`,
    );
    expect(lines).toEqual([
      { message: `${toId('Item', bad.id)} failed: INVALID_INPUT, topic must be string, by the input of the pipeline.` },
    ]);
  });

  it('with a key that was used gives the first run, whatever is wrong with it by now', async () => {
    await open();
    await setUp(own());
    const request = { pipeline: 'odes', input: { topic: 'rain' }, idempotencyKey: 'once' };
    const run = await ended(await start(request));
    await setUp(own({ required: ['topic', 'metre'] }));
    await expect(start({ ...request, idempotencyKey: 'twice' })).rejects.toMatchObject({ kind: 'ValidationError' });
    expect(await start(request)).toMatchObject({ id: run.id });
    await expect(resumeRun(kit.bed.core, run)).rejects.toMatchObject({ code: 'RUN_STATUS' });
  });
});
