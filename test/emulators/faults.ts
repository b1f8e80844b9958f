import { afterEach, describe, expect, it } from 'vitest';
import type { Adapter } from '../../src/sdk/index.ts';
import { tasksOf } from '../adapters/tasks.ts';
import { eventually, type TestBed } from '../kit.ts';
import type { Answer, Emulator, Fault, Seen } from './emulator.ts';

/** What the faults below have to know of an adapter and its vendor. */
export interface FaultyVendor {
  /** Its adapter is made {@link quick}; ATELIER_LEASE_SECONDS is 3. */
  bed(): TestBed;
  emulator(): Emulator;
  /** `provider`, `model` and `task` of createTask's input. It must succeed when nothing is broken. */
  request: { provider: string; model?: string; task: object };
  /** The paid call. */
  isStart(request: Seen): boolean;
  /** A look at the job. Undefined: the answer to the paid call is the result. */
  isPoll?(request: Seen): boolean;
  /** A further request of a look, as the fetch of a result when the status says that it is done. Undefined: a look is one request. */
  isResult?(request: Seen): boolean;
  /** The fetch of an output. Undefined: it comes inside an answer. */
  isDownload?(request: Seen): boolean;
  /** What becomes of a lost answer: an operator's review, the job is found, or it is sent again because that buys nothing. Default: review. */
  lost?: 'review' | 'found' | 'again';
  /** Makes the vendor name this URL as its output, once. */
  giveOutput?(url: string): void;
  /** A signed call of the vendor's about the job that a paid call started, saying that it succeeded. */
  callback?(start: Seen): Promise<{ url: string; headers: Record<string, string>; body: string }>;
}

/** The same adapter, with less patience for the paid call: for tests of time-outs. */
export const quick = (adapter: Adapter): Adapter => ({ ...adapter, startTimeoutMs: 1_500 });

const html: Answer = {
  status: 200,
  headers: { 'content-type': 'text/html' },
  body: '<!doctype html><title>Just a moment</title>',
};
const gateway: Answer = { ...html, status: 502 };
/** The words of frameworks and gateways: they say nothing about the job. */
const serverErrors: Answer[] = [
  { status: 500, json: { detail: 'Internal Server Error' } },
  { status: 502, json: { message: 'Bad Gateway' } },
  { status: 503, json: { error: { message: 'Service Unavailable' } } },
];

