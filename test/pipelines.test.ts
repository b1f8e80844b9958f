import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { describe, expect, it } from 'vitest';
import type { Item, Review } from '../src/db.ts';
import { toId } from '../src/id.ts';
import { changeCredits } from '../src/lifecycle/credits.ts';
import { setPrice } from '../src/lifecycle/prices.ts';
import { listPipelines } from '../src/pipelines/catalog.ts';
import { cancelRun, pauseRun, rerunFrom, resumeRun } from '../src/pipelines/command.ts';
import { configure } from '../src/pipelines/configuration.ts';
import { runsChannel } from '../src/pipelines/wake.ts';
import { eventually } from './kit.ts';
import { pipelineKit, text, words } from './pipeline-kit.ts';

const kit = pipelineKit();
const { open, define, add, start, reaches, ended, items, tasks, stagesOf, configured } = kit;

describe('a run', () => {
  it('takes each item through each stage once, and says where each came from', async () => {
    await open(2);
    await define([text('poems', 'word', 'poem'), text('titles', 'poem', 'title')]);
    expect(await add([...words(30), { text: 'word 1' }])).toEqual({ added: 30, skipped: 1 });
    const run = await ended(await start());
    expect(run).toMatchObject({ status: 'COMPLETED', error: null, failures: 0 });
    for (const kind of ['word', 'poem', 'title']) {
      const all = await items(kind);
      expect(all.map(({ state }) => state)).toEqual(Array(30).fill('DONE'));
    }
    const [title] = await items('title');
    const [poem] = await kit.bed.sql<Item>('select * from item where id = $1', [title!.origin[0]]);
    expect(title!.data).toEqual({ text: `title of ${(poem!.data as any).text}` });
    expect(await tasks()).toBe(60);
    expect(await stagesOf(run)).toEqual(
      ['poems', 'titles'].map((key) => ({ key, status: 'COMPLETED', done: 30, failed: 0, running: 0 })),
    );
    const events = await kit.bed.sql<{ seq: number }>('select seq from run_event where run_id = $1 order by seq', [
      run.id,
    ]);
    expect(events.map(({ seq }) => seq)).toEqual(events.map((_, index) => index + 1));
    expect(events.at(-1)!.seq).toBe(run.lastSeq);
    // Again, there is nothing left to do, and nothing to pay.
    expect(await ended(await start())).toMatchObject({ status: 'COMPLETED', estimated: 0n });
    expect(await tasks()).toBe(60);
  });

  it('takes items together, as many as a batch has', async () => {
    await open();
    const task = { prompt: 'a song of {{items}}', maxTokens: 50 };
    await define([text('songs', 'word', 'song', { batchSize: 4, task, data: { text: '{{items}}' } })]);
    await add(words(10));
    await ended(await start());
    const songs = await items('song');
    // In the order in which their tasks end.
    expect(songs.map(({ origin }) => origin.length).sort()).toEqual([2, 4, 4]);
  });

  it('is the only live one, whoever starts another, and the same for the same key', async () => {
    await open();
    await define([text('poems', 'word', 'poem')]);
    await add(words(2, { options: { durationMs: 500 } }));
    const outcomes = await Promise.allSettled(Array.from({ length: 5 }, () => start()));
    const [made] = outcomes.flatMap((each) => (each.status === 'fulfilled' ? each.value : []));
    const refused = outcomes.flatMap((each) => (each.status === 'rejected' ? each.reason : []));
    expect(refused).toHaveLength(4);
    for (const each of refused)
      expect(each).toMatchObject({ code: 'RUN_ALREADY_ACTIVE', facts: { runId: expect.stringMatching(/^run_/) } });
    await ended(made!);
    const keyed = await Promise.all(Array.from({ length: 3 }, () => start({ idempotencyKey: 'today' })));
    expect(new Set(keyed.map(({ id }) => id)).size).toBe(1);
    await expect(start({ idempotencyKey: 'today', input: { other: 1 } })).rejects.toMatchObject({
      code: 'IDEMPOTENCY_MISMATCH',
    });
    await ended(keyed[0]!);
  });
});

