import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import type { Bus } from '../src/bus.ts';
import type { Run, RunEvent } from '../src/db.ts';
import { toId } from '../src/id.ts';
import { createPipeline } from '../src/pipelines/catalog.ts';
import { cancelRun, pauseRun, resumeRun } from '../src/pipelines/command.ts';
import { openRunEvents, type RunEvents } from '../src/pipelines/events.ts';
import { addItems } from '../src/pipelines/items.ts';
import { startRun } from '../src/pipelines/start.ts';
import { createTestBed, type TestBed } from './kit.ts';
import { settleRuns } from './settle-runs.ts';

const batches = 3;
const batchSize = 100;

let bed: TestBed;
let scope: { accountId: string; projectId: string };
let events: RunEvents;
beforeAll(async () => {
  bed = await createTestBed({ worker: false });
  await createPipeline(bed.core, bed.account.uuid, {
    name: 'tidy',
    title: 'Tidy',
    stages: [
      {
        key: 'tidy',
        title: 'x',
        kind: 'TRANSFORM',
        input: 'word',
        output: 'word',
        transform: 'unique_texts',
        batchSize,
      },
    ],
  });
  events = await openRunEvents(bed.core);
});
afterAll(async () => {
  await events.close();
  await bed.close();
});

/** A run that has begun nothing: nobody but `advance` takes it on. */
async function start(): Promise<Run> {
  const project = await bed.core.db.prisma.project.create({ data: { accountId: bed.account.uuid, name: 'test' } });
  scope = { accountId: bed.account.uuid, projectId: project.id };
  const run = await startRun(bed.core, scope, { pipeline: 'tidy', trigger: 'MANUAL' });
  const words = Array.from({ length: batches * batchSize }, (_, index) => `word ${index}`);
  await addItems(bed.core, scope, 'word', words);
  return run;
}
const advance = () => settleRuns(bed.core);
async function all(events: AsyncIterable<RunEvent>): Promise<number[]> {
  const seen: number[] = [];
  for await (const event of events) seen.push(event.seq);
  return seen;
}
const upTo = (last: number, first = 1) => Array.from({ length: last - first + 1 }, (_, index) => first + index);
const lastSeq = async ({ id }: Run) =>
  (await bed.sql<{ lastSeq: number }>('select last_seq from run where id = $1', [id]))[0]!.lastSeq;

describe('following a run', () => {
  it('replays, follows, and ends after the terminal event, whoever comes when', async () => {
    const run = await start();
    const followers = Array.from({ length: 10 }, () => all(events.follow(run.id, 0)));
    const slow = events.follow(run.id, 0);
    expect((await slow.next()).value.seq).toBe(1);
    await advance();
    const last = await lastSeq(run);
    expect(last).toBeGreaterThan(batches * batchSize);
    for (const seen of await Promise.all(followers)) expect(seen).toEqual(upTo(last));
    expect(await all(slow)).toEqual(upTo(last, 2));
    expect(await all(events.follow(run.id, 0))).toEqual(upTo(last));
    expect(await all(events.follow(run.id, last - 3))).toEqual(upTo(last, last - 2));
    expect(await all(events.follow(run.id, last))).toEqual([]);
  });

  it('tells of a pause and goes on after it; a cancellation ends it', async () => {
    const run = await start();
    const kinds: string[] = [];
    const told = (async () => {
      for await (const { kind, data } of events.follow(run.id, 0))
        if (kind === 'status_changed') kinds.push((data as any).status);
    })();
    await pauseRun(bed.core, run);
    await advance();
    await resumeRun(bed.core, run);
    await cancelRun(bed.core, run, 'CANCEL');
    await advance();
    await told;
    expect(kinds).toEqual(['RUNNING', 'PAUSING', 'PAUSED', 'RUNNING', 'CANCELLING', 'CANCELLED']);
  });

  it('reads no more at once than a page, however far behind somebody begins', async () => {
    const run = await start();
    await bed.sql(
      `select run_events_add($1, jsonb_agg(jsonb_build_object('kind', 'logged', 'data', '{}'::jsonb))) from generate_series(1, 3000)`,
      [run.id],
    );
    const sql = vi.spyOn(bed.core.db, 'sql');
    const newest = events.follow(run.id, await lastSeq(run));
    const waiting = newest.next();
    const oldest = all(events.follow(run.id, 0));
    await pauseRun(bed.core, run);
    expect((await waiting).value.seq).toBe(3_002);
    await cancelRun(bed.core, run, 'CANCEL');
    await advance();
    expect(await oldest).toEqual(upTo(await lastSeq(run)));
    expect(await all(newest)).toEqual(upTo(await lastSeq(run), 3_003));
    const pages = await Promise.all(
      sql.mock.calls.flatMap(([, , name], call) =>
        name === 'run_events_new' || name === 'run_events_own' ? (sql.mock.results[call]!.value as Promise<[]>) : [],
      ),
    );
    sql.mockRestore();
    expect(Math.max(...pages.map((page) => page.length))).toBeLessThanOrEqual(200);
    // Each event once for whom it is behind, and not again for who is not.
    expect(pages.reduce((sum, page) => sum + page.length, 0)).toBeLessThan(4_500);
  });

  it('costs seconds, and no event, when no wake-up ever comes', async () => {
    const deaf: Bus = { ...bed.core.bus, up: false, listen: async () => () => {}, onReturn: () => () => {} };
    const alone = await openRunEvents({ ...bed.core, bus: deaf });
    const run = await start();
    const seen = all(alone.follow(run.id, 0));
    await advance();
    expect(await seen).toEqual(upTo(await lastSeq(run)));
    await alone.close();
  });

  it('ends when the reader leaves, and when the process goes', async () => {
    const run = await start();
    const left = events.follow(run.id, 0);
    await left.next();
    const waiting = left.next();
    await left.return!();
    expect((await waiting).done).toBe(true);
    const going = await openRunEvents(bed.core);
    const seen = all(going.follow(run.id, 0));
    await going.close();
    expect((await seen).length).toBeLessThanOrEqual(1);
  });
});

