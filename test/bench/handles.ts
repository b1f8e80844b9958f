import { freePort } from '../../src/embedded/port.ts';
import { createTask } from '../../src/lifecycle/create.ts';
import { type Bench, percentile, residentMegabytes, startBench } from './processes.ts';
import { counted, startVendor, submitMany } from './vendor-process.ts';

const few = 1_000;
const handles = 10_000;
const seconds = 30;

/** 10,000 jobs at a vendor on one worker: what they cost, how late they are looked at, and what new tasks feel of it. */
export async function benchHandles(): Promise<void> {
  for (const callbacks of [false, true]) await run(callbacks);
}

async function run(callbacks: boolean): Promise<void> {
  const vendor = await startVendor();
  const workerPort = await freePort();
  const apiPort = await freePort();
  const bench = await startBench({
    worker: true,
    environment: {
      ...vendor.environment,
      ATELIER_WORKER_PORT: String(workerPort),
      ATELIER_PORT: String(apiPort),
      ATELIER_LONGEST_RUN_SECONDS: 'generate_text=3600',
      ...(callbacks && { ATELIER_PUBLIC_URL: `http://127.0.0.1:${apiPort}` }),
    },
  });
  try {
    console.log(`  ${handles} handles, ${callbacks ? 'the vendor calls back' : 'polled'}`);
    await submitMany(bench, 'scripted', 500);
    await counted(bench, `task where status = 'COMPLETED'`, 500);
    const idle = await latencies(bench, 5);
    await submitMany(bench, 'slow', few);
    await latencies(bench, 20);
    const before = residentMegabytes(bench.worker!);
    const begun = performance.now();
    await submitMany(bench, 'slow', handles - few);
    await counted(bench, `attempt where phase = 'parked'`, handles);
    console.log(`    ${handles - few} more at the vendor after ${((performance.now() - begun) / 1000).toFixed(1)} s`);
    await readMetrics(workerPort);
    const polled = (await vendor.counts()).polls;
    const busy = await latencies(bench, seconds);
    const { pollLag, loopDelayMs } = await readMetrics(workerPort);
    const after = residentMegabytes(bench.worker!);
    const polls = (await vendor.counts()).polls - polled;
    console.log(
      `    worker ${before} MB with ${few} handles, ${after} MB with ${handles}: ${(Math.max(0, (after - before) * 1024) / (handles - few)).toFixed(1)} KB a handle; ${(polls / seconds).toFixed(0)} looks/s, at most ${pollLag} s late for 99 % of them; event loop p99 ${loopDelayMs} ms`,
    );
    console.log(
      `    new tasks meanwhile, create → COMPLETED: p50 ${busy.p50.toFixed(0)} ms p99 ${busy.p99.toFixed(0)} ms; without handles p50 ${idle.p50.toFixed(0)} ms p99 ${idle.p99.toFixed(0)} ms`,
    );
    const ended = performance.now();
    await vendor.finish();
    await counted(bench, `task where status = 'COMPLETED' and provider = 'slow'`, handles);
    console.log(`    all completed ${((performance.now() - ended) / 1000).toFixed(1)} s after the vendor was done`);
  } finally {
    await bench.close();
    await vendor.close();
  }
}

/** New tasks, five a second, for so many seconds: how long each takes from its creation to its end, by the database's clock. */
async function latencies(bench: Bench, forSeconds: number): Promise<{ p50: number; p99: number }> {
  const { accountId, projectId } = await bench.createKey();
  const input = { prompt: 'a bench' };
  const request = { type: 'generate_text', provider: 'scripted', input, sent: input };
  const count = forSeconds * 5;
  for (let n = 0; n < count; n++) {
    await createTask(bench.core, { accountId, projectId }, request);
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
  await counted(bench, `task where account_id = '${accountId}' and status = 'COMPLETED'`, count);
  const rows = await bench.core.db.sql<{ ms: number }>(
    `select (extract(epoch from completed_at - created_at) * 1000)::float8 as ms from task where account_id = $1 order by 1`,
    [accountId],
  );
  const times = rows.map(({ ms }) => ms);
  return { p50: percentile(times, 0.5), p99: percentile(times, 0.99) };
}

let lastBuckets: { [edge: string]: number } = {};

/** Since the last call: the upper edge of the bucket in which the 99th percentile of the lag lies, and the loop's delay. */
async function readMetrics(port: number): Promise<{ pollLag: string; loopDelayMs: string }> {
  const text = await (await fetch(`http://127.0.0.1:${port}/metrics`)).text();
  const buckets = Object.fromEntries(
    [...text.matchAll(/^atelier_poll_lag_seconds_bucket\{le="([^"]+)"\} (\d+)/gm)].map(([, edge, count]) => [
      edge!,
      Number(count),
    ]),
  );
  const since = Object.entries(buckets).map(([edge, count]) => [edge, count - (lastBuckets[edge] ?? 0)] as const);
  lastBuckets = buckets;
  const all = since.at(-1)?.[1] ?? 0;
  const pollLag = since.find(([, count]) => count >= all * 0.99)?.[0] ?? '?';
  const loop = /^nodejs_eventloop_lag_p99_seconds ([\d.e-]+)/m.exec(text)?.[1];
  return { pollLag, loopDelayMs: (Number(loop) * 1000).toFixed(0) };
}
