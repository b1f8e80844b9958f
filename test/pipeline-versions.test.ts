import { describe, expect, it } from 'vitest';
import { createPipeline } from '../src/pipelines/catalog.ts';
import { cancelRun, resumeRun } from '../src/pipelines/command.ts';
import { configure } from '../src/pipelines/configuration.ts';
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
