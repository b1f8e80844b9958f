import { startBench } from './processes.ts';
import { startVendor, submitMany } from './vendor-process.ts';

const tasks = 500;
const seconds = 60;

/** Calls that reach a dead vendor in a minute, with 500 tasks waiting for it. */
export async function benchBreaker(): Promise<void> {
  const vendor = await startVendor();
  const bench = await startBench({ worker: true, environment: vendor.environment });
  try {
    await submitMany(bench, 'dead', tasks);
    await new Promise((resolve) => setTimeout(resolve, seconds * 1000));
    const { dead } = await vendor.counts();
    const [row] = await bench.core.db.sql(`select count(*)::int as failed from task where status = 'FAILED'`);
    console.log(`  ${tasks} tasks for a dead vendor: ${dead} calls in ${seconds} s, ${row!.failed} tasks failed`);
  } finally {
    await bench.close();
    await vendor.close();
  }
}