/** One test for each way in which a vendor or the way to it breaks. Call it at the top of a file, or in a describe. */
export function itSurvivesFaults(vendor: FaultyVendor): void {
  const { task, ...target } = vendor.request;
  const tasks = tasksOf(vendor.bed, target, 40_000);
  const submit = () => tasks.submit(task);
  const settled = async (id: string) => {
    const settled = await tasks.settled(id);
    const { quoted, charged, released } = settled.cost;
    return { ...settled, cost: { charged, held: quoted - charged - released } };
  };
  const starts = () => vendor.emulator().seen.filter(vendor.isStart).length;
  const broken = async (matches: (request: Seen) => boolean, fault: Fault, times = 1) => {
    vendor.emulator().seen.length = 0;
    vendor.emulator().break(matches, fault, times);
    return settled(await submit());
  };
  const forget = () => vendor.bed().sql('delete from circuit');

  afterEach(async () => {
    vendor.emulator().mend();
    await forget();
    // What waits for a review or for a vendor's pleasure must not run into the next test.
    await vendor
      .bed()
      .sql(`select task_finish(id, null, '{"status": "FAILED"}') from task where status in ('QUEUED', 'PROCESSING')`);
  });

  describe('the paid call', () => {
    const lost = vendor.lost ?? 'review';
    const faults: [string, Fault][] = [
      ['its answer is lost', 'lost'],
      ['its answer is cut', 'truncated'],
      ['its answer is an HTML page', html],
      ['a gateway answers 502', gateway],
      ['a gateway answers 500 in JSON', serverErrors[0]!],
      ['nothing comes', 'hang'],
      ['its answer has no end', 'endless'],
      ['its answer comes byte by byte', 'slow'],
    ];
    it.each(faults)(
      `${lost === 'again' ? 'is sent again' : 'is made once'} when %s`,
      { timeout: 60_000 },
      async (_, fault) => {
        const task = await broken(vendor.isStart, fault);
        if (lost === 'review') {
          expect(task).toMatchObject({ status: 'PROCESSING', needsReview: true });
          expect(task.cost.held).toBeGreaterThan(0);
          expect(starts()).toBe(1);
        } else if (lost === 'again') {
          expect(task).toMatchObject({ status: 'COMPLETED' });
          expect(starts()).toBe(2);
        } else {
          // What the vendor took in is found; what it never took in is bought, once.
          expect(task).toMatchObject({ status: 'COMPLETED' });
          expect(starts()).toBe(fault === 'lost' || fault === 'truncated' ? 1 : 2);
        }
      },
    );

    it('is made later when the vendor could not be reached', { timeout: 60_000 }, async () => {
      vendor.emulator().seen.length = 0;
      await vendor.emulator().down();
      const id = await submit();
      await eventually(async () => {
        const [row] = await vendor
          .bed()
          .sql<{ failed: number }>(
            'select count(*)::int as failed from attempt where ended_at is not null and error is not null',
          );
        return row!.failed > 0;
      });
      await vendor.emulator().up();
      expect(await settled(id)).toMatchObject({ status: 'COMPLETED' });
      expect(starts()).toBe(1);
    });

    it.each([
      ['seconds', () => '1'],
      ['a date', () => new Date(Date.now() + 2_000).toUTCString()],
    ])('waits for a Retry-After in %s', { timeout: 60_000 }, async (_, value) => {
      const task = await broken(vendor.isStart, { status: 429, headers: { 'retry-after': value() }, json: {} });
      expect(task).toMatchObject({ status: 'COMPLETED' });
      expect(starts()).toBe(2);
    });

    it('rests for an hour at most, whatever Retry-After says', async () => {
      vendor.emulator().seen.length = 0;
      vendor.emulator().break(vendor.isStart, { status: 429, headers: { 'retry-after': '99999999999' }, json: {} });
      await submit();
      await eventually(async () => {
        const [row] = await vendor
          .bed()
          .sql(`select open_until < now() + interval '61 minutes' as soon from circuit where open_until is not null`);
        return row?.soon;
      });
    });

    it.each([400, 401, 402, 403, 404, 422])(
      'fails without a second one after %i, and costs nothing',
      async (status) => {
        const task = await broken(vendor.isStart, { status, json: {} }, 10);
        expect(task).toMatchObject({ status: 'FAILED', cost: { charged: 0, held: 0 } });
        expect(starts()).toBe(1);
      },
    );

    it('is not made again when its worker dies', { timeout: 60_000 }, async () => {
      vendor.emulator().seen.length = 0;
      vendor.emulator().break(vendor.isStart, 'hang');
      const id = await submit();
      await vendor.emulator().next(vendor.isStart);
      await stealLeases(vendor.bed());
      const task = await settled(id);
      if (lost === 'review') expect(task).toMatchObject({ status: 'PROCESSING', needsReview: true });
      else expect(task).toMatchObject({ status: 'COMPLETED' });
      expect(starts()).toBe(lost === 'review' ? 1 : 2);
    });
  });

  if (vendor.isPoll) {
    const isPoll = vendor.isPoll;
    const requests: [string, (request: Seen) => boolean][] = [['looks at the job', isPoll]];
    if (vendor.isResult) requests.push(['second requests of a look', vendor.isResult]);
    it.each(requests)('looks again when %s go wrong', { timeout: 60_000 }, async (_, matches) => {
      for (const fault of [gateway, html, 'lost', 'truncated', ...serverErrors] satisfies Fault[])
        vendor.emulator().break(matches, fault);
      expect(await broken(matches, { status: 429, json: {} })).toMatchObject({ status: 'COMPLETED' });
      expect(starts()).toBe(1);
      expect(vendor.emulator().seen.filter(matches).length).toBeGreaterThan(8);
    });

    it('is followed by another worker when the one that looked died', { timeout: 60_000 }, async () => {
      vendor.emulator().seen.length = 0;
      vendor.emulator().break(isPoll, 'hang');
      const id = await submit();
      await vendor.emulator().next(isPoll);
      await stealLeases(vendor.bed());
      expect(await settled(id)).toMatchObject({ status: 'COMPLETED' });
      expect(starts()).toBe(1);
    });

    it('never completes after a cancel', { timeout: 60_000 }, async () => {
      vendor.emulator().seen.length = 0;
      vendor.emulator().break(isPoll, gateway, 3);
      const id = await submit();
      await vendor.emulator().next(isPoll);
      await tasks.cancel(id);
      expect(await settled(id)).toMatchObject({ status: 'CANCELLED', cost: { charged: 0, held: 0 } });
    });
  }

  if (vendor.isDownload) {
    const isDownload = vendor.isDownload;
    it.each([
      ['is gone for a moment', { status: 404 }],
      ['comes cut', 'truncated'],
      ['meets a 503', { status: 503 }],
    ] satisfies [string, Fault][])('fetches an output again that %s', { timeout: 60_000 }, async (_, fault) => {
      expect(await broken(isDownload, fault)).toMatchObject({ status: 'COMPLETED' });
      expect(starts()).toBe(1);
    });

    it.each([
      ['empty', { body: '' }, 'NO_OUTPUT'],
      ['an HTML page', html, 'WRONG_OUTPUT'],
    ] satisfies [string, Fault, string][])(
      'fails, and charges nothing, when an output is %s',
      async (_, fault, code) => {
        const task = await broken(isDownload, fault, 10);
        expect(task).toMatchObject({ status: 'FAILED', error: { code }, cost: { charged: 0 } });
        expect(starts()).toBe(1);
      },
    );
  }

  if (vendor.giveOutput) {
    it.each([
      'http://127.0.0.1:1/output.png',
      'https://169.254.169.254/output.png',
      'https://elsewhere.example/output.png',
    ])('fetches nothing from %s', async (url) => {
      vendor.giveOutput!(url);
      expect(await settled(await submit())).toMatchObject({ status: 'FAILED', error: { code: 'OUTPUT_REFUSED' } });
    });
  }

  if (vendor.callback) {
    it('completes once, whatever comes in 50 callbacks at once, and refuses a forged one', {
      timeout: 60_000,
    }, async () => {
      vendor.emulator().seen.length = 0;
      const id = await submit();
      const { url, headers, body } = await vendor.callback!(await vendor.emulator().next(vendor.isStart));
      const call = (change: { body?: string; url?: string } = {}) =>
        fetch(change.url ?? url, { method: 'POST', headers, body: change.body ?? body }).then(({ status }) => status);
      expect(await call({ body: `${body} ` })).toBe(401);
      expect(await call({ url: url.replace(/.$/, (last) => (last === 'A' ? 'B' : 'A')) })).toBe(401);
      expect(new Set(await Promise.all(Array.from({ length: 50 }, () => call())))).toEqual(new Set([202]));
      expect(await settled(id)).toMatchObject({ status: 'COMPLETED' });
      expect(await call()).toBe(202);
      expect(starts()).toBe(1);
    });
  }
}

/** As if the workers had died that hold them: nobody renews them, and what they write comes too late. */
export async function stealLeases(bed: TestBed): Promise<void> {
  await bed.sql(
    `update task set fence = fence + 1, lease_until = now() - interval '1 second' where status = 'PROCESSING' and lease_until is not null`,
  );
}
