import type { LookupFunction } from 'node:net';
import { pipeline, type Readable, type Transform } from 'node:stream';
import { createBrotliDecompress, createGunzip, createInflate } from 'node:zlib';
import { type Agent, request } from 'undici';
import { OutsideError } from './errors.ts';
import { addressRefusal } from './outbound/address.ts';
import { guardedAgent, systemLookup } from './outbound/connect.ts';

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

export interface OutboundResponse {
  status: number;
  headers: Headers;
  /** The address after redirects. */
  url: string;
  body: AsyncIterable<Uint8Array>;
  text(): Promise<string>;
  /** Ends the exchange with the body unread. */
  discard(): void;
}

/**
 * @param options.allowedHosts hosts that may be private all the same, as `media.internal` (any port) or `127.0.0.1:9000`.
 * @param options.lookup resolves names, in the manner of `dns.lookup`. Default: the system's resolver.
 */
export function createOutbound(options: { allowedHosts: string[]; lookup?: LookupFunction }): Outbound {
  const allowed = new Set(options.allowedHosts.map((host) => host.toLowerCase().replace(/^\[([^\]]*)\]/, '$1')));
  const allows = (hostname: string, port: string) => allowed.has(hostname) || allowed.has(`${hostname}:${port}`);
  const agent = guardedAgent({ allows, lookup: options.lookup ?? systemLookup });

  const refuses = (text: string): string | null => {
    if (!URL.canParse(text)) return 'must be a whole URL, as https://example.com/file';
    const url = new URL(text);
    if (url.protocol !== 'https:' && url.protocol !== 'http:') return 'must begin with https:// or http://';
    if (url.username || url.password) return 'must not hold a user name or password';
    // The URL parser has by now turned 0x7f.1, 2130706433 and their like into plain addresses.
    const hostname = url.hostname.replace(/^\[|\]$/g, '').replace(/\.$/, '');
    if (allows(hostname, portOf(url))) return null;
    if (hostname === 'localhost' || hostname.endsWith('.localhost')) return 'must have a public host, not this machine';
    const refusal = /^[\d.]+$|:/.test(hostname) ? addressRefusal(hostname) : null;
    return refusal ? `must have a public host: ${hostname} is ${refusal}` : null;
  };

  return {
    refuses,
    async fetch(url, given) {
      const signal = AbortSignal.any([AbortSignal.timeout(given.timeoutMs), ...(given.signal ? [given.signal] : [])]);
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
        const location = response.headers.get('location');
        if (!given.maxRedirects || !location || ![301, 302, 303, 307, 308].includes(response.status)) return response;
        response.discard();
        if (redirects === given.maxRedirects)
          throw new OutsideError(`${describe(hop)}: more than ${given.maxRedirects} redirects`, { retryable: false });
        hop = follow(hop, response.status, location);
      }
    },
    close: () => agent.close(),
  };
}

interface Hop {
  url: string;
  method: string;
  headers: Record<string, string>;
  body?: string | Uint8Array;
}

async function exchange(
  hop: Hop,
  options: { agent: Agent; signal: AbortSignal; maxBytes: number },
): Promise<OutboundResponse> {
  const failed = (cause: any): OutsideError => {
    if (cause instanceof OutsideError)
      return new OutsideError(`${describe(hop)}: ${cause.message}`, { retryable: cause.retryable, cause });
    const reason = options.signal.aborted ? options.signal.reason : cause;
    const timedOut = reason?.name === 'TimeoutError';
    return new OutsideError(
      `${describe(hop)}: ${timedOut ? 'timed out' : (reason?.code ?? reason?.message ?? 'failed')}`,
      { retryable: true, cause: reason },
    );
  };
  const answer = await request(hop.url, {
    method: hop.method as 'GET',
    headers: hop.headers,
    body: hop.body,
    dispatcher: options.agent,
    signal: options.signal,
  }).catch((cause) => {
    throw failed(cause);
  });
  const headers = new Headers();
  for (const [name, value] of Object.entries(answer.headers))
    for (const one of [value ?? []].flat()) headers.append(name, one);
  const discard = () => void answer.body.on('error', () => {}).destroy();
  const decoder = decoderOf(headers.get('content-encoding'));
  if (decoder === undefined) {
    discard();
    throw new OutsideError(`${describe(hop)}: unknown content-encoding ${headers.get('content-encoding')}`, {
      retryable: false,
    });
  }
  const body = limited(
    decoder ? pipeline(answer.body, decoder, () => {}) : answer.body,
    options.maxBytes,
    failed,
    discard,
  );
  return {
    status: answer.statusCode,
    headers,
    url: hop.url,
    body,
    discard,
    async text() {
      const chunks: Uint8Array[] = [];
      for await (const chunk of body) chunks.push(chunk);
      return Buffer.concat(chunks).toString('utf8');
    },
  };
}

/** Counts what comes out of the decoder, so that a small body cannot unfold into a large one. */
async function* limited(
  source: Readable,
  maxBytes: number,
  failed: (cause: unknown) => OutsideError,
  discard: () => void,
): AsyncIterable<Uint8Array> {
  let size = 0;
  try {
    for await (const chunk of source) {
      size += chunk.length;
      if (size > maxBytes) throw new OutsideError(`the answer is larger than ${maxBytes} bytes`, { retryable: false });
      yield chunk;
    }
  } catch (cause) {
    throw failed(cause);
  } finally {
    discard();
  }
}

/** identity was asked for; some object stores send what was stored compressed all the same. Null = none needed. */
function decoderOf(encoding: string | null): Transform | null | undefined {
  switch (encoding?.trim().toLowerCase() || 'identity') {
    case 'identity':
      return null;
    case 'gzip':
    case 'x-gzip':
      return createGunzip();
    case 'deflate':
      return createInflate();
    case 'br':
      return createBrotliDecompress();
    default:
      return undefined;
  }
}

function follow(hop: Hop, status: number, location: string): Hop {
  if (!URL.canParse(location, hop.url))
    throw new OutsideError(`${describe(hop)}: redirected to no URL`, { retryable: false });
  const url = new URL(location, hop.url);
  // Another host must not learn what was meant for the first one, whatever the header is called.
  const headers =
    url.origin === new URL(hop.url).origin
      ? hop.headers
      : Object.fromEntries(Object.entries(hop.headers).filter(([name]) => /^(user-agent|accept.*|range)$/i.test(name)));
  const becomesGet =
    status === 303 ? hop.method !== 'HEAD' : hop.method === 'POST' && (status === 301 || status === 302);
  return becomesGet
    ? { url: url.href, method: 'GET', headers }
    : { url: url.href, method: hop.method, headers, body: hop.body };
}

function describe(hop: Hop): string {
  const url = URL.canParse(hop.url) ? new URL(hop.url) : null;
  return url ? `${hop.method} ${url.protocol}//${url.host}${url.pathname}` : hop.method;
}

const portOf = (url: URL): string => url.port || (url.protocol === 'https:' ? '443' : '80');
