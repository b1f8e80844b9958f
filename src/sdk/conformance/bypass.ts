import { AsyncLocalStorage } from 'node:async_hooks';

const own = new AsyncLocalStorage<string[]>();
/** Lists of all that run at this time: the last one to end gives the global fetch back. */
const running = new Set<string[]>();
let real = globalThis.fetch;

/**
 * Runs it with the global fetch taken away: what asks for that goes past the guard, and would reach the vendor. Several can run at once.
 * @param run is given a list, which grows by a line for each call.
 */
export async function withoutFetch<Value>(run: (bypasses: string[]) => Promise<Value>): Promise<Value> {
  const bypasses: string[] = [];
  if (running.size === 0) {
    real = globalThis.fetch;
    globalThis.fetch = refuse;
  }
  running.add(bypasses);
  try {
    return await own.run(bypasses, () => run(bypasses));
  } finally {
    running.delete(bypasses);
    if (running.size === 0) globalThis.fetch = real;
  }
}

const refuse: typeof fetch = async (input) => {
  const line = `it calls fetch itself, for ${input instanceof Request ? input.url : input}`;
  const caller = own.getStore();
  // A library may have lost sight of its caller: it is one of them.
  for (const bypasses of caller ? [caller] : running) bypasses.push(line);
  throw new Error('use context.fetch');
};
