import { setTimeout as pause } from 'node:timers/promises';
import type { Log } from './log.ts';
import { createLimits } from './outbound/limit.ts';
import { redacted } from './redact.ts';
import { type LoadedAdapter, type Registry, setModels } from './registry.ts';
import { openTimer } from './timer.ts';
import type { Vendors } from './vendor.ts';

const limits = createLimits();
const intervalMs = 600_000;
const askedForMs = 10_000;
/** A start does not wait longer for vendors; their models come when they come. */
const startWaitsMs = 3_000;

/**
 * Asks the adapters whose models are a function for them, now and every ten minutes. While one fails, what it last gave stays.
 * Resolves when all have answered, or after 3 s.
 */
export async function openModels(given: {
  registry: Registry;
  vendors: Vendors;
  log: Log;
}): Promise<{ close(): Promise<void> }> {
  const asked = given.registry.adapters.filter(
    ({ adapter, disabled }) => typeof adapter.models === 'function' && disabled === undefined,
  );
  if (asked.length === 0) return { close: async () => {} };
  const closing = new AbortController();
  let first: () => void;
  const answered = new Promise<void>((resolve) => {
    first = resolve;
  });
  const timer = openTimer(given.log, 'models', intervalMs, async () => {
    await Promise.all(asked.map((loaded) => ask(loaded, given, closing.signal)));
    first();
  });
  await Promise.race([answered, pause(startWaitsMs, undefined, { ref: false })]);
  return {
    close() {
      closing.abort();
      return timer.close();
    },
  };
}

async function ask(
  loaded: LoadedAdapter,
  { registry, vendors, log }: { registry: Registry; vendors: Vendors; log: Log },
  closing: AbortSignal,
): Promise<void> {
  const { adapter, credentials } = loaded;
  if (typeof adapter.models !== 'function') return;
  const limit = limits.open([closing]);
  try {
    limit.expireIn(askedForMs);
    const context = vendors.open(loaded, credentials[0]!, { signal: limit.signal });
    setModels(registry, loaded, await adapter.models(context));
  } catch (error) {
    if (closing.aborted) return;
    const why = credentials.reduce((text, { secrets }) => redacted(secrets)(text), String(error));
    log.warn({ provider: adapter.name }, `the models of ${adapter.name} are not known, it is asked again: ${why}`);
  } finally {
    limit.release();
  }
}
