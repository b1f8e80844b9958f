import { setTimeout as wait } from 'node:timers/promises';

const pollMs = 20;

/**
 * Waits until `check` gives something truthy without throwing, and gives that. For states that no event tells of.
 * @throws what `check` threw last, or an Error, after `timeoutMs` (default 10 s).
 */
export async function eventually<Value>(
  check: () => Value | Promise<Value>,
  timeoutMs = 10_000,
): Promise<NonNullable<Value>> {
  const deadline = Date.now() + timeoutMs;
  for (;;) {
    let failure: unknown = new Error(`still not so after ${timeoutMs} ms: ${check}`);
    try {
      const value = await check();
      if (value) return value;
    } catch (error) {
      failure = error;
    }
    if (Date.now() >= deadline) throw failure;
    await wait(pollMs);
  }
}
