import type { TestBed } from '../kit.ts';

const everyMs = 100;

/**
 * Brings the looks at vendors' jobs forward: the next one is at most so far away as `mostMs` says at the time. The rhythm itself is not what an
 * adapter's tests are about, and a vendor that calls back is looked at every 5 s at most.
 * @returns ends it; call it before the bed is closed.
 */
export function hurryLooks(bed: TestBed, mostMs: () => number): () => Promise<void> {
  let ended = false;
  let work = Promise.resolve();
  const timer = setInterval(() => {
    work = work.then(async () => {
      if (ended) return;
      await bed.sql(
        `update task set next_poll_at = now() + $1 * interval '1 millisecond'
         where status = 'PROCESSING' and next_poll_at > now() + ($1 + 10) * interval '1 millisecond'`,
        [mostMs()],
      );
      bed.core.bus.wake('polls', {});
    });
  }, everyMs);
  return async () => {
    ended = true;
    clearInterval(timer);
    await work;
  };
}
