import type { Core } from '../core.ts';
import type { Task } from '../db.ts';
import { renew } from './status.ts';

/** Why a running attempt is stopped. `lost`: another has the task; write nothing. `handed_back`: this process is going. */
export type StopReason = 'cancelled' | 'deadline' | 'lost' | 'handed_back';

/** The right to work on one task. */
export interface Lease {
  task: Task;
  /** Says that its job is at the vendor, and its handle stored: any process can go on with it, and does when this one is going. */
  park(): void;
  /** Aborted with a {@link StopReason}. */
  signal: AbortSignal;
  stop(reason: StopReason): void;
  release(): void;
}

export interface Leases {
  /** @param claimed `overdue`: the deadline had passed when it was claimed, and that is no news to its holder. */
  hold(task: Task, claimed?: { overdue: boolean }): Lease;
  readonly count: number;
  /** Hands back what can start again for nothing and, from now on, what is parked. Paid calls go on. */
  handBack(): void;
  close(): Promise<void>;
}

interface Held extends Lease {
  overdue: boolean;
  parked: boolean;
}

/**
 * Renews all leases of this process in one statement, three times as often as they run out, from the main loop: a loop that
 * is blocked must lose them. The answer carries cancel requests and deadlines.
 */
export async function openLeases(core: Core): Promise<Leases> {
  const held = new Map<string, Held>();
  let isClosing = false;
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
        else if (row.cancelRequestedAt && !lease.task.cancelRequestedAt) lease.stop('cancelled');
        else if (row.overdue && !lease.overdue) lease.stop('deadline');
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
    hold(task, { overdue } = { overdue: false }) {
      const controller = new AbortController();
      const lease: Held = {
        task,
        overdue,
        parked: false,
        signal: controller.signal,
        park() {
          lease.parked = true;
          if (isClosing) lease.stop('handed_back');
        },
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
    handBack() {
      isClosing = true;
      for (const lease of held.values()) {
        const target = (lease.task.route as { resubmit?: string }[])[lease.task.targetIndex];
        if (lease.parked || target?.resubmit === 'safe') lease.stop('handed_back');
      }
    },
    async close() {
      clearInterval(timer);
      silence();
      await renewing;
    },
  };
}
