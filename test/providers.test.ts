import { inspect } from 'node:util';
import { AdapterFailure, NetworkFailure } from 'atelier/adapter';
import { afterEach, describe, expect, it } from 'vitest';
import { fromId, toId } from '../src/id.ts';
import { doorsOf } from '../src/lifecycle/doors.ts';
import { setRoute } from '../src/lifecycle/routes.ts';
import type { Adapter } from '../src/sdk/index.ts';
import { createTask, tasksOf } from './adapters/tasks.ts';
import { eventually, type TestBed } from './kit.ts';
import { receive, type Vendor, vendorAdapter } from './vendor-adapter.ts';
import { attempts, open, read, settled, submit, text } from './vendor-bed.ts';

const routeToBoth = () =>
  setRoute(bed.core, 'generate_text', [
    { provider: 'vendor', model: null },
    { provider: 'other', model: null },
  ]);

let vendor: Vendor;
let bed: TestBed;
afterEach(() => bed.close());

describe('an answer that is lost', () => {
  it('is found at the vendor: one purchase, one attempt', async () => {
    ({ vendor, bed } = await open({
      find: async (key) => (vendor.jobs.some((job) => job.key === key) ? { v: 1, key } : null),
    }));
    vendor.next = ['lost'];
    const id = await submit(bed);
    expect(await settled(bed, id)).toMatchObject({ status: 'COMPLETED', attempt: 1, charged: 1n });
    expect(vendor.starts).toHaveLength(1);
  });

  it('is bought again once the vendor can no longer have it', async () => {
    const asked: number[] = [];
    ({ vendor, bed } = await open({
      find: async (key) => {
        asked.push(Date.now());
        return vendor.jobs.some((job) => job.key === key) ? { v: 1, key } : null;
      },
    }));
    vendor.next = ['never arrived'];
    const id = await submit(bed);
    expect(await settled(bed, id)).toMatchObject({ status: 'COMPLETED', attempt: 2 });
    const [first, second] = await attempts(bed, id);
    expect(first).toMatchObject({ error: { code: 'NOT_TAKEN' } });
    expect(second!.key).not.toBe(first!.key);
    expect(asked.length).toBeGreaterThan(0);
    expect(second!.startedAt.getTime() - first!.startedAt.getTime()).toBeGreaterThanOrEqual(300);
  });

  it('goes to a review when it could not be told until the deadline', async () => {
    ({ vendor, bed } = await open(
      { find: () => Promise.reject(new Error('the vendor is away')) },
      { ATELIER_LONGEST_RUN_SECONDS: 'generate_text=2' },
    ));
    vendor.next = ['lost'];
    const id = await submit(bed);
    expect(await settled(bed, id)).toMatchObject({ status: 'PROCESSING', needsReview: true, held: 11n });
  });

  it('goes to a review at the deadline also while it is being looked for', async () => {
    ({ vendor, bed } = await open(
      { find: () => new Promise(() => {}) },
      { ATELIER_LONGEST_RUN_SECONDS: 'generate_text=2' },
    ));
    vendor.next = ['lost'];
    const task = await settled(bed, await submit(bed));
    expect(task).toMatchObject({ status: 'PROCESSING', needsReview: true, held: 11n });
  });

  it('goes to a review, once, when the credential that it went with is gone', async () => {
    ({ vendor, bed } = await open({ find: async () => null }));
    vendor.next = ['lost'];
    const id = await submit(bed);
    await eventually(async () => (await attempts(bed, id))[0]?.phase === 'seeking');
    await bed.sql(`update task set credential = 'gone' where id = $1`, [id]);
    expect(await settled(bed, id)).toMatchObject({ needsReview: true, leaseUntil: null, nextPollAt: null });
  });

  it('is sent again under the same key, with the same credential, where the vendor honours it', async () => {
    ({ vendor, bed } = await open({ resubmit: 'keyed' }, { VENDOR_KEY_2: 'secret-two' }));
    vendor.next = ['lost'];
    const id = await submit(bed);
    expect(await settled(bed, id)).toMatchObject({ status: 'COMPLETED', attempt: 2 });
    expect(vendor.jobs).toHaveLength(1);
    expect(vendor.starts[0]).toEqual(vendor.starts[1]);
  });

  it.each([
    ['is limited', 'rate_limited'],
    ['fails', 'retryable'],
  ] as const)('stays one purchase when what is sent again %s', async (_, failure) => {
    ({ vendor, bed } = await open({ resubmit: 'keyed' }));
    vendor.next = ['lost', new AdapterFailure({ class: failure, code: 'X', message: 'x' })];
    expect(await settled(bed, await submit(bed))).toMatchObject({ status: 'COMPLETED', attempt: 3 });
    expect(vendor.jobs).toHaveLength(1);
  });

  it('is reviewed when what is sent again is refused: nobody knows of the first one, and no other provider is asked', async () => {
    const other = vendorAdapter({ name: 'other' });
    ({ vendor, bed } = await open({ resubmit: 'keyed' }, {}, [other.adapter]));
    await routeToBoth();
    vendor.next = ['lost', new AdapterFailure({ class: 'permanent', code: 'X', message: 'x' })];
    expect(await settled(bed, await submit(bed))).toMatchObject({ needsReview: true, attempt: 2 });
    expect(other.jobs).toEqual([]);
  });

  it('is looked for when the worker died that waited for it', async () => {
    ({ vendor, bed } = await open({
      find: async (key) => (vendor.jobs.some((job) => job.key === key) ? { v: 1, key } : null),
    }));
    const release = vendor.hold();
    const id = await submit(bed);
    await eventually(() => vendor.starts.length === 1);
    await bed.sql(`update task set fence = fence + 1, lease_until = now() - interval '1 second' where id = $1`, [id]);
    expect(await settled(bed, id)).toMatchObject({ status: 'COMPLETED', attempt: 1 });
    release();
    expect(vendor.starts).toHaveLength(1);
  });
});

