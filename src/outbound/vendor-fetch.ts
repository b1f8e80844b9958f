import { OutsideError } from '../errors.ts';
import type { HostRefusal } from '../sdk/hosts.ts';
import { type AdapterFetch, type FetchOptions, HttpFailure, NetworkFailure } from '../sdk/index.ts';
import { answerOf } from './answer.ts';
import { HostRefused } from './connect.ts';
import { describe, exchange, follow, type Hop, isRedirect, type OutboundResponse } from './exchange.ts';
import type { Limit } from './limit.ts';
import { hostRefused, type Network } from './network.ts';

const defaultMaxBytes = 16 * 1024 * 1024;
const failureBytes = 64 * 1024;
const maxRedirects = 5;
const web = /^https?:$/;

/**
 * @param given.turn resolves when a request may begin.
 * @param given.timeoutMs where the adapter names none.
 */
export function vendorFetch(
  network: Network,
  given: {
    refuses: HostRefusal;
    signal: AbortSignal;
    timeoutMs: number;
    turn?: (signal: AbortSignal) => Promise<void>;
  },
): AdapterFetch {
  return async (url, options = {}) => {
    const { timeoutMs = given.timeoutMs, maxBytes = defaultMaxBytes } = options;
    const callers = options.signal ? [given.signal, options.signal] : [given.signal];
    for (const caller of callers) caller.throwIfAborted();
    let hop = await firstHop(url, options);
    const harmless = hop.method === 'GET' || hop.method === 'HEAD';
    const agent = harmless ? network.kept : network.fresh;
    let sent = false;
    const onSend = () => {
      sent = true;
    };
    const refuse = () => {
      const why = given.refuses(hop.url, web);
      if (why) throw hostRefused(describe(hop), why);
    };
    refuse();
    const limit = network.limits.open(callers);
    const failureOf = (cause: unknown): unknown => {
      limit.release();
      for (const caller of callers) if (caller.aborted) return caller.reason;
      if (cause instanceof HostRefused) return hostRefused(describe(hop), cause.message);
      if (cause instanceof OutsideError) return lost(cause.message, sent, cause);
      return limit.signal.aborted && cause === limit.signal.reason
        ? lost(`${describe(hop)}: ${limit.signal.reason.message}`, sent, cause)
        : cause;
    };
    try {
      await given.turn?.(limit.signal);
      limit.expireIn(timeoutMs);
      for (let redirects = 0; ; redirects++) {
        const response = await exchange(hop, { agent, signal: limit.signal, maxBytes, onSend });
        if (harmless && isRedirect(response) && redirects < maxRedirects) {
          response.discard();
          hop = follow(hop, response);
          refuse();
        } else if (response.status >= 300) {
          throw await httpFailure(hop, response, limit);
        } else return answerOf({ ...response, body: released(response.body, limit, failureOf) });
      }
    } catch (cause) {
      throw failureOf(cause);
    }
  };
}

const lost = (message: string, sent: boolean, cause: unknown): NetworkFailure =>
  new NetworkFailure(message, { sent: sent ? 'maybe' : 'no', cause });

/** @throws TypeError for what is no request. */
async function firstHop(url: string, options: FetchOptions): Promise<Hop> {
  const { json } = options;
  if (json !== undefined && options.body !== undefined) throw new TypeError('fetch takes json or body, not both');
  const given = json === undefined ? options.body : JSON.stringify(json);
  const method = (options.method ?? (given === undefined ? 'GET' : 'POST')).toUpperCase();
  if (given !== undefined && (method === 'GET' || method === 'HEAD'))
    throw new TypeError(`a ${method} cannot have a body`);
  const { body, contentType } = await content(given, json === undefined ? undefined : 'application/json');
  const headers: Record<string, string> = {
    'user-agent': 'Atelier',
    'accept-encoding': 'identity',
    ...(contentType && { 'content-type': contentType }),
  };
  // By their names in lower case: else one that is given as `Content-Type` would be sent beside ours.
  for (const [name, value] of Object.entries(options.headers ?? {})) headers[name.toLowerCase()] = value;
  return { url, method, headers, body };
}

/**
 * A form becomes bytes here, all of it in memory: Node's own FormData is not the one that undici's package knows, and fed with it it brings the
 * process down.
 */
async function content(
  body: FetchOptions['body'],
  contentType?: string,
): Promise<{ body?: string | Uint8Array; contentType?: string }> {
  if (body === undefined || typeof body === 'string' || ArrayBuffer.isView(body)) return { body, contentType };
  const form = new FormData();
  for (const [name, value] of body) {
    if (typeof value === 'string') form.append(name, value);
    else form.append(name, value, value.name);
  }
  const written = new Response(form);
  return {
    body: new Uint8Array(await written.arrayBuffer()),
    contentType: written.headers.get('content-type') ?? undefined,
  };
}

/** The status has come, and that is what counts: of the body as much as there is. */
async function httpFailure(hop: Hop, response: OutboundResponse, limit: Limit): Promise<HttpFailure> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  try {
    for await (const chunk of response.body) {
      chunks.push(chunk);
      size += chunk.length;
      if (size >= failureBytes) break;
    }
  } catch {}
  limit.release();
  const body = Buffer.concat(chunks).subarray(0, failureBytes).toString('utf8');
  return new HttpFailure(describe(hop), { status: response.status, headers: response.headers, body });
}

/** The exchange lasts until its body is read, or left. One that nobody reads ends with the time limit. */
async function* released(
  body: AsyncIterable<Uint8Array>,
  limit: Limit,
  failureOf: (cause: unknown) => unknown,
): AsyncGenerator<Uint8Array> {
  try {
    yield* body;
  } catch (cause) {
    throw failureOf(cause);
  } finally {
    limit.release();
  }
}