describe('what fails', () => {
  it('is recorded, and the stage goes on; rerunFrom takes it again and pays for nothing else', async () => {
    await open();
    await define([text('poems', 'word', 'poem'), text('titles', 'poem', 'title')]);
    await add([...words(4), { text: 'bad', options: { fail: {} } }]);
    const run = await ended(await start());
    expect(run).toMatchObject({ status: 'COMPLETED', failures: 1 });
    expect(await stagesOf(run)).toMatchObject([{ done: 4, failed: 1 }, { done: 4 }]);
    expect(await kit.bed.sql(`select error->>'code' as code from batch where state = 'FAILED'`)).toEqual([
      { code: 'SCRIPTED' },
    ]);
    await kit.bed.sql(`update item set data = '{"text": "good"}' where state = 'FAILED'`);
    const again = await ended(await rerunFrom(kit.bed.core, run, { stage: 'poems' }));
    expect(again).toMatchObject({ status: 'COMPLETED', fromStage: 'poems', estimated: 2n });
    expect(await tasks()).toBe(5 + 4 + 2);
    expect(await items('title')).toHaveLength(5);
    expect(await kit.bed.sql('select round, state from work where round > 1')).toEqual([{ round: 2, state: 'DONE' }]);
  });

  it('ends the run when it is too much', async () => {
    await open();
    await define([text('poems', 'word', 'poem')]);
    await configured('max_failures = 2');
    await kit.bed.sql(`update stage set max_parallel = 2`);
    await add(words(12, { options: { fail: {} } }));
    const run = await ended(await start());
    expect(run).toMatchObject({ status: 'FAILED', reason: 'TOO_MANY_FAILURES', error: { code: 'TOO_MANY_FAILURES' } });
    expect(await tasks()).toBeLessThan(8);
    expect(await stagesOf(run)).toMatchObject([{ status: 'FAILED' }]);
  });

  it('keeps no run from starting, and says why in its log', async () => {
    await open();
    await define([text('poems', 'word', 'poem', { task: { prompt: '{{word.text}}', maxTokens: '{{word.tokens}}' } })]);
    await add([
      { text: 'good', tokens: 10 },
      { text: 'bad', tokens: 'many' },
    ]);
    const run = await ended(await start());
    expect(run).toMatchObject({ status: 'COMPLETED', failures: 1 });
    expect(Number(run.estimated)).toBeGreaterThan(0);
    const bad = (await items('word')).find(({ state }) => state === 'FAILED')!;
    expect(await kit.bed.sql(`select data->>'message' as message from run_event where kind = 'logged'`)).toEqual([
      { message: expect.stringContaining(`${toId('Item', bad.id)} failed: VALIDATION, `) },
    ]);
    // Nor from being taken up again.
    expect(await ended(await rerunFrom(kit.bed.core, run, { stage: 'poems' }))).toMatchObject({ failures: 1 });
  });

  it('for what the stage itself says keeps the run from starting', async () => {
    await open();
    const task = { prompt: '{{word.text}} {{ and so on', maxTokens: 50, options: { nonsense: 1 } };
    await define([text('poems', 'word', 'poem', { task })]);
    await add(words(1));
    await expect(start()).rejects.toMatchObject({
      kind: 'ValidationError',
      facts: { issues: [{ path: expect.arrayContaining(['stages', 'poems', 'options']) }] },
    });
  });

  it('may be one stage whose result has no list', async () => {
    await open();
    await define([text('poems', 'word', 'poem', { each: 'json.poems' })]);
    await add(words(1));
    expect(await ended(await start())).toMatchObject({ status: 'COMPLETED', failures: 1 });
    expect(await kit.bed.sql(`select error->>'code' as code from batch`)).toEqual([{ code: 'NO_OUTPUT' }]);
  });
});