describe('several credentials', () => {
  const refuse = () =>
    new AdapterFailure({ class: 'authentication', code: 'BAD_KEY', message: 'the key secret-one is bad' });

  it('stand in for each other, and a job is looked at with the one that started it', async () => {
    ({ vendor, bed } = await open({}, { VENDOR_KEY_2: 'secret-two' }));
    vendor.next = [refuse()];
    const ids = [await submit(bed)];
    expect(await settled(bed, ids[0]!)).toMatchObject({ status: 'COMPLETED', attempt: 2 });
    const [first, second] = await attempts(bed, ids[0]!);
    expect(first!.credential).not.toBe(second!.credential);
    // The refused one rests: the next go to the other one.
    ids.push(await submit(bed), await submit(bed));
    for (const id of ids) await settled(bed, id);
    expect(new Set(vendor.starts.map(({ secret }) => secret)).size).toBe(1);
    const { data } = await bed.graphql('{ providers { name state } }');
    expect(data.providers).toContainEqual({ name: 'vendor', state: 'AVAILABLE' });
  });

  it('that are all refused end the task, never by the fault of the client, and say no secret', async () => {
    ({ vendor, bed } = await open());
    vendor.next = [refuse()];
    const id = await submit(bed);
    const task = await settled(bed, id);
    expect(task).toMatchObject({ status: 'FAILED', charged: 0n, error: { code: 'BAD_KEY', retryable: true } });
    const rows = await bed.sql(
      'select error from attempt union all select to_jsonb(message) from circuit union all select data from task_event',
    );
    expect(inspect([task, rows], { depth: 9 })).not.toContain('secret-one');
    const { data } = await bed.graphql('{ providers { name state } }');
    expect(data.providers).toContainEqual({ name: 'vendor', state: 'COOLING_DOWN' });
  });
});

