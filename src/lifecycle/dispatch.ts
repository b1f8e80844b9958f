import { setTimeout as pause } from 'node:timers/promises';
import type { Core } from '../core.ts';
import { openTimer } from '../timer.ts';
import type { Queues } from './queue.ts';
import { handOver } from './status.ts';

/** Without a wake-up a lane is looked at this often. */
const idleIntervalMs = 500;
/** Wake-ups that come closer than this share one round. */
const shortestIntervalMs = 10;

/**
 * Chooses which QUEUED tasks run next and hands them over, lane by lane. Every worker does this; a round locks its lane's
 * row, so there is one at a time and no leader.
 */
export async function openDispatch(
  core: Core,
  lanes: string[],
  queues: Pick<Queues, 'hand'>,
): Promise<{ close(): Promise<void> }> {
  async function round(lane: string): Promise<void> {
    const jobs = await handOver(core, lane);
    if (jobs.length > 0) await queues.hand(lane, jobs);
    await pause(shortestIntervalMs);
  }
  const timers = new Map(
    lanes.map((lane) => [lane, openTimer(core.log, `dispatch ${lane}`, idleIntervalMs, () => round(lane))]),
  );
  const silence = await core.bus.listen('dispatch', ({ lane }: { lane: string }) => timers.get(lane)?.wake());
  const forget = core.bus.onReturn(() => {
    for (const timer of timers.values()) timer.wake();
  });
  return {
    async close() {
      silence();
      forget();
      await Promise.all([...timers.values()].map((timer) => timer.close()));
    },
  };
}
