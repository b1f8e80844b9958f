import { afterEach, describe, expect, it } from 'vitest';
import { cancelTask } from '../src/lifecycle/cancel.ts';
import { openLooks } from '../src/lifecycle/looks.ts';
import { setRoute } from '../src/lifecycle/routes.ts';
import { eventually, type TestBed } from './kit.ts';
import { type Vendor, vendorAdapter } from './vendor-adapter.ts';
import { attempts, open, read, settled, submit } from './vendor-bed.ts';

describe('the room for looks', () => {
  /** Fills it with looks at vendors that hang, as a poller would, and says how many each has. */
  function fill(looks: ReturnType<typeof openLooks>, vendors: string[], hang: Promise<void>): number[] {
    const counts = vendors.map(() => 0);
    for (let taken = true; taken; ) {
      taken = false;
      for (const [index, vendor] of vendors.entries()) {
        if (looks.crowded().includes(vendor)) continue;
        taken = true;
        for (let left = looks.room(); left > 0; left--) {
          counts[index]!++;
          void looks.count(vendor, () => hang);
        }
      }
    }
    return counts;
  }

  it.each([1, 2, 5, 40])('is never filled by %i vendors that hang', (count) => {
    const looks = openLooks(() => {});
    const vendors = Array.from({ length: count }, (_, index) => `vendor ${index}`);
    const counts = fill(looks, vendors, new Promise(() => {}));
    expect(Math.min(...counts)).toBeGreaterThan(0);
    expect(counts.reduce((sum, each) => sum + each, 0)).toBeLessThan(300 + count);
    expect(looks.crowded()).not.toContain('newcomer');
  });

  it('says once when a vendor that was crowded has room again', async () => {
    let again = 0;
    let end = () => {};
    const looks = openLooks(() => again++);
    const [count] = fill(looks, ['one'], new Promise((resolve) => (end = resolve)));
    expect(count).toBeGreaterThan(100);
    expect(looks.crowded()).toEqual(['one']);
    expect(again).toBe(0);
    end();
    await eventually(() => looks.crowded().length === 0);
    expect(again).toBe(1);
  });
});

let vendor: Vendor;
let bed: TestBed;

describe('a worker', () => {
  afterEach(() => bed.close());

  it('looks at jobs of others while two vendors hang, and is gone soon when it is told to go', async () => {
    const asked = { vendor: 0, other: 0 };
    const hang = (name: keyof typeof asked) => () => {
      asked[name]++;
      return new Promise<never>(() => {});
    };
    const other = vendorAdapter({ name: 'other', poll: hang('other') });
    const third = vendorAdapter({ name: 'third' });
    const settings = { ATELIER_LANE_CONCURRENCY: 'cpu_intensive=500', ATELIER_DRAIN_SECONDS: '60' };
    ({ vendor, bed } = await open({ poll: hang('vendor') }, settings, [other.adapter, third.adapter]));
    const many = async () => {
      for (let sent = 0; sent < 180; sent += 30) await Promise.all(Array.from({ length: 30 }, () => submit(bed)));
    };
    await many();
    await setRoute(bed.core, 'generate_text', [{ provider: 'other', model: null }]);
    await many();
    await eventually(() => asked.vendor > 80 && asked.other > 40, 30_000);
    await setRoute(bed.core, 'generate_text', [{ provider: 'third', model: null }]);
    expect(await settled(bed, await submit(bed))).toMatchObject({ status: 'COMPLETED', provider: 'third' });
    const gone = bed.workers[0]!.close().then(() => 'gone');
    const late = new Promise((resolve) => setTimeout(resolve, 10_000, 'late').unref());
    expect(await Promise.race([gone, late])).toBe('gone');
  });

  it('that is told to go watches no job that begins just then', async () => {
    let follows = 0;
    ({ vendor, bed } = await open(
      {
        async *follow(_handle, { signal }) {
          follows++;
          await new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason)));
        },
      },
      { ATELIER_DRAIN_SECONDS: '60' },
    ));
    const release = vendor.hold();
    const id = await submit(bed);
    await eventually(() => vendor.starts.length === 1);
    const closed = bed.workers[0]!.close();
    release();
    await closed;
    expect(follows).toBe(0);
    expect(await read(bed, id)).toMatchObject({ status: 'PROCESSING', leaseUntil: null });
    expect(await attempts(bed, id)).toMatchObject([{ phase: 'parked' }]);
  });

  it.each(['cancelled', 'overdue'])(
    'lets the vendor end a job that is %s, though that takes longer than a lease is',
    async (why) => {
      const signals: AbortSignal[] = [];
      let confirmed = false;
      ({ vendor, bed } = await open(
        {
          poll: async () => ({ state: 'running' }),
          async cancel(_handle, { signal }) {
            signals.push(signal);
            await new Promise((resolve) => setTimeout(resolve, 3_500));
            confirmed = !signal.aborted;
            return 'cancelled';
          },
        },
        why === 'overdue' ? { ATELIER_LONGEST_RUN_SECONDS: 'generate_text=3' } : {},
      ));
      const id = await submit(bed);
      await eventually(async () => (await attempts(bed, id))[0]?.phase === 'parked');
      if (why === 'cancelled') await cancelTask(bed.core, id);
      expect(await settled(bed, id)).toMatchObject({ status: why === 'cancelled' ? 'CANCELLED' : 'FAILED' });
      expect(signals).toHaveLength(1);
      expect(confirmed).toBe(true);
    },
  );

  it('looks whether the job goes on where the vendor only takes a cancel in', async () => {
    let cancels = 0;
    ({ vendor, bed } = await open({
      poll: async () => (cancels > 0 ? { state: 'cancelled' } : { state: 'running' }),
      async cancel() {
        cancels++;
        return 'requested';
      },
    }));
    const id = await submit(bed);
    await eventually(async () => (await attempts(bed, id))[0]?.phase === 'parked');
    await cancelTask(bed.core, id);
    expect(await settled(bed, id)).toMatchObject({ status: 'CANCELLED' });
    expect(cancels).toBe(1);
  });
});