describe('limits', () => {
  it('hold over all workers, and what waits for a place stays in the queue', async () => {
    ({ vendor, bed } = await open({ limits: { concurrency: 2 } }));
    await bed.addWorker();
    vendor.doneAtPoll = 2;
    const ids = await Promise.all(Array.from({ length: 8 }, () => submit(bed)));
    for (const id of ids) expect(await settled(bed, id)).toMatchObject({ status: 'COMPLETED', attempt: 1 });
    expect(vendor.mostAtOnce()).toBe(2);
    const flips = await bed.sql(
      `select from task_event where kind = 'status_changed' and data->>'status' = 'QUEUED' and data->>'previous' = 'PROCESSING'`,
    );
    expect(flips).toEqual([]);
  });

  it('hold for a model of its own, and for each credential', async () => {
    ({ vendor, bed } = await open(
      { limits: { concurrency: 3 }, models: [{ id: 'one', taskTypes: ['generate_text'], concurrency: 1 }] },
      { VENDOR_KEY_2: 'secret-two' },
    ));
    vendor.doneAtPoll = 2;
    const ids = await Promise.all(Array.from({ length: 6 }, () => submit(bed)));
    for (const id of ids) expect(await settled(bed, id)).toMatchObject({ status: 'COMPLETED' });
    expect(vendor.mostAtOnce()).toBe(2);
    expect(new Set(vendor.starts.map(({ secret }) => secret)).size).toBe(2);
  });
});

describe('those who wait for a place', () => {
  it('wait for the one that comes first, not for the first of their route', async () => {
    const other = vendorAdapter({ name: 'other', limits: { concurrency: 1 } });
    ({ vendor, bed } = await open({}, {}, [other.adapter]));
    await routeToBoth();
    const credential = bed.core.registry.adapter('vendor')!.credentials[0]!.id;
    await bed.sql(
      `insert into circuit (provider, credential, failures, reason, message, open_until) values ('vendor', $1, 1, 'rate_limited', 'x', now() + interval '1 minute')`,
      [credential],
    );
    const ids = await Promise.all(Array.from({ length: 4 }, () => submit(bed)));
    for (const id of ids) expect(await settled(bed, id)).toMatchObject({ status: 'COMPLETED', provider: 'other' });
  });

  it('take turns between accounts', async () => {
    ({ vendor, bed } = await open({ limits: { concurrency: 1 } }));
    const many = await Promise.all(Array.from({ length: 12 }, () => submit(bed)));
    await eventually(async () => (await bed.sql('select from task where waits_for is not null')).length >= 10);
    const { key } = await bed.createAccount();
    const { data } = await bed.graphql(createTask, { input: { task: text } }, { key });
    await settled(bed, fromId('Task', data.createTask.task.id)!);
    const ended = await bed.sql('select from task where id = any($1) and completed_at is not null', [many]);
    expect(ended.length).toBeLessThan(8);
  });
});

