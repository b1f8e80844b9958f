import type { Attempt, Task } from '../src/db.ts';
import { fromId } from '../src/id.ts';
import { setRoute } from '../src/lifecycle/routes.ts';
import type { Adapter } from '../src/sdk/index.ts';
import { tasksOf } from './adapters/tasks.ts';
import { createTestBed, eventually, type TestBed } from './kit.ts';
import { vendorAdapter } from './vendor-adapter.ts';

/** A bed with one vendor; its lane lets many tasks go at once. */
export async function open(
  manifest: Partial<Adapter> = {},
  environment: Record<string, string> = {},
  adapters: Adapter[] = [],
) {
  const vendor = vendorAdapter(manifest);
  const bed = await createTestBed({
    adapters: [vendor.adapter, ...adapters],
    environment: {
      ATELIER_LEASE_SECONDS: '3',
      ATELIER_LANE_CONCURRENCY: 'cpu_intensive=50',
      VENDOR_KEY: 'secret-one',
      ...environment,
    },
  });
  await setRoute(bed.core, 'generate_text', [{ provider: 'vendor', model: null }]);
  return { vendor, bed };
}

export const text = { generateText: { prompt: 'a poem' } };
export const submit = async (bed: TestBed): Promise<string> => fromId('Task', await tasksOf(() => bed).submit(text))!;

export const read = async (bed: TestBed, id: string): Promise<Task> =>
  (await bed.sql<Task>('select * from task where id = $1', [id]))[0]!;
export const attempts = (bed: TestBed, id: string) =>
  bed.sql<Attempt>('select * from attempt where task_id = $1 order by number', [id]);
export const settled = (bed: TestBed, id: string): Promise<Task> =>
  eventually(async () => {
    const task = await read(bed, id);
    return task.completedAt || task.needsReview ? task : null;
  }, 15_000);
