import { once } from 'node:events';
import { type Bench, startProcess, stop } from './processes.ts';

export interface VendorProcess {
  url: string;
  counts(): Promise<{ starts: number; polls: number; dead: number; callbacks: number }>;
  /** Ends every job, and calls back where that was asked for. */
  finish(): Promise<void>;
  /** For the environment of a bench: the adapters of test/bench/vendor.ts go there. */
  environment: { [name: string]: string };
  close(): Promise<void>;
}

export async function startVendor(): Promise<VendorProcess> {
  const child = startProcess(['test/bench/vendor-server.ts'], {}, 'pipe');
  const [port] = await once(child.stdout!, 'data');
  const url = `http://127.0.0.1:${String(port).trim()}`;
  const config = JSON.stringify({ baseUrl: url });
  return {
    url,
    counts: async () => (await fetch(`${url}/counts`)).json(),
    finish: async () => void (await fetch(`${url}/finish`, { method: 'POST' })),
    environment: { ATELIER_ADAPTER_INSTANT: config, ATELIER_ADAPTER_SLOW: config, ATELIER_ADAPTER_DEAD: config },
    close: () => stop(child),
  };
}

/** Creates tasks of generate_text at one provider, 32 at once, past the API. */
export async function submitMany(bench: Bench, provider: string, count: number): Promise<void> {
  const { accountId, projectId } = await bench.createKey();
  const { createTask } = await import('../../src/lifecycle/create.ts');
  const input = { prompt: 'a bench' };
  let left = count;
  await Promise.all(
    Array.from({ length: 32 }, async () => {
      while (left-- > 0)
        await createTask(bench.core, { accountId, projectId }, { type: 'generate_text', provider, input, sent: input });
    }),
  );
}

/** Resolves when this many tasks have the status, or the attempts the phase. */
export async function counted(bench: Bench, condition: string, count: number): Promise<void> {
  for (;;) {
    const [row] = await bench.core.db.sql<{ count: number }>(`select count(*)::int as count from ${condition}`);
    if (row!.count >= count) return;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}