describe('a vendor that fails', () => {
  const dead = () => new AdapterFailure({ class: 'retryable', code: 'DOWN', message: 'down' });

  it('rests after five failures, is tried by one task at a time, and is back with the first success', async () => {
    ({ vendor, bed } = await open({}, { ATELIER_MAX_ATTEMPTS: '20' }));
    vendor.next = Array.from({ length: 100 }, dead);
    const ids = await Promise.all(Array.from({ length: 10 }, () => submit(bed)));
    await eventually(async () => (await bed.sql('select from circuit where open_until > now()')).length === 1);
    await eventually(async () => (await bed.sql('select from task where waits_for is not null')).length > 0);
    expect((await bed.graphql('{ providers { name state } }')).data.providers).toContainEqual({
      name: 'vendor',
      state: 'COOLING_DOWN',
    });
    expect(100 - vendor.next.length).toBeLessThanOrEqual(10);
    vendor.next = [];
    await bed.sql(`update circuit set open_until = now() - interval '1 second'`);
    for (const id of ids) expect(await settled(bed, id)).toMatchObject({ status: 'COMPLETED' });
    expect(vendor.starts).toHaveLength(10);
    expect(await bed.sql('select * from circuit')).toEqual([]);
  });

  it('lets one task try after a rest, however many are claimed at once', async () => {
    ({ vendor, bed } = await open());
    await bed.workers[0]!.close();
    const ids = await Promise.all(Array.from({ length: 10 }, () => submit(bed)));
    const credential = bed.core.registry.adapter('vendor')!.credentials[0]!.id;
    await bed.sql(
      `insert into circuit (provider, credential, model, failures, reason, message, open_until) values ('vendor', $1, 'one', 5, 'retryable', 'x', now() - interval '1 second')`,
      [credential],
    );
    const claims = await Promise.all(
      ids.map((id) => bed.sql('select id from task_claim($1, 0, uuid_v7(), 60000, $2)', [id, doorsOf(bed.core)])),
    );
    expect(claims.flat()).toHaveLength(1);
  });

  it('is at work again at once after the time it asked for', async () => {
    ({ vendor, bed } = await open());
    vendor.next = [new AdapterFailure({ class: 'rate_limited', code: 'SLOW', message: 'x', retryAfterMs: 1_000 })];
    const begun = Date.now();
    const ids = await Promise.all(Array.from({ length: 8 }, () => submit(bed)));
    for (const id of ids) expect(await settled(bed, id)).toMatchObject({ status: 'COMPLETED' });
    // One task per 10 s would be a minute and more.
    expect(Date.now() - begun).toBeLessThan(10_000);
  });

  it('is not taken for well since its old jobs are looked at', async () => {
    ({ vendor, bed } = await open({ poll: async () => ({ state: 'running' }) }));
    await submit(bed);
    await eventually(async () => (await bed.sql(`select from attempt where phase = 'parked'`)).length === 1);
    await bed.sql(
      `insert into circuit (provider, credential, model, failures, reason, message, open_until) select 'vendor', credential, '', 1, 'quota', 'x', now() + interval '1 hour' from attempt`,
    );
    await bed.sql('update task set next_poll_at = now()');
    await eventually(async () => (await bed.sql(`select from task where next_poll_at > now()`)).length === 1);
    expect(await bed.sql('select from circuit')).toHaveLength(1);
  });

  it('hands its tasks to the next of their route while it rests', async () => {
    const other = vendorAdapter({ name: 'other' });
    ({ vendor, bed } = await open({}, {}, [other.adapter]));
    await routeToBoth();
    vendor.next = Array.from({ length: 50 }, dead);
    const ids = await Promise.all(Array.from({ length: 12 }, () => submit(bed)));
    for (const id of ids) expect(await settled(bed, id)).toMatchObject({ status: 'COMPLETED', provider: 'other' });
    expect(50 - vendor.next.length).toBeLessThan(30);
  });

  it('that asks to be left alone is, and its tasks wait', async () => {
    ({ vendor, bed } = await open());
    vendor.next = [
      new AdapterFailure({ class: 'rate_limited', code: 'SLOW', message: 'slow down', retryAfterMs: 2_000 }),
    ];
    const id = await submit(bed);
    const task = await settled(bed, id);
    expect(task).toMatchObject({ status: 'COMPLETED', attempt: 2, failures: 0 });
    const [first, second] = await attempts(bed, id);
    expect(second!.startedAt.getTime() - first!.endedAt!.getTime()).toBeGreaterThanOrEqual(1_900);
  });
});

describe('a rest that the vendor asked for', () => {
  it('is not ended by a call that succeeds meanwhile', async () => {
    ({ vendor, bed } = await open());
    const release = vendor.hold();
    const first = await submit(bed);
    await eventually(() => vendor.starts.length === 1);
    vendor.next = [
      new AdapterFailure({ class: 'rate_limited', code: 'SLOW', message: 'slow down', retryAfterMs: 30_000 }),
    ];
    await submit(bed);
    await eventually(async () => (await bed.sql('select from circuit where open_until > now()')).length === 1);
    release();
    expect(await settled(bed, first)).toMatchObject({ status: 'COMPLETED' });
    expect(await bed.sql('select from circuit where open_until > now()')).toHaveLength(1);
    await bed.sql('delete from circuit');
  });
});

