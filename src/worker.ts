import { randomUUID } from 'node:crypto';
import { hostname } from 'node:os';
import type { Core } from './core.ts';
import { toId } from './id.ts';
import { openDispatch } from './lifecycle/dispatch.ts';
import { laneNames, seedLanes } from './lifecycle/lanes.ts';
import { openLeases } from './lifecycle/lease.ts';
import { pollDue } from './lifecycle/poll.ts';
import { type Job, openQueues } from './lifecycle/queue.ts';
import { runAttempt } from './lifecycle/run.ts';
import { claim, requeue } from './lifecycle/status.ts';
import { sweep } from './lifecycle/sweep.ts';
import { sweepAssets } from './lifecycle/sweep-assets.ts';
import { workerMetrics } from './metrics.ts';
import { createProbes, serveProbes } from './probes.ts';
import { openTimer } from './timer.ts';
import { openDeliveries } from './webhooks/outgoing.ts';

/** Attempts in one process, whatever the lanes allow: calls at vendors hold no slot. */
const mostAtOnce = 200;
const heartbeatMs = 5_000;
const pollMs = 500;
const pollBatch = 100;
const sweepMs = 1_000;
const webhooksMs = 2_000;
const webhooksBatch = 50;
const assetsMs = 60_000;

export interface Worker {
  /** Its public id. */
  id: string;
  /** Attempts that are running here. */
  readonly running: number;
  /**
   * Stops taking work, hands back what can be handed back without harm, waits up to ATELIER_DRAIN_SECONDS for paid calls
   * that cannot, and lets go.
   */
  close(): Promise<void>;
}

/** Process 2: lanes, dispatch, poller, sweepers, webhooks. Run as many as wanted; none leads. */
export async function startWorker(core: Core): Promise<Worker> {
  const uuid = randomUUID();
  const lanes = laneNames(core);
  await seedLanes(core);
  const leases = await openLeases(core);
  const running = new Set<Promise<void>>();
  let closing = false;

  function track(work: Promise<void>): void {
    const tracked = work
      .catch((error) => core.log.error({ err: error }, 'an attempt ended in a way that it must not'))
      .finally(() => running.delete(tracked));
    running.add(tracked);
  }
  async function take(job: Job): Promise<void> {
    // What is not claimed is handed over again, to whoever has room.
    if (closing || running.size >= mostAtOnce) return;
    const task = await claim(core, job, uuid);
    if (!task) return;
    // Not awaited: the job is only a hint, and what happens to the task is in Postgres from here on.
    if (closing) await requeue(core, task, {});
    else track(runAttempt(core, leases.hold(task)));
  }

  const beat = () =>
    core.db.sql(
      `insert into worker (id, host, processing) values ($1, $2, $3) on conflict (id) do update set seen_at = now(), processing = excluded.processing`,
      [uuid, hostname(), leases.count],
    );
  await beat();
  const deliveries = openDeliveries(core);
  const queues = openQueues(core, lanes, take);
  const dispatch = await openDispatch(core, lanes, queues);
  const webhooks = openTimer(core.log, 'webhooks', webhooksMs, () => deliveries.deliverDue({ limit: webhooksBatch }));
  const timers = [
    openTimer(core.log, 'heartbeat', heartbeatMs, async () => {
      await beat();
      await core.db.sql(`delete from worker where seen_at < now() - interval '1 day'`);
    }),
    openTimer(
      core.log,
      'poll',
      pollMs,
      async () => (await pollDue(core, leases, uuid, pollBatch, track)) === pollBatch,
    ),
    openTimer(core.log, 'sweep', sweepMs, () => sweep(core)),
    webhooks,
    openTimer(core.log, 'assets', assetsMs, () => sweepAssets(core)),
  ];
  const silence = await core.bus.listen('webhooks', () => webhooks.wake());
  const port = core.config.ATELIER_WORKER_PORT;
  const probes = createProbes(
    core,
    workerMetrics(() => running.size),
    () => closing,
  );
  const endProbes = port === undefined ? () => {} : await serveProbes(core, probes, port);
  core.log.info(
    { workerId: toId('Worker', uuid), lanes, adapters: core.registry.adapters.map(({ adapter }) => adapter.name) },
    'the worker is up',
  );

  async function close(): Promise<void> {
    closing = true;
    silence();
    await Promise.all([dispatch.close(), ...timers.map((timer) => timer.close())]);
    await queues.close();
    // What can start again elsewhere for nothing is handed back; a paid call is waited for.
    for (const lease of leases.all()) {
      const target = (lease.task.route as { resubmit?: string }[])[lease.task.targetIndex];
      if (target?.resubmit === 'safe') lease.stop('handed_back');
    }
    await Promise.race([
      Promise.allSettled([...running]),
      new Promise((resolve) => setTimeout(resolve, core.config.ATELIER_DRAIN_SECONDS * 1000).unref()),
    ]);
    await Promise.all([leases.close(), deliveries.close()]);
    await core.db.sql('delete from worker where id = $1', [uuid]).catch(() => {});
    endProbes();
    core.log.info({ left: running.size }, 'the worker is down');
  }
  let closed: Promise<void> | undefined;
  return {
    id: toId('Worker', uuid),
    get running() {
      return running.size;
    },
    close() {
      closed ??= close();
      return closed;
    },
  };
}