describe('runEvents', () => {
  const watch = `subscription ($id: ID!, $after: Int) { runEvents(id: $id, after: $after) { __typename seq at runId run { status }
    ... on RunStatusChanged { status reason } ... on StageProgressed { stage { key status waiting running done failed partial creditsUsed startedAt completedAt } }
    ... on ItemFinished { stageKey item { kind state } } ... on RunLogged { level message } } }`;

  it('is resumed after a cut without loss, and completes with the end of the run', async () => {
    const run = await start();
    const id = toId('Run', run.id);
    const seen: any[] = [];
    const told = (async () => {
      // Cut after every 90 events, and taken up again from the last that came.
      for (let ended = false; !ended; ) {
        let count = 0;
        ended = true;
        for await (const { data, errors } of bed.subscribe(watch, { id, after: seen.at(-1)?.seq ?? 0 })) {
          expect(errors).toBeUndefined();
          seen.push(data.runEvents);
          if (++count < 90) continue;
          ended = false;
          break;
        }
      }
    })();
    await advance();
    await told;
    expect(seen.map(({ seq }) => seq)).toEqual(upTo(await lastSeq(run)));
    expect(seen[0]).toMatchObject({ __typename: 'RunStatusChanged', runId: id, status: 'RUNNING', reason: null });
    expect(seen.at(-1)).toMatchObject({
      __typename: 'RunStatusChanged',
      status: 'COMPLETED',
      run: { status: 'COMPLETED' },
    });
    const items = seen.filter(({ __typename }) => __typename === 'ItemFinished');
    expect(items).toHaveLength(batches * batchSize);
    expect(items[0]).toMatchObject({ stageKey: 'tidy', item: { kind: 'word', state: 'DONE' } });
    const stages = seen.filter(({ __typename }) => __typename === 'StageProgressed').map(({ stage }) => stage);
    expect(stages[0]).toMatchObject({ status: 'RUNNING', waiting: 300, done: 0, completedAt: null, creditsUsed: 0 });
    expect(stages.at(-1)).toMatchObject({ status: 'COMPLETED', waiting: 0, done: 300, partial: false });
    expect(new Date(stages.at(-1).completedAt).getTime()).toBeGreaterThan(0);
  });

  it('refuses an after below 0, and a run that is none', async () => {
    const first = async (variables: object) =>
      (await bed.subscribe(watch, variables).next()).value.errors[0].extensions.code;
    const run = await start();
    expect(await first({ id: toId('Run', run.id), after: -1 })).toBe('BAD_REQUEST');
    expect(await first({ id: 'run_nonsense' })).toBe('NOT_FOUND');
    await cancelRun(bed.core, run, 'CANCEL');
    await advance();
  });
});