describe('what a vendor calls back', () => {
  const call = (url: string, body: unknown, signature = 'true') =>
    fetch(url, { method: 'POST', headers: { 'x-signature': signature }, body: JSON.stringify(body) }).then(
      ({ status }) => status,
    );
  const opened = async (manifest: Partial<Adapter> = {}) => {
    const urls: string[] = [];
    ({ vendor, bed } = await open(
      {
        receive,
        ...manifest,
        start: async (_request, context) => {
          urls.push(context.callbackUrl!);
          return { handle: { v: 1 }, pollAfterMs: 10 };
        },
      },
      { ATELIER_PUBLIC_URL: 'https://atelier.example' },
    ));
    return async () => {
      await eventually(() => urls.length > 0);
      return urls.at(-1)!.replace('https://atelier.example', bed.url);
    };
  };

  it('completes the task without a look, once, however often it comes', async () => {
    const url = await opened({ poll: () => Promise.reject(new Error('nobody looks')) });
    const id = await submit(bed);
    const to = await url();
    const statuses = await Promise.all(
      Array.from({ length: 50 }, () => call(to, { text: 'called back', usage: true })),
    );
    expect(new Set(statuses)).toEqual(new Set([202]));
    expect(await settled(bed, id)).toMatchObject({ status: 'COMPLETED', result: { text: 'called back' }, charged: 1n });
    expect(await call(to, { text: 'late', usage: true })).toBe(202);
    expect(await read(bed, id)).toMatchObject({ result: { text: 'called back' } });
    expect(await bed.sql('select * from provider_callback')).toEqual([]);
  });

  it('is refused when it is forged, stale in its token, for another adapter, too large or no POST', async () => {
    const url = await opened({ poll: async () => ({ state: 'running' }) });
    await submit(bed);
    const to = await url();
    expect(await call(to, {}, 'false')).toBe(401);
    expect(await call(`${to.slice(0, -1)}${to.endsWith('A') ? 'B' : 'A'}`, {})).toBe(401);
    expect(await call(to.replace(/callback\/.*/, 'callback/garbage'), {})).toBe(401);
    expect(await call(to.replace('/vendor/', '/local/'), {})).toBe(404);
    expect(await call(to.replace('/vendor/', '/nobody/'), {})).toBe(404);
    expect(await call(to, 'x'.repeat(1_100_000))).toBe(413);
    expect((await fetch(to)).status).toBe(405);
    expect(await bed.sql('select * from provider_callback')).toEqual([]);
  });

  it('is not lost when it comes before start has returned', async () => {
    let release = () => {};
    const held = new Promise<void>((resolve) => {
      release = resolve;
    });
    let to = '';
    ({ vendor, bed } = await open(
      {
        receive,
        poll: () => Promise.reject(new Error('nobody looks')),
        start: async (_, context) => {
          to = context.callbackUrl!.replace('https://atelier.example', bed.url);
          await held;
          return { handle: { v: 1 }, pollAfterMs: 3_600_000 };
        },
      },
      { ATELIER_PUBLIC_URL: 'https://atelier.example' },
    ));
    const id = await submit(bed);
    await eventually(() => to !== '');
    expect(await call(to, { text: 'early', usage: false })).toBe(202);
    release();
    expect(await settled(bed, id)).toMatchObject({
      status: 'COMPLETED',
      result: { text: 'early' },
      basis: 'QUOTE',
      charged: 11n,
    });
  });

  it('settles a task whose answer was lost, and that waits for its operator', async () => {
    let to = '';
    ({ vendor, bed } = await open(
      {
        receive,
        start: async (_, context) => {
          to = context.callbackUrl!.replace('https://atelier.example', bed.url);
          throw new NetworkFailure('the connection broke', { sent: 'maybe' });
        },
      },
      { ATELIER_PUBLIC_URL: 'https://atelier.example' },
    ));
    const id = await submit(bed);
    expect(await settled(bed, id)).toMatchObject({ needsReview: true });
    expect(await call(to, null)).toBe(202);
    await eventually(async () => (await bed.sql('select from provider_callback where applied')).length === 1);
    expect(await call(to, { text: 'found', usage: true })).toBe(202);
    await eventually(async () => (await read(bed, id)).completedAt);
    expect(await read(bed, id)).toMatchObject({
      status: 'COMPLETED',
      attempt: 1,
      result: { text: 'found' },
      charged: 1n,
    });
  });

  it('settles the task when its answer is lost after the callback came', async () => {
    ({ vendor, bed } = await open(
      {
        receive,
        start: async (_, context) => {
          await call(context.callbackUrl!.replace('https://atelier.example', bed.url), { text: 'early', usage: true });
          throw new NetworkFailure('the connection broke', { sent: 'maybe' });
        },
      },
      { ATELIER_PUBLIC_URL: 'https://atelier.example' },
    ));
    const id = await submit(bed);
    await eventually(async () => (await read(bed, id)).completedAt);
    expect(await read(bed, id)).toMatchObject({ status: 'COMPLETED', attempt: 1, result: { text: 'early' } });
  });

  it('finds the job of a task in review again, whatever becomes of the first look at it', async () => {
    let to = '';
    let polls = 0;
    ({ vendor, bed } = await open(
      {
        receive: async () => ({ state: 'running', handle: { v: 1, id: 'found' } }),
        start: async (_, context) => {
          to = context.callbackUrl!.replace('https://atelier.example', bed.url);
          throw new NetworkFailure('the connection broke', { sent: 'maybe' });
        },
        poll: async ({ id }) => {
          if (++polls === 1) throw new NetworkFailure('broken', { sent: 'maybe' });
          return { state: 'succeeded', answer: { text: `of ${id}`, usage: true } };
        },
      },
      { ATELIER_PUBLIC_URL: 'https://atelier.example' },
    ));
    const id = await submit(bed);
    expect(await settled(bed, id)).toMatchObject({ needsReview: true });
    expect(await call(to, {})).toBe(202);
    await eventually(async () => (await read(bed, id)).completedAt);
    expect(await read(bed, id)).toMatchObject({
      status: 'COMPLETED',
      needsReview: false,
      result: { text: 'of found' },
    });
  });

  it('finds the job of a task in review again, also when its own deadline has passed', async () => {
    let to = '';
    let polls = 0;
    ({ vendor, bed } = await open(
      {
        receive: async () => ({ state: 'running', handle: { v: 1, id: 'found' } }),
        start: async (_, context) => {
          to = context.callbackUrl!.replace('https://atelier.example', bed.url);
          throw new NetworkFailure('the connection broke', { sent: 'maybe' });
        },
        poll: async ({ id }) => {
          if (++polls === 1) throw new NetworkFailure('broken', { sent: 'maybe' });
          return { state: 'succeeded', answer: { text: `of ${id}`, usage: true } };
        },
      },
      { ATELIER_PUBLIC_URL: 'https://atelier.example', ATELIER_LONGEST_RUN_SECONDS: 'generate_text=1' },
    ));
    const id = await submit(bed);
    expect(await settled(bed, id)).toMatchObject({ needsReview: true });
    await eventually(
      async () => (await bed.sql(`select from task where started_at < now() - interval '1 second'`)).length === 1,
    );
    expect(await call(to, {})).toBe(202);
    await eventually(async () => (await read(bed, id)).completedAt);
    expect(await read(bed, id)).toMatchObject({
      status: 'COMPLETED',
      needsReview: false,
      result: { text: 'of found' },
    });
  });

  it('that does not know either leaves a task in review where it is', async () => {
    let to = '';
    ({ vendor, bed } = await open(
      {
        receive: async () => ({ state: 'failed', failure: { class: 'ambiguous', code: 'X', message: 'x' } }),
        start: async (_, context) => {
          to = context.callbackUrl!.replace('https://atelier.example', bed.url);
          throw new NetworkFailure('the connection broke', { sent: 'maybe' });
        },
      },
      { ATELIER_PUBLIC_URL: 'https://atelier.example' },
    ));
    const id = await submit(bed);
    expect(await settled(bed, id)).toMatchObject({ needsReview: true });
    expect(await call(to, {})).toBe(202);
    await eventually(async () => (await bed.sql('select from provider_callback where applied')).length === 1);
    await eventually(async () => (await read(bed, id)).leaseUntil === null);
    expect(await read(bed, id)).toMatchObject({ needsReview: true, nextPollAt: null });
  });

  it('is read again by the time at which it came', async () => {
    const times: number[] = [];
    const url = await opened({
      receive: async (_request, _handle, context) => {
        times.push(context.now().getTime());
        return { state: 'succeeded', answer: { text: 'x', usage: true } };
      },
    });
    const id = await submit(bed);
    const to = await url();
    await bed.sql(`update task set next_poll_at = now() + interval '1 hour' where id = $1`, [id]);
    await bed.workers[0]!.close();
    expect(await call(to, {})).toBe(202);
    await bed.sql(`update provider_callback set received_at = received_at - interval '1 hour'`);
    await bed.addWorker();
    await settled(bed, id);
    expect(times[0]! - times.at(-1)!).toBeGreaterThan(3_000_000);
  });

  it('is kept twenty times for one attempt, and answered all the same', async () => {
    const url = await opened({ poll: async () => ({ state: 'running' }) });
    await submit(bed);
    const to = await url();
    await bed.workers[0]!.close();
    const statuses = await Promise.all(Array.from({ length: 25 }, (_, text) => call(to, { text })));
    expect(new Set(statuses)).toEqual(new Set([202]));
    expect(await bed.sql('select from provider_callback')).toHaveLength(20);
  });

  it('without a result has the job looked at at once', async () => {
    const url = await opened({
      poll: async () => ({ state: 'succeeded', answer: { text: 'looked at', usage: true } }),
    });
    const id = await submit(bed);
    await bed.sql(`update task set next_poll_at = now() + interval '1 hour' where id = $1`, [id]);
    expect(await call(await url(), null)).toBe(202);
    expect(await settled(bed, id)).toMatchObject({ status: 'COMPLETED', result: { text: 'looked at' } });
  });
});