describe('a run that is told to', () => {
  it('pause ends what is begun and begins nothing more; resumed twice at once it goes on where it was', async () => {
    await open();
    await define([text('poems', 'word', 'poem')]);
    await kit.bed.sql('update stage set max_parallel = 3');
    await add(words(9, { options: { durationMs: 300 } }));
    const run = await start();
    await eventually(async () => (await tasks()) === 3);
    expect(await pauseRun(kit.bed.core, run)).toMatchObject({ status: 'PAUSING' });
    const paused = await reaches(run, 'PAUSED');
    expect(paused.pausedAt).not.toBeNull();
    expect(await tasks()).toBe(3);
    expect(await items('poem')).toHaveLength(3);
    await expect(pauseRun(kit.bed.core, run)).resolves.toMatchObject({ status: 'PAUSED' });
    const both = await Promise.all([resumeRun(kit.bed.core, paused), resumeRun(kit.bed.core, paused)]);
    expect(both).toMatchObject([{ status: 'RUNNING' }, { status: 'RUNNING' }]);
    expect(await ended(run)).toMatchObject({ status: 'COMPLETED', pausedAt: null });
    expect(await tasks()).toBe(9);
    await expect(pauseRun(kit.bed.core, run)).rejects.toMatchObject({ code: 'RUN_STATUS' });
    await expect(resumeRun(kit.bed.core, run)).rejects.toMatchObject({ code: 'RUN_STATUS' });
    await expect(cancelRun(kit.bed.core, run, 'CANCEL')).rejects.toMatchObject({ code: 'RUN_STATUS' });
  });

  it.each([
    ['CANCEL', 'CANCELLED', 0],
    ['FINISH', 'COMPLETED', 3],
  ] as const)('cancel, children %s, keeps what is made and lets the rest wait', async (children, status, made) => {
    await open();
    await define([text('poems', 'word', 'poem')]);
    await kit.bed.sql('update stage set max_parallel = 3');
    await add(words(9, { options: { durationMs: 1_500 } }));
    const run = await start();
    await eventually(async () => (await tasks()) === 3);
    await pauseRun(kit.bed.core, run);
    expect(await cancelRun(kit.bed.core, run, children)).toMatchObject({ status: 'CANCELLING' });
    expect(await ended(run)).toMatchObject({ status: 'CANCELLED', cancelledAt: expect.any(Date) });
    expect(await kit.bed.sql('select distinct status from task')).toEqual([{ status }]);
    expect(await items('poem')).toHaveLength(made);
    expect(await kit.bed.sql('select waiting, running, done from stage')).toEqual([
      { waiting: 9 - made, running: 0, done: made },
    ]);
    await expect(cancelRun(kit.bed.core, run, children)).resolves.toMatchObject({ status: 'CANCELLED' });
  });
});

describe('a plugin', () => {
  it('brings a pipeline and the function of its stage', async () => {
    await open(1, { ATELIER_PLUGINS: './test/fixtures/acme-pipeline.mjs' });
    await configure(kit.bed.core, kit.scope, 'acme_mirror');
    await add(['abc'], 'acme_text');
    expect(await ended(await start({ pipeline: 'acme_mirror' }))).toMatchObject({ status: 'COMPLETED', estimated: 0n });
    expect((await items('acme_mirrored')).map(({ data }) => data)).toEqual([{ text: 'cba' }]);
    const names = await kit.bed.sql('select name, version, account_id from pipeline order by name');
    expect(names).toContainEqual({ name: 'acme_mirror', version: 1, accountId: null });
    // Gone with its plugin, it is nobody's any more.
    kit.bed.core.registry.pipelines.length = 0;
    expect((await listPipelines(kit.bed.core, kit.scope.accountId)).map(({ name }) => name)).not.toContain(
      'acme_mirror',
    );
    await expect(start({ pipeline: 'acme_mirror' })).rejects.toMatchObject({ kind: 'NotFoundError' });
  });
});

describe('who gave a callbackUrl', () => {
  it('hears where the run stands, signed, in order', async () => {
    await open();
    await define([
      text('poems', 'word', 'poem'),
      { key: 'gate', title: 'Gate', kind: 'REVIEW', input: 'poem', timeoutSeconds: 1, onTimeout: 'APPROVE' },
    ]);
    await add(words(1));
    const heard: { type: string; data: any }[] = [];
    const receiver = createServer(async (request, response) => {
      const chunks: Buffer[] = [];
      for await (const chunk of request) chunks.push(chunk);
      heard.push(JSON.parse(Buffer.concat(chunks).toString()));
      response.end();
    }).listen(0, '127.0.0.1');
    await once(receiver, 'listening');
    const { port } = receiver.address() as AddressInfo;
    const run = await ended(await start({ input: { callbackUrl: `http://127.0.0.1:${port}/` } }));
    await eventually(() => heard.length === 2);
    receiver.close();
    expect(heard.map(({ type }) => type)).toEqual(['run.waiting_for_review', 'run.completed']);
    // Of its own moment, and numbered as the event that told of it.
    expect(heard.map(({ data }) => data.status)).toEqual(['WAITING_FOR_REVIEW', 'COMPLETED']);
    const told = await kit.bed.sql<{ seq: number }>(
      `select seq from run_event where kind = 'status_changed' and data->>'status' <> 'RUNNING' order by seq`,
    );
    expect(heard.map(({ data }) => data.sequence)).toEqual(told.map(({ seq }) => seq));
    expect(heard[1]!.data).toMatchObject({
      run_id: toId('Run', run.id),
      pipeline: 'poems',
      status: 'COMPLETED',
      credits_used: 1,
    });
    await expect(start({ input: { callbackUrl: 'http://10.0.0.1/' } })).rejects.toMatchObject({
      kind: 'ValidationError',
    });
  });
});

