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

/** Claims at once. A lane's own concurrency, which Bee-Queue could not change at run time, is kept by dispatch. */
const concurrencyCeiling = 32;
const stallIntervalMs = 5_000;
const retryDelayMs = 200;

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
      if (!queue || !clientOf(queue)?.ready) return;
      const rows = jobs.map((job) => queue.createJob(job).setId(`${job.taskId}:${job.dispatch}`));
      let failures = await queue.saveAll(rows);
      if ([...failures.values()].some(isNoScript)) {
        await loadScripts(queue);
        failures = await queue.saveAll([...failures.keys()]);
      }
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
  // Bee-Queue doubles one delay for all that wait, without a ceiling: after a few lost connections they would sleep for days.
  Object.defineProperty(queue, '_redisFailureRetryDelay', { get: () => retryDelayMs, set: () => {} });
  // Without a listener a dropped connection ends the process.
  queue.on('error', (error: Error) => {
    core.log.debug({ lane, err: error }, 'the queue lost Redis');
    if (isNoScript(error)) loadScripts(queue).catch(() => {});
  });
  queue.ready().then(
    () => {
      // Redis forgets scripts when it starts again, and every save would fail from then on.
      clientOf(queue).on('ready', () => loadScripts(queue).catch(() => {}));
    },
    (error) => core.log.warn({ lane, err: error }, 'the queue cannot reach Redis'),
  );
  return queue;
}

type Client = NodeJS.EventEmitter & { ready: boolean };

const clientOf = (queue: BeeQueue<Job>): Client => (queue as unknown as { client: Client }).client;

const loadScripts = (queue: BeeQueue<Job>): Promise<unknown> => lua.buildCache(clientOf(queue));

/** After SCRIPT FLUSH, which no connection is told of. */
const isNoScript = (error: Error): boolean => (error as { code?: unknown }).code === 'NOSCRIPT';