describe('a job that is watched live', () => {
  it('shows text, previews and progress, and its cost is kept beside it', async () => {
    const pixel = Buffer.from(
      'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==',
      'base64',
    );
    let previewed = () => {};
    const shown = new Promise<void>((resolve) => {
      previewed = resolve;
    });
    ({ vendor, bed } = await open({
      poll: () => Promise.reject(new Error('nobody looks')),
      async *follow() {
        yield { state: 'queued', position: 3 };
        yield { state: 'running', progress: 0.25, step: 'drawing', logs: ['with secret-one'] };
        yield { state: 'running', text: 'one ', partial: { kind: 'IMAGE', from: { bytes: pixel } } };
        await shown;
        yield { state: 'running', text: 'two' };
        yield { state: 'succeeded', answer: { text: 'one two', usage: true } };
      },
    }));
    const id = await submit(bed);
    const texts: string[] = [];
    const rest: object[] = [];
    for await (const { __typename, ...event } of tasksOf(() => bed).events(toId('Task', id))) {
      if (__typename === 'TaskOutputAdded' && event.text) texts.push(event.text);
      else if (__typename !== 'TaskStatusChanged') rest.push(event);
      if (event.asset) previewed();
    }
    expect(texts.join('')).toBe('one two');
    expect(rest).toContainEqual({ progress: 0, step: 'queued (3)' });
    expect(rest).toContainEqual({ progress: 0.25, step: 'drawing' });
    expect(rest).toContainEqual({ message: 'with [secret]' });
    expect(rest).toContainEqual({ text: null, asset: { kind: 'IMAGE', contentType: 'image/png' } });
    expect(await attempts(bed, id)).toMatchObject([{ cost: { amount: '0.0032', currency: 'USD' } }]);
    // A preview has had its time: what is left is the output.
    expect(await bed.sql('select content_type from asset where task_id = $1', [id])).toEqual([
      { contentType: 'text/plain' },
    ]);
  });

  it('is handed to another worker when the one that watches is told to stop', async () => {
    let watched = 0;
    ({ vendor, bed } = await open({
      async *follow(_, { signal }) {
        watched++;
        if (watched > 1) yield { state: 'succeeded', answer: { text: 'watched on', usage: true } };
        else await new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason)));
      },
    }));
    vendor.doneAtPoll = Number.POSITIVE_INFINITY;
    const id = await submit(bed);
    await eventually(() => watched === 1);
    await bed.addWorker();
    await bed.workers[0]!.close();
    expect(await settled(bed, id)).toMatchObject({ status: 'COMPLETED', attempt: 1, result: { text: 'watched on' } });
    expect(vendor.starts).toHaveLength(1);
  });

  it('is polled when the stream ends without an outcome', async () => {
    ({ vendor, bed } = await open({
      async *follow() {
        yield { state: 'running', progress: 0.5 };
      },
    }));
    expect(await settled(bed, await submit(bed))).toMatchObject({ status: 'COMPLETED', attempt: 1 });
    expect(vendor.starts).toHaveLength(1);
  });
});