describe('its credits', () => {
  it('are refused when there are too few, with what it takes', async () => {
    await open();
    await define([text('poems', 'word', 'poem')]);
    await add(words(10));
    await changeCredits(kit.bed.core, {
      accountId: kit.scope.accountId,
      leg: 'ADJUST',
      change: -999_995,
      idempotencyKey: 'x',
      note: 'x',
    });
    await expect(start()).rejects.toMatchObject({
      code: 'INSUFFICIENT_CREDITS',
      facts: { required: 12, available: 5 },
    });
    expect(await kit.bed.sql('select id from run')).toEqual([]);
  });

  it('run out when prices rise; granted more, it is resumed and topped up', async () => {
    await open();
    await define([text('poems', 'word', 'poem')]);
    await kit.bed.sql('update stage set max_parallel = 2');
    await add(words(10, { options: { durationMs: 200 } }));
    await changeCredits(kit.bed.core, {
      accountId: kit.scope.accountId,
      leg: 'ADJUST',
      change: -999_988,
      idempotencyKey: 'x',
      note: 'x',
    });
    const run = await start();
    await setPrice(kit.bed.core, { taskType: 'generate_text', unit: 'token', creditsPerUnit: '0.1' } as never);
    const paused = await reaches(run, 'PAUSED');
    expect(paused).toMatchObject({ reason: 'LOW_CREDITS' });
    // Nothing is at work meanwhile.
    expect(await stagesOf(paused)).toMatchObject([{ running: 0 }]);
    expect(await kit.bed.sql('select waiting > 0 as waiting, running from stage')).toEqual([
      { waiting: true, running: 0 },
    ]);
    await expect(resumeRun(kit.bed.core, paused)).rejects.toMatchObject({ code: 'INSUFFICIENT_CREDITS' });
    await changeCredits(kit.bed.core, {
      accountId: kit.scope.accountId,
      leg: 'GRANT',
      change: 1_000,
      idempotencyKey: 'y',
    });
    expect(await resumeRun(kit.bed.core, paused)).toMatchObject({ status: 'RUNNING', reason: null });
    expect(await ended(run)).toMatchObject({ status: 'COMPLETED', failures: 0 });
    expect(await tasks()).toBe(10);
    const holds = await kit.bed.sql(
      `select number from ledger_entry where run_id = $1 and leg = 'HOLD' order by number`,
      [run.id],
    );
    expect(holds).toEqual([{ number: 1 }, { number: 2 }]);
  });
});

describe('a run whose hold has too little', () => {
  it('is not paused while a later stage has a task that may give some back', async () => {
    await open();
    await define([
      text('poems', 'word', 'poem', { data: { text: 'x', options: '{{word.later}}' } }),
      { key: 'gate', title: 'Gate', kind: 'REVIEW', input: 'poem', timeoutSeconds: 1, onTimeout: 'APPROVE' },
      text('titles', 'poem', 'title'),
    ]);
    await add([{ text: 'a', later: { durationMs: 1_500 } }]);
    const run = await start();
    await eventually(
      async () => (await kit.bed.sql(`select from batch where stage = 'titles' and task_id is not null`)).length === 1,
    );
    await kit.bed.sql('update hold set remaining = 0');
    await add([{ text: 'b' }]);
    await reaches(run, 'PAUSED', 'COMPLETED');
    expect(await kit.bed.sql(`select stage, state from batch where stage = 'titles'`)).toEqual([
      { stage: 'titles', state: 'DONE' },
    ]);
  });
});

