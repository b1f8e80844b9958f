import { describe, expect, it } from 'vitest';
import { createPipeline } from '../src/pipelines/catalog.ts';
import { rerunFrom } from '../src/pipelines/command.ts';
import { eventually } from './kit.ts';
import { pipelineKit, text, transform, words } from './pipeline-kit.ts';

const kit = pipelineKit();
const { open, define, add, start, ended, items } = kit;

describe('what is sent back', () => {
  const verdict = (approved: boolean) => ({ json: { approved, note: 'shorter' } });
  const judge = (kind: string, to: string) =>
    text('judge', kind, kind, {
      data: undefined,
      sendBack: { to, unless: 'json.approved', note: 'json.note', atMost: 1 },
    });

  it('to a stage through which it goes as it is comes through the stages behind once more', async () => {
    await open();
    await define([
      transform('unique_texts', 'word', 'word'),
      { key: 'facts', title: 'Facts', kind: 'RETRIEVE', input: 'word', query: '{{word.text}}' },
      judge('word', 'unique_texts'),
      text('titles', 'word', 'title'),
    ]);
    await add([{ text: 'bad', options: verdict(false) }]);
    expect(await ended(await start())).toMatchObject({ status: 'COMPLETED', failures: 0 });
    expect(await items('title')).toHaveLength(1);
    const rounds = await kit.bed.sql('select stage, round, state from work where round = 2 order by stage');
    expect(rounds).toEqual(['facts', 'judge', 'unique_texts'].map((stage) => ({ stage, round: 2, state: 'DONE' })));
    expect(await kit.bed.sql('select sum(waiting)::int as waiting, sum(running)::int as running from stage')).toEqual([
      { waiting: 0, running: 0 },
    ]);
  });

  it('by a run that begins behind the stage that does it again is done there', async () => {
    await open();
    const data = { text: '{{word.text}}', options: '{{word.verdict}}' };
    await define([text('poems', 'word', 'poem', { data }), judge('poem', 'poems'), text('titles', 'poem', 'title')]);
    await add([{ text: 'a', verdict: { fail: {} } }]);
    const failed = await ended(await start());
    expect(failed).toMatchObject({ failures: 1 });
    await kit.bed.sql(`update item set data = data || $1 where kind = 'word'`, [{ verdict: verdict(false) }]);
    await kit.bed.sql(`update item set data = data || $1 where kind = 'poem'`, [{ options: verdict(false) }]);
    const again = await ended(await rerunFrom(kit.bed.core, failed, { stage: 'judge' }));
    expect(again).toMatchObject({ status: 'COMPLETED', failures: 0, fromStage: 'poems' });
    expect(await items('poem')).toHaveLength(2);
    expect(await items('title')).toHaveLength(1);
    expect(await kit.bed.sql('select sum(waiting)::int as waiting from stage')).toEqual([{ waiting: 0 }]);
  });

  const logged = () =>
    kit.bed.sql<{ message: string }>(`select data->>'message' as message from run_event where kind = 'logged'`);

  it('to a stage that lets items pass, by one behind the stage that made something of them', async () => {
    await open();
    const facts = { key: 'facts', title: 'Facts', kind: 'RETRIEVE', input: 'word', query: '{{word.text}}' };
    const data = { text: 'x', options: '{{word.verdict}}' };
    await define([
      facts,
      text('poems', 'word', 'poem', { data }),
      judge('poem', 'facts'),
      text('titles', 'poem', 'title'),
    ]);
    await add([{ text: 'bad', verdict: verdict(false) }]);
    expect(await ended(await start())).toMatchObject({ status: 'COMPLETED', failures: 0 });
    expect((await items('poem')).map(({ state }) => state)).toEqual(['REJECTED', 'DONE']);
    expect(await items('title')).toHaveLength(1);
  });

  it('is counted by verdicts: what was taken again after a failure was not sent back', async () => {
    await open();
    const fails = { fail: {} };
    const data = { text: 'x', options: '{{word.verdict}}' };
    await define([text('poems', 'word', 'poem', { data }), judge('poem', 'poems')]);
    await add([{ text: 'a', options: fails, verdict: verdict(false) }]);
    const first = await ended(await start());
    const second = await ended(await rerunFrom(kit.bed.core, first, { stage: 'poems' }));
    expect(second).toMatchObject({ failures: 1 });
    await kit.bed.sql(`update item set data = data - 'options' where kind = 'word'`);
    await ended(await rerunFrom(kit.bed.core, second, { stage: 'poems' }));
    expect(await items('poem')).toHaveLength(2);
    expect((await logged()).map(({ message }) => message).filter((line) => /sent back/.test(line))).toEqual([
      expect.stringMatching(/^item_\w+ is sent back to poems: shorter$/),
      expect.stringMatching(/^item_\w+ may not be sent back again \(atMost 1\); it goes on as it is: shorter$/),
    ]);
  });

  it('of several judged together goes back one by one: one that may not any more takes none with it', async () => {
    await open();
    const both = {
      ...judge('poem', 'poems'),
      batchSize: 2,
      task: { prompt: 'x', maxTokens: 50, options: verdict(false) },
    };
    await define([text('poems', 'word', 'poem'), both, text('titles', 'poem', 'title')]);
    // What comes later is not in the hold.
    await kit.bed.sql('update price set credits_per_unit = 0');
    await add([{ text: 'a', options: { durationMs: 1_000 } }]);
    const run = await start();
    await eventually(
      async () => (await kit.bed.sql(`select from work where stage = 'poems' and round = 2`)).length === 1,
    );
    await add([{ text: 'b' }]);
    expect(await ended(run)).toMatchObject({ status: 'COMPLETED', failures: 0 });
    const rounds = await kit.bed.sql(
      `select i.data->>'text' as text, max(w.round) as rounds from work w join item i on i.id = w.item_id where w.stage = 'poems' group by 1 order by 1`,
    );
    expect(rounds).toEqual([
      { text: 'a', rounds: 2 },
      { text: 'b', rounds: 2 },
    ]);
    expect(await items('title')).toHaveLength(2);
  });

  it('and was made by nobody here FAILED, with the reason in the log', async () => {
    await open();
    await define([text('poems', 'word', 'poem'), judge('poem', 'poems')]);
    await add([{ text: 'a', options: verdict(false) }], 'poem');
    expect(await ended(await start())).toMatchObject({ status: 'COMPLETED', failures: 1 });
    expect(await logged()).toEqual([
      { message: expect.stringMatching(/^item_\w+ failed: NOTHING_TO_SEND_BACK, Sent back with "shorter"/) },
    ]);
  });

  it('counts once at each stage that it comes through again', async () => {
    await open();
    const gate = (key: string) => text(key, 'word', 'word', { data: undefined, task: { prompt: 'x', maxTokens: 50 } });
    const judging = { ...judge('word', 'polish'), task: { prompt: 'x', maxTokens: 50, options: verdict(false) } };
    await define([gate('polish'), gate('middle'), judging]);
    await add(words(1));
    await ended(await start());
    expect(await kit.bed.sql('select key, waiting, running, done, failed from stage order by key')).toEqual(
      ['judge', 'middle', 'polish'].map((key) => ({ key, waiting: 0, running: 0, done: 1, failed: 0 })),
    );
  });

  it.each([
    [
      'of several that were made of one',
      [text('poems', 'word', 'poem', { each: 'json.list' })],
      'poems',
      /several of one/,
    ],
    [
      'behind a function that may make several',
      [transform('unique_texts', 'word', 'poem')],
      'unique_texts',
      /TRANSFORM/,
    ],
    [
      'that goes elsewhere too',
      [text('poems', 'word', 'poem'), text('songs', 'poem', 'song', { from: 'poems' })],
      'poems',
      /also goes to "songs"/,
    ],
    ['to a stage that made nothing of it', [text('poems', 'word', 'poem')], 'poems', /does not take/, 'verse'],
  ])('is refused by the definition %s', async (_, stages, to, message, kind = 'poem') => {
    await open(false);
    const definition = { name: 'poems', title: 'x', stages: [...stages, judge(kind, to)] };
    await expect(createPipeline(kit.bed.core, kit.scope.accountId, definition)).rejects.toMatchObject({
      facts: {
        issues: [
          { path: ['definition', 'stages', expect.any(String), 'sendBack'], message: expect.stringMatching(message) },
        ],
      },
    });
  });
});