describe('an adapter that says what has no shape', () => {
  it.each([
    ['no message', { class: 'permanent', code: 'X' }],
    ['an unknown class', { class: 'nonsense', code: 'X', message: 'x' }],
    ['a message that is none', { class: 'permanent', code: 7, message: { a: 1 }, publicMessage: 5, billed: [null] }],
    ['issues that are none', { class: 'invalid_input', code: 'X', message: 'x', issues: [null, { path: 'prompt' }] }],
  ])('ends the task at once after a failure with %s', async (_, facts) => {
    ({ vendor, bed } = await open());
    vendor.next = [new AdapterFailure(facts as never)];
    const id = await submit(bed);
    expect(await settled(bed, id)).toMatchObject({ status: 'FAILED', charged: 0n });
    const { data } = await bed.graphql(
      'query ($id: ID!) { task(id: $id) { ... on BaseTask { error { code message } } } }',
      {
        id: toId('Task', id),
      },
    );
    expect(data.task.error).toEqual({ code: expect.any(String), message: expect.any(String) });
  });

  it('tells no secret in the issues of a failure', async () => {
    ({ vendor, bed } = await open());
    const issues = [{ path: ['prompt'], message: 'refused for secret-one' }];
    vendor.next = [new AdapterFailure({ class: 'invalid_input', code: 'X', message: 'x', issues })];
    const { error } = await settled(bed, await submit(bed));
    expect(error).toMatchObject({ issues: [{ path: ['prompt'], message: expect.stringContaining('refused for') }] });
    expect(JSON.stringify(error)).not.toContain('secret-one');
  });

  it.each([[{}], [[null]], [[{ unit: 'token', quantity: Number.NaN }]]])(
    'charges the quote for usage %j, and keeps no cost that is none',
    async (usage) => {
      const { transformers } = vendorAdapter().adapter;
      const { toProvider } = transformers.generate_text!;
      ({ vendor, bed } = await open({
        transformers: {
          generate_text: {
            toProvider,
            fromProvider: () =>
              ({ outputs: [], result: { text: 'x' }, usage, cost: { amount: 'free', currency: 'USD' } }) as never,
          },
        },
      }));
      const id = await submit(bed);
      expect(await settled(bed, id)).toMatchObject({ status: 'COMPLETED', charged: 11n, basis: 'QUOTE' });
      expect(await attempts(bed, id)).toMatchObject([{ cost: null }]);
    },
  );
});

describe('an adapter that lacks a secret or a setting', () => {
  it('is switched off, and says so', async () => {
    ({ vendor, bed } = await open({ name: 'vendor' }, {}, [
      vendorAdapter({ name: 'off', secrets: { OFF_KEY: { title: 'its key', required: true } } }).adapter,
    ]));
    const { data } = await bed.graphql('{ providers { name state } }');
    expect(data.providers).toContainEqual({ name: 'off', state: 'DISABLED' });
    expect(await tasksOf(() => bed, { provider: 'off' }).create(text)).toMatchObject({
      code: 'VALIDATION',
      message: expect.stringContaining('switched off'),
    });
  });
});
