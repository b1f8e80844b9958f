import { randomUUID } from 'node:crypto';
import { hostname } from 'node:os';
import type { Core } from './core.ts';
import { toId } from './id.ts';
import { embedDue } from './knowledge/embed-due.ts';
import { openDispatch } from './lifecycle/dispatch.ts';
import { laneNames, seedLanes } from './lifecycle/lanes.ts';
import { openLeases } from './lifecycle/lease.ts';
import { openLooks } from './lifecycle/looks.ts';
import { pollDue } from './lifecycle/poll.ts';
import { type Job, openQueues } from './lifecycle/queue.ts';
import { runAttempt } from './lifecycle/run.ts';
import { claim, requeue } from './lifecycle/status.ts';
import { sweep } from './lifecycle/sweep.ts';
import { sweepAssets } from './lifecycle/sweep-assets.ts';
import { drawnChannel } from './lifecycle/wake.ts';
import { workerMetrics } from './metrics.ts';
import { openModels } from './models.ts';
import { openRuns } from './pipelines/advance.ts';
import { startDue } from './pipelines/schedule.ts';
import { seedPipelines } from './pipelines/seed.ts';
import { runsChannel } from './pipelines/wake.ts';
import { createProbes, serveProbes } from './probes.ts';
import { openTimer } from './timer.ts';
import { openDeliveries } from './webhooks/outgoing.ts';

/** Attempts in one process, whatever the lanes allow: calls at vendors hold no slot. Looks at vendors' jobs are counted apart. */
const mostAtOnce = 200;
const heartbeatMs = 5_000;
const pollMs = 500;
const sweepMs = 1_000;
const webhooksMs = 2_000;
const webhooksBatch = 50;
const assetsMs = 60_000;
const runsMs = 500;
const runsAtOnce = 8;
const schedulesMs = 1_000;
const knowledgeMs = 2_000;
const passagesAtOnce = 16;

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
  await seedPipelines(core);
  const models = await openModels(core);
  const leases = await openLeases(core);
  const running = new Set<Promise<void>>();
  const looks = new Set<Promise<void>>();
  let closing = false;

  function track(work: Promise<void>, among = running): void {
    const tracked = work
      .catch((error) => core.log.error({ err: error }, 'an attempt ended in a way that it must not'))
      .finally(() => among.delete(tracked));
    among.add(tracked);
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
  const metrics = workerMetrics(() => running.size + looks.size);
  const told = {
    track: (work: Promise<void>) => track(work, looks),
    lag: (lagMs: number) => metrics.pollLagSeconds.observe(lagMs / 1000),
  };
  const counted = openLooks(() => polls.wake());
  const polls = openTimer(core.log, 'poll', pollMs, async () => (await pollDue(core, leases, uuid, counted, told)) > 0);
  const webhooks = openTimer(core.log, 'webhooks', webhooksMs, () => deliveries.deliverDue({ limit: webhooksBatch }));
  const turns = openRuns(core, runsAtOnce, () => runs.wake());
  const runs = openTimer(core.log, 'runs', runsMs, turns.take);
  const timers = [
    runs,
    openTimer(core.log, 'schedules', schedulesMs, () => startDue(core)),
    openTimer(core.log, 'knowledge', knowledgeMs, () => embedDue(core, passagesAtOnce)),
    openTimer(core.log, 'heartbeat', heartbeatMs, async () => {
      await beat();
      await core.db.sql(`delete from worker where seen_at < now() - interval '1 day'`);
    }),
    polls,
    openTimer(core.log, 'sweep', sweepMs, () => sweep(core)),
    webhooks,
    openTimer(core.log, 'assets', assetsMs, () => sweepAssets(core)),
  ];
  const silences = await Promise.all([
    core.bus.listen('webhooks', () => webhooks.wake()),
    core.bus.listen('polls', () => polls.wake()),
    core.bus.listen(runsChannel, () => runs.wake()),
    core.bus.listen(drawnChannel, () => runs.wake()),
  ]);
  const port = core.config.ATELIER_WORKER_PORT;
  const probes = createProbes(core, metrics, () => closing);
  const endProbes = port === undefined ? () => {} : await serveProbes(core, probes, port);
  core.log.info({ workerId: toId('Worker', uuid), lanes, ...adaptersOf(core) }, 'the worker is up');
  for (const { adapter, origin, disabled } of core.registry.adapters)
    if (origin && disabled) core.log.warn(`adapter "${adapter.name}" of ${origin} is switched off: ${disabled}`);

  async function close(): Promise<void> {
    closing = true;
    for (const silence of silences) silence();
    // What any process can go on with, and what can start again for nothing, is handed back; a paid call is waited for.
    leases.handBack();
    await Promise.all([dispatch.close(), turns.close(), ...timers.map((timer) => timer.close())]);
    await queues.close();
    await Promise.race([
      Promise.allSettled([...running, ...looks]),
      new Promise((resolve) => setTimeout(resolve, core.config.ATELIER_DRAIN_SECONDS * 1000).unref()),
    ]);
    await Promise.all([leases.close(), deliveries.close(), models.close()]);
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

/** For the log: which adapters work, and what the others lack. */
function adaptersOf({ registry }: Core): { adapters: string[]; switchedOff: Record<string, string> } {
  const off = registry.adapters.filter(({ disabled }) => disabled !== undefined);
  return {
    adapters: registry.adapters.filter(({ disabled }) => disabled === undefined).map(({ adapter }) => adapter.name),
    switchedOff: Object.fromEntries(off.map(({ adapter, disabled }) => [adapter.name, disabled!])),
  };
}
