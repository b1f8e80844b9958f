import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Bus } from '../src/bus.ts';
import type { Core } from '../src/core.ts';
import type { TaskEvent } from '../src/db.ts';
import { createTask } from '../src/lifecycle/create.ts';
import { type Events, openEvents } from '../src/lifecycle/events.ts';
import { finish } from '../src/lifecycle/status.ts';
import { createTestBed, eventually, type TestBed } from './kit.ts';
import { scriptedAdapter } from './scripted-adapter.ts';

let bed: TestBed;
let caller: { accountId: string; projectId: string };
let events: Events;
beforeAll(async () => {
  bed = await createTestBed({ adapters: [scriptedAdapter().adapter], worker: false });
  const [project] = await bed.sql<{ id: string }>('select id from project where account_id = $1', [bed.account.uuid]);
  caller = { accountId: bed.account.uuid, projectId: project!.id };
  events = await openEvents(bed.core);
});
afterAll(async () => {
  await events.close();
  await bed.close();
});

async function submit(core: Core = bed.core): Promise<string> {
  return (
    await createTask(core, caller, {
      type: 'generate_text',
      provider: 'scripted',
      input: { prompt: 'x' },
      sent: Math.random(),
    })
  ).task.id;
}
async function claim(id: string): Promise<void> {
  await bed.sql('update task set dispatch = 1 where id = $1', [id]);
  await bed.sql('select task_claim($1, 1, uuid_v7(), 60000, $2)', [id, '{}']);
}
const progress = (id: string, fraction: number) =>
  bed.sql('select task_progress($1, 1, $2, $3)', [id, fraction, 'step']);
const end = (id: string, core: Core = bed.core) => finish(core, { id, fence: null }, { status: 'FAILED' });
async function all(events: AsyncIterable<TaskEvent>): Promise<number[]> {
  const seen: number[] = [];
  for await (const event of events) seen.push(event.seq);
  return seen;
}

describe('following a task', () => {
  it('replays, follows, and ends after the terminal event', async () => {
    const id = await submit();
    await claim(id);
    const seen = all(events.follow(id, 0));
    await progress(id, 0.5);
    await end(id);
    expect(await seen).toEqual([1, 2, 3, 4]);
    expect(await all(events.follow(id, 2))).toEqual([3, 4]);
    expect(await all(events.follow(id, 4))).toEqual([]);
    expect(await all(events.follow(id, 1_000))).toEqual([]);
  });

  it('gives every event once and in order to whoever comes, while they are written', async () => {
    const id = await submit();
    await claim(id);
    const followers = Array.from({ length: 20 }, (_, after) => all(events.follow(id, after % 3)));
    for (let n = 1; n <= 300; n++) await progress(id, n / 300);
    followers.push(all(events.follow(id, 0)));
    await end(id);
    for (const [index, seen] of (await Promise.all(followers)).entries()) {
      const first = index === 20 ? 1 : (index % 3) + 1;
      expect(seen).toEqual(Array.from({ length: 304 - first }, (_, offset) => first + offset));
    }
  });

  it('begins with the next event for a reader who asks for more than there is', async () => {
    const id = await submit();
    const early = events.follow(id, 1_000);
    const first = early.next();
    // Only once it has looked is there something to wait for.
    await eventually(async () => (await bed.sql('select from task where id = $1', [id])).length > 0);
    await claim(id);
    await progress(id, 0.5);
    await end(id);
    expect((await first).value?.seq ?? 0).toBeLessThan(5);
    await early.return!();
  });

  it('misses nothing when a slow reader comes back for more', async () => {
    const id = await submit();
    await claim(id);
    const slow = events.follow(id, 0);
    expect((await slow.next()).value.seq).toBe(1);
    for (let n = 1; n <= 500; n++) await progress(id, n / 500);
    await end(id);
    expect(await all(slow)).toEqual(Array.from({ length: 502 }, (_, offset) => offset + 2));
  });

  it('costs seconds, and no event, when no wake-up ever comes', async () => {
    const deaf: Bus = { ...bed.core.bus, up: false, listen: async () => () => {}, onReturn: () => () => {} };
    const alone = await openEvents({ ...bed.core, bus: deaf });
    const id = await submit();
    const seen = all(alone.follow(id, 0));
    await end(id);
    expect(await seen).toEqual([1, 2]);
    await alone.close();
  });

  it('ends at once when the reader leaves, and when the task is deleted', async () => {
    const id = await submit();
    const left = events.follow(id, 0);
    await left.next();
    const waiting = left.next();
    await left.return!();
    expect((await waiting).done).toBe(true);

    const other = await submit();
    const seen = all(events.follow(other, 0));
    await bed.sql('delete from task where id = $1', [other]);
    expect((await seen).length).toBeLessThanOrEqual(1);
  });
});

describe('the feed', () => {
  async function take(feed: AsyncIterator<TaskEvent>, count: number): Promise<string[]> {
    const seen: string[] = [];
    while (seen.length < count) {
      const { value } = await feed.next();
      seen.push(`${value.taskId}:${value.seq}`);
    }
    return seen;
  }

  it('crosses tasks in commit order, resumes from any of its cursors, and skips none that commits late', async () => {
    const start = await events.feedCursor();
    const feed = events.feed({ accountId: caller.accountId }, start);
    // An older transaction that commits after younger ones: its events must not be passed by.
    const slow = await submit();
    await claim(slow);
    const late = await bed.core.db.pool.connect();
    await late.query('begin');
    await late.query('select task_progress($1, 1, 0.5, null)', [slow]);
    const quick = await submit();
    await end(quick);
    const before = await take(feed, 2);
    await late.query('commit');
    late.release();
    expect(before).toEqual([`${slow}:1`, `${slow}:2`]);
    expect(await take(feed, 3)).toEqual([`${slow}:3`, `${quick}:1`, `${quick}:2`]);
    await feed.return!();

    const again = events.feed({ accountId: caller.accountId }, start);
    const rows: TaskEvent[] = [];
    for (let n = 0; n < 5; n++) rows.push((await again.next()).value);
    await again.return!();
    for (const [index, row] of rows.entries()) {
      const rest = events.feed({ accountId: caller.accountId }, events.cursorOf(row));
      expect(await take(rest, 4 - index)).toEqual(rows.slice(index + 1).map((each) => `${each.taskId}:${each.seq}`));
      await rest.return!();
    }
  });

  it('shows the tasks in scope only', async () => {
    const other = await bed.createAccount();
    const start = await events.feedCursor();
    const mine = await submit();
    const tagged = (
      await createTask(bed.core, caller, {
        type: 'generate_text',
        provider: 'scripted',
        input: { prompt: 'x' },
        tags: ['a', 'b'],
        sent: 0,
      })
    ).task.id;
    const one = async (scope: object) => {
      const feed = events.feed({ accountId: caller.accountId, ...scope }, start);
      const { value } = await feed.next();
      await feed.return!();
      return value.taskId;
    };
    expect(await one({})).toBe(mine);
    expect(await one({ tags: ['b'] })).toBe(tagged);
    expect(await one({ taskIds: [tagged] })).toBe(tagged);
    const foreign = events.feed({ accountId: other.uuid }, start);
    const nothing = foreign.next();
    await foreign.return!();
    expect((await nothing).done).toBe(true);
  });

  it('refuses a cursor that is none', () => {
    for (const cursor of ['', 'garbage', Buffer.from('1.2.3').toString('base64url')]) {
      expect(() => events.feed({ accountId: caller.accountId }, cursor)).toThrow('no cursor');
    }
  });
});
