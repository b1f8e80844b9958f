import { startBench } from './processes.ts';
import { counted, startVendor, submitMany } from './vendor-process.ts';

const tasks = 2_000;
const rounds = 3;

/** Tasks per second through an adapter whose vendor answers at once over HTTP, beside one that answers without a vendor. */
export async function benchOverhead(): Promise<void> {
  const vendor = await startVendor();
  const bench = await startBench({ worker: true, environment: vendor.environment });
  try {
    const perSecond = async (provider: string) => {
      await bench.core.db.sql('truncate task, task_event, attempt, idempotency_key, webhook_delivery, asset');
      await bench.core.db.sql(`update lane set paused = true`);
      await submitMany(bench, provider, tasks);
      const begun = performance.now();
      await bench.core.db.sql(`update lane set paused = false`);
      await counted(bench, `task where status = 'COMPLETED'`, tasks);
      return (tasks / (performance.now() - begun)) * 1000;
    };
    await perSecond('scripted');
    for (let round = 0; round < rounds; round++) {
      const [without, through] = [await perSecond('scripted'), await perSecond('instant')];
      console.log(
        `  ${tasks} tasks: scripted ${without.toFixed(0)}/s, instant vendor ${through.toFixed(0)}/s; a task through the vendor costs ${(without / through).toFixed(2)} times one without`,
      );
    }
  } finally {
    await bench.close();
    await vendor.close();
  }
}