describe('a stage that can send back', () => {
  const verdict = (approved: boolean) => ({ json: { approved, note: 'shorter' } });
  const stages = [
    text('write', 'word', 'poem', { data: { text: '{{note}}{{word.text}}', options: '{{word.verdict}}' } }),
    text('judge', 'poem', 'poem', {
      data: undefined,
      sendBack: { to: 'write', unless: 'json.approved', note: 'json.note', atMost: 2 },
    }),
    text('titles', 'poem', 'title'),
  ];

  it('has the item made again, with the note, and lets it pass in the end', async () => {
    await open();
    await define(stages);
    await add([
      { text: 'good', verdict: verdict(true) },
      { text: 'bad', verdict: verdict(false) },
    ]);
    expect(await ended(await start())).toMatchObject({ status: 'COMPLETED', failures: 0 });
    const poems = await items('poem');
    // The first two in the order in which their tasks ended.
    const seen = poems.map(({ data, state }) => [(data as any).text, state]);
    expect([...seen.slice(0, 2).sort(), ...seen.slice(2)]).toEqual([
      ['bad', 'REJECTED'],
      ['good', 'DONE'],
      ['shorterbad', 'REJECTED'],
      ['shorterbad', 'DONE'],
    ]);
    expect(await items('title')).toHaveLength(2);
    expect(await kit.bed.sql(`select data->>'level' as level from run_event where kind = 'logged'`)).toEqual(
      ['INFO', 'INFO', 'WARN'].map((level) => ({ level })),
    );
  });
});

describe('a review', () => {
  const gate = { key: 'gate', title: 'Gate', kind: 'REVIEW', input: 'poem' };
  const waiting = (count: number) =>
    eventually(async () => {
      const reviews = await kit.bed.sql<Review>('select * from review where decided_at is null order by item_id');
      return reviews.length === count ? reviews : null;
    });
  const decide = async (review: Review, outcome: string, edits: unknown = null) => {
    await kit.bed.sql('update review set outcome = $2, edits = $3, decided_at = now() where id = $1', [
      review.id,
      outcome,
      edits,
    ]);
    await kit.bed.sql('update batch set due_at = now() where id = $1', [review.batchId]);
    kit.bed.core.bus.wake(runsChannel, {});
  };

  it('lets what is approved or edited go on, at once, and the rest not', async () => {
    await open();
    await define([text('poems', 'word', 'poem'), gate, text('titles', 'poem', 'title')]);
    await add(words(3));
    const run = await start();
    const reviews = await waiting(3);
    const poems = await items('poem');
    const [first, second, third] = [0, 1, 2].map((place) => {
      const poem = poems.find(({ data }) => (data as any).text === `poem of word ${place}`)!;
      return reviews.find(({ itemId }) => itemId === poem.id);
    });
    await reaches(run, 'WAITING_FOR_REVIEW');
    await decide(first!, 'APPROVE');
    await eventually(async () => (await items('title')).length === 1);
    await reaches(run, 'WAITING_FOR_REVIEW');
    await decide(second!, 'EDIT', { text: 'mine' });
    await decide(third!, 'REJECT');
    expect(await ended(run)).toMatchObject({ status: 'COMPLETED' });
    expect((await items('title')).map(({ data }) => data)).toEqual([
      { text: 'title of poem of word 0' },
      { text: 'title of mine' },
    ]);
    expect(await kit.bed.sql('select state, data from item where id = $1', [third!.itemId])).toMatchObject([
      { state: 'REJECTED' },
    ]);
  });

  it('ends by itself when its time is up', async () => {
    await open();
    await define([
      text('poems', 'word', 'poem'),
      { ...gate, timeoutSeconds: 1, onTimeout: 'APPROVE' },
      text('titles', 'poem', 'title'),
    ]);
    await add(words(2));
    expect(await ended(await start())).toMatchObject({ status: 'COMPLETED' });
    expect(await items('title')).toHaveLength(2);
    expect(await kit.bed.sql('select outcome from review')).toEqual([{ outcome: 'APPROVE' }, { outcome: 'APPROVE' }]);
  });
});
