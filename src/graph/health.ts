import { type Health, readHealth } from '../health.ts';
import { toId } from '../id.ts';
import type { Graph } from './graph.ts';

/** Health, `health`. */
export function addHealth({ builder }: Graph, { Lane }: { Lane: any }): void {
  const Status = builder.enumType('HealthStatus', {
    description: 'How something is.',
    values: {
      HEALTHY: { description: 'It answers.' },
      DEGRADED: { description: 'Work goes on, slower or without some part.' },
      DOWN: { description: 'It does not answer.' },
    },
  });
  const Worker = builder.objectRef<Health['workers'][number]>('Worker').implement({
    description: 'A worker process that was seen within 15 s.',
    fields: (t) => ({
      id: t.id({
        description: 'Id of the process; a new one at each start.',
        resolve: (worker) => toId('Worker', worker.id),
      }),
      host: t.exposeString('host', { description: 'Its machine.' }),
      startedAt: t.expose('startedAt', { type: 'DateTime', description: 'When it started.' }),
      seenAt: t.expose('seenAt', { type: 'DateTime', description: 'When it last gave a sign of life.' }),
      processing: t.exposeInt('processing', { description: 'How many tasks it is at.' }),
    }),
  });
  const Load = builder.objectRef<Health['load']>('Load').implement({
    description: 'How busy the machine of the API process is.',
    fields: (t) => ({
      cpuPercent: t.exposeFloat('cpuPercent', {
        description: 'Of all its cores, 0 to 100, over the last second or so.',
      }),
      memoryPercent: t.exposeFloat('memoryPercent', { description: 'Of its memory, 0 to 100.' }),
      gpuUtilization: t.exposeFloatList('gpuUtilization', {
        description: 'Of each GPU, 0 to 100; empty where none is seen.',
      }),
    }),
  });
  const status = (field: 'status' | 'postgres' | 'redis' | 'storage', description: string) => ({
    type: Status,
    description,
    resolve: (health: Health) => health[field],
  });
  const HealthRef = builder.objectRef<Health>('Health').implement({
    description: 'How the installation is, as this API process sees it; at most a second old.',
    fields: (t) => ({
      status: t.field(status('status', 'DOWN without Postgres; DEGRADED without Redis, storage or a worker.')),
      postgres: t.field(status('postgres', 'The database: nothing goes without it.')),
      redis: t.field(status('redis', 'Wake-ups: without them everything takes seconds longer.')),
      storage: t.field(status('storage', 'Where files are kept.')),
      lanes: t.field({
        type: [Lane],
        description: 'The queues; empty while Postgres is down.',
        resolve: (health) => health.lanes as never,
      }),
      workers: t.field({
        type: [Worker],
        description: 'The worker processes; empty while Postgres is down.',
        resolve: (health) => health.workers,
      }),
      load: t.field({ type: Load, description: 'How busy this machine is.', resolve: (health) => health.load }),
      uptimeSeconds: t.expose('uptimeSeconds', { type: 'SafeInt', description: 'Since this API process started.' }),
      version: t.exposeString('version', { description: "Atelier's." }),
    }),
  });
  builder.queryField('health', (t) =>
    t.field({
      type: HealthRef,
      description: 'How the installation is. Any scope.',
      resolve: (_root, _args, { core }) => readHealth(core),
    }),
  );
}
