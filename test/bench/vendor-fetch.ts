import { fork } from 'node:child_process';
import { once } from 'node:events';
import { Agent, request } from 'undici';
import type { Adapter, AdapterFetch } from '../../src/sdk/index.ts';
import { createVendors } from '../../src/vendor.ts';

const workers = 16;
const warm = 500;
const requests = 4_000;
const rounds = 3;
const body = JSON.stringify({ prompt: 'x'.repeat(200) });
const headers = { 'content-type': 'application/json' };

/** The adapters' fetch beside undici and Node's fetch, against a server of its own process, in one run: what the guards cost. */
export async function benchVendorFetch(): Promise<void> {
  const server = fork(new URL('./vendor-fetch-server.ts', import.meta.url), { execArgv: ['--import', 'tsx'] });
  const [port] = (await once(server, 'message')) as [number];
  const url = `http://127.0.0.1:${port}/`;
  const vendors = createVendors({ allowedHosts: [], redis: undefined as never, prefix: 'bench' });
  const adapter = { name: 'bench', hosts: () => ['127.0.0.1'], privateHosts: () => ['127.0.0.1'] } as Partial<Adapter>;
  const loaded = { adapter: adapter as Adapter, config: {}, credentials: [], models: [] };
  const signal = new AbortController().signal;
  const { fetch: vendorFetch } = vendors.open(loaded, { id: 'bench', secrets: {} }, { signal });
  const kept = new Agent();
  const fresh = new Agent({ pipelining: 0 });

  const plain = (agent: Agent, options: object) => async () =>
    (await request(url, { dispatcher: agent, ...options })).body.json();
  const post = { method: 'POST', headers, body };
  const guarded = (fetch: AdapterFetch, options: object) => async () => (await fetch(url, options)).json();
  const native = (options: object) => async () => (await fetch(url, options)).json();
  const rows: [string, () => Promise<unknown>][] = [
    ['GET, undici', plain(kept, {})],
    ['GET, context.fetch', guarded(vendorFetch, {})],
    ["GET, Node's fetch", native({})],
    ['POST, undici, a connection each', plain(fresh, post)],
    ['POST, context.fetch', guarded(vendorFetch, { headers, body })],
    ["POST, Node's fetch, a connection each", native({ ...post, headers: { ...headers, connection: 'close' } })],
    ['POST, undici, connections kept', plain(kept, post)],
  ];
  for (const [, one] of rows) await measure(one, warm);
  // In turn, so that what else the machine does meets all alike.
  const best = new Map<string, Figures>();
  for (let round = 0; round < rounds; round++) {
    for (const [name, one] of rows) {
      const figures = await measure(one, requests);
      if (figures.cpuMicros < (best.get(name)?.cpuMicros ?? Infinity)) best.set(name, figures);
    }
  }
  console.log(`  ${workers} at a time, ${requests} requests, the best of ${rounds} rounds`);
  for (const [name] of rows) {
    const { perSecond, cpuMicros } = best.get(name)!;
    const base = best.get(rows[name.startsWith('GET') ? 0 : 3]![0])!;
    console.log(
      `  ${name.padEnd(38)} ${String(Math.round(perSecond)).padStart(6)}/s  ${cpuMicros.toFixed(0).padStart(5)} µs CPU each  ×${(cpuMicros / base.cpuMicros).toFixed(2)}`,
    );
  }
  await Promise.all([vendors.close(), kept.destroy(), fresh.destroy()]);
  server.disconnect();
}

interface Figures {
  perSecond: number;
  cpuMicros: number;
}

async function measure(one: () => Promise<unknown>, count: number): Promise<Figures> {
  let left = count;
  const cpu = process.cpuUsage();
  const begun = performance.now();
  const worker = async () => {
    while (left-- > 0) await one();
  };
  await Promise.all(Array.from({ length: workers }, worker));
  const seconds = (performance.now() - begun) / 1000;
  const { user, system } = process.cpuUsage(cpu);
  return { perSecond: count / seconds, cpuMicros: (user + system) / count };
}
