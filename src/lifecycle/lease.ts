import type { Core } from '../core.ts';
import type { Task } from '../db.ts';
import { renew } from './status.ts';

/** Why a running attempt is stopped. `lost`: another has the task; write nothing. `handed_back`: this process is going. */
export type StopReason = 'cancelled' | 'deadline' | 'lost' | 'handed_back';

/** The right to work on one task. */
export interface Lease {
  task: Task;
  /** Its job is at the vendor, and its handle is stored: any process can go on with it. */
  parked: boolean;
  /** Aborted with a {@link StopReason}. */
  signal: AbortSignal;
  stop(reason: StopReason): void;
  release(): void;
}

export interface Leases {
  hold(task: Task): Lease;
  readonly count: number;
  all(): Lease[];
  close(): Promise<void>;
}

/**
 * Renews all leases of this process in one statement, three times as often as they run out, from the main loop: a loop that
 * is blocked must lose them. The answer carries cancel requests and deadlines.
 */
export async function openLeases(core: Core): Promise<Leases> {
  const held = new Map<string, Lease>();
  const intervalMs = (core.config.ATELIER_LEASE_SECONDS * 1000) / 3;
  let renewing: Promise<void> | undefined;

  async function renewAll(): Promise<void> {
    const leases = [...held.values()];
    if (leases.length === 0) return;
    try {
      const kept = new Map(
        (
          await renew(
            core,
            leases.map(({ task }) => task),
          )
        ).map((row) => [row.id, row]),
      );
      for (const lease of leases) {
        const row = kept.get(lease.task.id);
        if (!row) lease.stop('lost');
        else if (row.cancelRequestedAt) lease.stop('cancelled');
        else if (row.overdue) lease.stop('deadline');
      }
    } catch (error) {
      // With Postgres away nobody else can claim either; the fence decides when it is back.
      core.log.warn({ err: error }, 'leases were not renewed; trying again');
    }
  }
  const again = () => {
    renewing ??= renewAll().finally(() => {
      renewing = undefined;
    });
  };
  const timer = setInterval(again, intervalMs);
  const silence = await core.bus.listen('leases', ({ taskId }: { taskId: string }) => held.has(taskId) && again());

  return {
    hold(task) {
      const controller = new AbortController();
      const lease: Lease = {
        task,
        parked: false,
        signal: controller.signal,
        stop: (reason) => controller.abort(reason),
        release: () => {
          if (held.get(task.id) === lease) held.delete(task.id);
        },
      };
      // The same task under an older fence: its attempt goes on for nobody.
      held.get(task.id)?.stop('lost');
      held.set(task.id, lease);
      return lease;
    },
    get count() {
      return held.size;
    },
    all: () => [...held.values()],
    async close() {
      clearInterval(timer);
      silence();
      await renewing;
    },
  };
}
