import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client';
import type { Core } from './core.ts';
import { readHealth } from './health.ts';
import { restingProviders } from './lifecycle/circuit.ts';

/** What an API process counts for Prometheus. */
export interface Metrics {
  httpSeconds: Histogram<'path' | 'status'>;
  graphqlSeconds: Histogram<'operation' | 'outcome'>;
  /** `outcome`: CREATED, REPLAYED, or the code of the refusal. */
  submits: Counter<'outcome'>;
  subscribers: Gauge<'transport'>;
  /** Content type and text of GET /metrics. Never throws while something outside is away. */
  read(): Promise<{ contentType: string; text: string }>;
}

export function createMetrics(core: Core): Metrics {
  const register = new Registry();
  const registers = [register];
  collectDefaultMetrics({ register });
  const buckets = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5];
  new Gauge({
    name: 'atelier_up',
    help: '1 when the part answers.',
    labelNames: ['part'],
    registers,
    async collect() {
      const { postgres, redis, storage } = await readHealth(core);
      for (const [part, status] of Object.entries({ postgres, redis, storage }))
        this.set({ part }, status === 'HEALTHY' ? 1 : 0);
    },
  });
  new Gauge({
    name: 'atelier_lane_tasks',
    help: 'Tasks in a lane, by state; queued ones are counted to 10,000.',
    labelNames: ['lane', 'state'],
    registers,
    async collect() {
      this.reset();
      for (const { name, queued, processing } of (await readHealth(core)).lanes) {
        this.set({ lane: name, state: 'queued' }, queued);
        this.set({ lane: name, state: 'processing' }, processing);
      }
    },
  });
  new Gauge({
    name: 'atelier_workers',
    help: 'Worker processes seen within 15 s.',
    registers,
    async collect() {
      this.set((await readHealth(core)).workers.length);
    },
  });
  new Gauge({
    name: 'atelier_provider_rests',
    help: '1 for a provider that is not called for now, since it failed or refused every credential.',
    labelNames: ['provider'],
    registers,
    async collect() {
      const resting = await restingProviders(core).catch(() => new Set());
      for (const { adapter } of core.registry.adapters)
        this.set({ provider: adapter.name }, resting.has(adapter.name) ? 1 : 0);
    },
  });
  new Gauge({
    name: 'atelier_reviews',
    help: 'Tasks whose paid answer was lost, and that wait for reviewTask.',
    registers,
    async collect() {
      const [row] = await core.db
        .sql<{ count: number }>('select count(*)::int as count from task where needs_review', [], 'reviews')
        .catch(() => []);
      if (row) this.set(row.count);
    },
  });
  return {
    httpSeconds: new Histogram({
      name: 'atelier_http_seconds',
      help: 'HTTP requests, streams excepted.',
      labelNames: ['path', 'status'],
      buckets,
      registers,
    }),
    graphqlSeconds: new Histogram({
      name: 'atelier_graphql_seconds',
      help: 'GraphQL queries and mutations.',
      labelNames: ['operation', 'outcome'],
      buckets,
      registers,
    }),
    submits: new Counter({
      name: 'atelier_submits_total',
      help: 'Tasks asked for, by outcome.',
      labelNames: ['outcome'],
      registers,
    }),
    subscribers: new Gauge({
      name: 'atelier_subscribers',
      help: 'Open streams: SSE responses and WebSockets.',
      labelNames: ['transport'],
      registers,
    }),
    async read() {
      return { contentType: register.contentType, text: await register.metrics() };
    },
  };
}

/** What a worker process tells Prometheus. */
export function workerMetrics(running: () => number): Pick<Metrics, 'read'> & { pollLagSeconds: Histogram } {
  const register = new Registry();
  collectDefaultMetrics({ register });
  new Gauge({
    name: 'atelier_worker_running',
    help: 'Attempts and looks at vendor jobs under way in this process.',
    registers: [register],
    collect() {
      this.set(running());
    },
  });
  const pollLagSeconds = new Histogram({
    name: 'atelier_poll_lag_seconds',
    help: "How late vendors' jobs are looked at.",
    buckets: [0.1, 0.25, 0.5, 0.75, 1, 1.5, 2, 3, 5, 10, 30, 60],
    registers: [register],
  });
  return {
    pollLagSeconds,
    async read() {
      return { contentType: register.contentType, text: await register.metrics() };
    },
  };
}
