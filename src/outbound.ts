import type { LookupFunction } from 'node:net';
import { OutsideError } from './errors.ts';
import { addressRefusal } from './outbound/address.ts';
import { guardedAgent, systemLookup } from './outbound/connect.ts';
import { describe, exchange, follow, type Hop, isRedirect, type OutboundResponse } from './outbound/exchange.ts';
import { createLimits } from './outbound/limit.ts';
import { hostnameOf, hostTest, portOf } from './sdk/hosts.ts';

export type { OutboundResponse } from './outbound/exchange.ts';

export interface Outbound {
  /**
   * What is wrong with a URL that a client gave, in words for him, or null. Looks at scheme, credentials and literal addresses;
   * names are resolved and checked when the request is made.
   */
  refuses(url: string): string | null;
  /**
   * fetch under the trust rule: public unicast addresses only, redirects checked hop by hop (or not followed), limits on bytes and time.
   * Any status is an answer. Read the body to its end, or `discard` it.
   * @throws OutsideError that names method, host and path, never the query: it may hold a signature.
   */
  fetch(url: string, options: OutboundOptions): Promise<OutboundResponse>;
  /** Ends every connection. */
  close(): Promise<void>;
}

export interface OutboundOptions {
  method?: 'GET' | 'POST' | 'PUT' | 'HEAD';
  headers?: Record<string, string>;
  body?: string | Uint8Array;
  /** The whole exchange, body included. */
  timeoutMs: number;
  /** The body, as decoded, is cut with an OutsideError beyond it. */
  maxBytes: number;
  /** Default 0: a redirect is the answer. */
  maxRedirects?: number;
  signal?: AbortSignal;
}

/**
 * @param options.allowedHosts hosts that may be private all the same, as `media.internal` (any port) or `127.0.0.1:9000`.
 * @param options.lookup resolves names, in the manner of `dns.lookup`. Default: the system's resolver.
 */
export function createOutbound(options: { allowedHosts: string[]; lookup?: LookupFunction }): Outbound {
  const allows = hostTest(options.allowedHosts);
  const limits = createLimits();
  const agent = guardedAgent({ allows, lookup: options.lookup ?? systemLookup });

  const refuses = (text: string): string | null => {
    if (!URL.canParse(text)) return 'must be a whole URL, as https://example.com/file';
    const url = new URL(text);
    if (url.protocol !== 'https:' && url.protocol !== 'http:') return 'must begin with https:// or http://';
    if (url.username || url.password) return 'must not hold a user name or password';
    // The URL parser has by now turned 0x7f.1, 2130706433 and their like into plain addresses.
    const hostname = hostnameOf(url);
    if (allows(hostname, portOf(url))) return null;
    if (hostname === 'localhost' || hostname.endsWith('.localhost')) return 'must have a public host, not this machine';
    const refusal = /^[\d.]+$|:/.test(hostname) ? addressRefusal(hostname) : null;
    return refusal ? `must have a public host: ${hostname} is ${refusal}` : null;
  };

  return {
    refuses,
    async fetch(url, given) {
      // Not released: it also ends a body that is still being read, and is gone when its time is over.
      const limit = limits.open(given.signal ? [given.signal] : []);
      limit.expireIn(given.timeoutMs);
      const { signal } = limit;
      let hop: Hop = {
        url,
        method: given.method ?? 'GET',
        headers: { 'user-agent': 'Atelier', 'accept-encoding': 'identity', ...given.headers },
        body: given.body,
      };
      for (let redirects = 0; ; redirects++) {
        const refusal = refuses(hop.url);
        if (refusal) throw new OutsideError(`${describe(hop)}: the URL ${refusal}`, { retryable: false });
        const response = await exchange(hop, { agent, signal, maxBytes: given.maxBytes });
        if (!given.maxRedirects || !isRedirect(response)) return response;
        response.discard();
        if (redirects === given.maxRedirects)
          throw new OutsideError(`${describe(hop)}: more than ${given.maxRedirects} redirects`, { retryable: false });
        hop = follow(hop, response);
      }
    },
    close() {
      limits.close();
      return agent.close();
    },
  };
}
