import type { LookupFunction } from 'node:net';
import type { Redis } from 'ioredis';
import { type Cache, createCache } from './outbound/cache.ts';
import { systemLookup } from './outbound/connect.ts';
import { type Network, openNetwork } from './outbound/network.ts';
import { openRate, type Rate } from './outbound/rate.ts';
import { vendorSocket } from './outbound/socket.ts';
import { vendorFetch } from './outbound/vendor-fetch.ts';
import type { Credential, LoadedAdapter } from './registry.ts';
import type { AdapterContext, AdapterFetch, VendorContext } from './sdk/index.ts';

/** The way to the vendors: the guarded network of each adapter, and the rate that each credential is held to. */
export interface Vendors {
  /** @param options.timeoutMs of `fetch`, where the adapter names none. Default 30,000. */
  open(
    loaded: LoadedAdapter,
    credential: Credential,
    options: { signal: AbortSignal; timeoutMs?: number },
  ): VendorContext & Pick<AdapterContext, 'socket'>;
  /** `fetch` to where the adapter's outputs may be. */
  openAssets(loaded: LoadedAdapter, signal: AbortSignal): AdapterFetch;
  /** Ends every connection and what is under way on it: as a NetworkFailure. */
  close(): Promise<void>;
}

const defaultTimeoutMs = 30_000;

/**
 * @param options.allowedHosts hosts that may be private for every adapter.
 * @param options.lookup in the manner of `dns.lookup`. Default: the system's resolver.
 */
export function createVendors(options: {
  allowedHosts: string[];
  redis: Redis;
  prefix: string;
  lookup?: LookupFunction;
}): Vendors {
  const networks = new Map<LoadedAdapter, Network>();
  const credentials = new Map<string, { rate: Rate | undefined; cache: Cache }>();

  const networkOf = (loaded: LoadedAdapter): Network => {
    const known = networks.get(loaded);
    if (known) return known;
    const { adapter, config } = loaded;
    const hosts = adapter.hosts?.(config) ?? [];
    const network = openNetwork({
      hosts,
      assetHosts: adapter.assetHosts?.(config) ?? hosts,
      privateHosts: [...options.allowedHosts, ...(adapter.privateHosts?.(config) ?? [])],
      lookup: options.lookup ?? systemLookup,
    });
    networks.set(loaded, network);
    return network;
  };

  /** What all work with one credential shares in this process. */
  const sharedBy = ({ adapter }: LoadedAdapter, { id }: Credential) => {
    const key = `${adapter.name}:${id}`;
    const known = credentials.get(key);
    if (known) return known;
    const perSecond = adapter.limits?.requestsPerSecond;
    const shared = {
      rate: perSecond === undefined ? undefined : openRate(options.redis, `${options.prefix}:rate:${key}`, perSecond),
      cache: createCache(),
    };
    credentials.set(key, shared);
    return shared;
  };

  return {
    open(loaded, credential, { signal, timeoutMs = defaultTimeoutMs }) {
      const network = networkOf(loaded);
      const { rate, cache } = sharedBy(loaded, credential);
      const turn = rate?.turn;
      return {
        config: loaded.config,
        secrets: credential.secrets,
        signal,
        fetch: vendorFetch(network, { refuses: network.refuses, signal, timeoutMs, turn }),
        cached: (key, ttlMs, make) => cache.cached(key, ttlMs, make, signal),
        socket: (url, { headers } = {}) => vendorSocket(network, url, { headers, signal, turn }),
      };
    },
    openAssets(loaded, signal) {
      const network = networkOf(loaded);
      return vendorFetch(network, { refuses: network.refusesAsset, signal, timeoutMs: defaultTimeoutMs });
    },
    async close() {
      await Promise.all([...networks.values()].map((network) => network.close()));
    },
  };
}
