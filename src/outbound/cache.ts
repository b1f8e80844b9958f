/** Values that are dear to get, for some time, in this process. */
export interface Cache {
  /** @param signal ends what `make` does: a value that is given up with its maker is made anew for the others who wait for it. */
  cached<Value>(key: string, ttlMs: number, make: () => Promise<Value>, signal: AbortSignal): Promise<Value>;
}

interface Entry {
  until: number;
  value: Promise<unknown>;
  maker: AbortSignal;
}

/** Behind `cached` of the contexts of one credential. */
export function createCache(): Cache {
  const entries = new Map<string, Entry>();

  async function cached<Value>(
    key: string,
    ttlMs: number,
    make: () => Promise<Value>,
    signal: AbortSignal,
  ): Promise<Value> {
    const now = Date.now();
    const known = entries.get(key);
    if (known && known.until > now) {
      try {
        return (await known.value) as Value;
      } catch (error) {
        if (known.maker === signal || !known.maker.aborted || signal.aborted) throw error;
        return cached(key, ttlMs, make, signal);
      }
    }
    for (const [name, { until }] of entries) if (until <= now) entries.delete(name);
    const value = (async () => make())();
    const entry: Entry = { until: now + ttlMs, value, maker: signal };
    entries.set(key, entry);
    try {
      return await value;
    } catch (error) {
      if (entries.get(key) === entry) entries.delete(key);
      throw error;
    }
  }
  return { cached };
}
