import { createRequire } from 'node:module';
import BeeQueue from 'bee-queue';
import type { Core } from '../core.ts';
import { retryStrategy } from '../redis.ts';

const lua: { buildCache(client: unknown): Promise<unknown> } = createRequire(import.meta.url)('bee-queue/lib/lua');

/** What a job says: which hand-over of which task. All else is in Postgres. */
export interface Job {
  taskId: string;
  dispatch: number;
}

/** The lanes as Bee-Queue queues. This is the only file that knows Bee-Queue. */
export interface Queues {
  /** Hands tasks over to whichever worker takes them. What Redis cannot take is handed over again by a later round. */
  hand(lane: string, jobs: Job[]): Promise<void>;
  /** Stops taking jobs. */
  close(): Promise<void>;
}

/** Bee-Queue fixes its concurrency when it starts; a lane's own concurrency is kept by dispatch, so this is only a ceiling. */
const concurrencyCeiling = 1_000;
const stallIntervalMs = 5_000;

/** @param take is called for each job; a job that it rejects is gone: dispatch repeats what was not claimed. */
export function openQueues(core: Core, lanes: string[], take: (job: Job) => Promise<void>): Queues {
  const producers = new Map(lanes.map((lane) => [lane, connect(core, lane, false)]));
  const workers = lanes.map((lane) => {
    const queue = connect(core, lane, true);
    queue.process(concurrencyCeiling, (job: BeeQueue.Job<Job>) => take(job.data));
    queue.checkStalledJobs(stallIntervalMs).catch(() => {});
    return queue;
  });
  return {
    async hand(lane, jobs) {
      const queue = producers.get(lane);
      // node_redis would queue without bound while Redis is away, and the promise would hang.
      if (!queue || !(queue as unknown as { client?: { ready: boolean } }).client?.ready) return;
      const rows = jobs.map((job) => queue.createJob(job).setId(`${job.taskId}:${job.dispatch}`));
      const failures = await queue.saveAll(rows);
      if (failures.size > 0)
        core.log.warn(
          { lane, count: failures.size, err: [...failures.values()][0] },
          'jobs were not handed over; they are again in 2 s',
        );
    },
    async close() {
      await Promise.allSettled([...producers.values(), ...workers].map((queue) => queue.close(1_000)));
    },
  };
}

function connect(core: Core, lane: string, isWorker: boolean): BeeQueue<Job> {
  const queue = new BeeQueue<Job>(lane, {
    prefix: `${core.config.ATELIER_REDIS_PREFIX}:lane`,
    // A client object of another library would be ignored without a word, and 127.0.0.1:6379 used instead.
    redis: {
      url: core.config.REDIS_URL,
      retry_strategy: ({ attempt }: { attempt: number }) => retryStrategy(attempt),
      enable_offline_queue: true,
    },
    isWorker,
    stallInterval: stallIntervalMs,
    getEvents: false,
    sendEvents: false,
    storeJobs: false,
    removeOnSuccess: true,
    removeOnFailure: true,
  });
  // Without a listener a dropped connection ends the process.
  queue.on('error', (error: Error) => core.log.debug({ lane, err: error }, 'the queue lost Redis'));
  queue.ready().then(
    () => {
      // Redis forgets scripts on a restart and on SCRIPT FLUSH, and every save would fail from then on.
      const { client } = queue as unknown as { client: NodeJS.EventEmitter };
      client.on('ready', () => lua.buildCache(client).catch(() => {}));
    },
    (error) => core.log.warn({ lane, err: error }, 'the queue cannot reach Redis'),
  );
  return queue;
}
