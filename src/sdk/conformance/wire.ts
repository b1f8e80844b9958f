import type { CallPhase } from '../adapter.ts';
import { AdapterFailure } from '../failure.ts';
import { refusal } from '../hosts.ts';
import { type AdapterFetch, type FetchAnswer, type FetchOptions, HttpFailure, NetworkFailure } from '../http.ts';
import { aborted, answerOf, endless, half, limited, pieces } from './body.ts';
import { bytesOf, type FixtureCase, type RecordedExchange, type RecordedResponse } from './fixture.ts';
import { holds } from './value.ts';

/**
 * What goes wrong with an exchange. `unsent`: no connection. `lost`: reset after the request was sent. `timeout`: nothing came in time. `endless`: an answer
 * without end. `hang`: nothing comes until the signal aborts. Half of the answer, and then: `cut`, a reset; `short`, its end; `stall`, nothing until the
 * signal aborts. Or an answer in place of the recorded one. Of a WebSocket's messages, too, half can come; all other faults are no connection there.
 */
export type Fault = 'unsent' | 'lost' | 'timeout' | 'cut' | 'short' | 'stall' | 'endless' | 'hang' | RecordedResponse;

/** A request as it left the adapter. */
export interface Sent {
  phase: CallPhase;
  method: string;
  url: string;
  json?: unknown;
  /** The body as text; of bytes, a character each; of a form, its fields. */
  body: string;
  headers: Record<string, string>;
  /** The recording says that it costs nothing. */
  free: boolean;
}

export interface WireOptions {
  exchanges: RecordedExchange[];
  sockets: FixtureCase['sockets'];
  /** Patterns of `hosts`. */
  hosts: string[];
  signal: AbortSignal;
  phase(): CallPhase;
  fault?(sent: Sent): Fault | undefined;
  /** Changes a recorded answer. */
  change?(response: RecordedResponse, sent: Sent): RecordedResponse;
}

/** A recording in place of the network: the same answers, errors and limits as Atelier's own fetch and WebSocket. */
export interface Wire {
  fetch: AdapterFetch;
  socket(url: string): AsyncIterable<string | Uint8Array>;
  sent: Sent[];
  /** What the recording does not hold, and what was sent otherwise than it says. */
  strayed: string[];
  /** Requests to hosts that are not declared. */
  refused: string[];
  /** True when every exchange was asked for. */
  isUsedUp(): boolean;
}

const defaultMaxBytes = 16 * 1024 * 1024;
const failureBytes = 64 * 1024;
const maxRedirects = 5;
/** An adapter that asks more often than that loops, without end perhaps: it is answered no more, so that it waits, and its time runs out. */
const mostCalls = 1_000;

export function openWire(options: WireOptions): Wire {
  const sent: Sent[] = [];
  const strayed: string[] = [];
  const refused: string[] = [];
  const used = new Set<RecordedExchange>();
  const refuses = refusal(options.hosts, 'hosts');
  let calls = 0;

  const refuse = (what: string, url: string, schemes: RegExp): void => {
    const reason = refuses(url, schemes);
    if (!reason) return;
    refused.push(`${what} ${reason}`);
    throw new AdapterFailure({ class: 'permanent', code: 'HOST_REFUSED', message: `${what} ${reason}` });
  };

  const isFree = (request: Omit<Sent, 'free'>): boolean => {
    const matching = options.exchanges.filter(({ request: recorded }) => isFor(recorded, request));
    return matching.length > 0 && matching.every(({ free }) => free);
  };

  function answerTo(request: Sent, fault: Fault | undefined): RecordedResponse {
    const matching = options.exchanges.filter(({ request: recorded }) => isFor(recorded, request));
    const harmless = request.method === 'GET' || request.method === 'HEAD';
    // Sent again after a fault, it is the same request.
    const next = matching.find((each) => !used.has(each)) ?? (harmless || fault ? matching.at(-1) : undefined);
    if (!next) {
      strayed.push(`no exchange is recorded for ${request.method} ${request.url} (in ${request.phase})`);
      throw new AdapterFailure({ class: 'bug', code: 'NOT_RECORDED', message: strayed.at(-1)! });
    }
    used.add(next);
    for (const line of differences(next.request, request)) strayed.push(`${request.method} ${request.url}: ${line}`);
    return options.change?.(next.response, request) ?? next.response;
  }

  async function exchange(request: Sent, fetching: FetchOptions): Promise<FetchAnswer> {
    const what = nameOf(request);
    const limits = [options.signal, ...(fetching.signal ? [fetching.signal] : [])];
    const signal = AbortSignal.any(limits);
    const fault = options.fault?.(request);
    if (fault === 'unsent') throw new NetworkFailure(`${what}: ECONNREFUSED`, { sent: 'no' });
    if (fault === 'lost') throw new NetworkFailure(`${what}: ECONNRESET`, { sent: 'maybe' });
    if (fault === 'timeout') throw new NetworkFailure(`${what}: timed out`, { sent: 'maybe' });
    if (fault === 'hang') await aborted(signal);
    const response =
      typeof fault === 'object' ? fault : fault === 'endless' ? { status: 200 } : answerTo(request, fault);
    const headers = new Headers(response.headers);
    if (response.json !== undefined && !headers.has('content-type')) headers.set('content-type', 'application/json');
    const whole = bytesOf(response);
    if (response.status >= 300) {
      const body = Buffer.from(whole.subarray(0, failureBytes)).toString('utf8');
      throw new HttpFailure(what, { status: response.status, headers, body });
    }
    const maxBytes = fetching.maxBytes ?? defaultMaxBytes;
    const isHalf = fault === 'cut' || fault === 'short' || fault === 'stall';
    const source = fault === 'endless' ? endless() : isHalf ? half(whole, fault, what, signal) : pieces(whole);
    return answerOf({ status: response.status, headers, url: request.url }, limited(source, maxBytes, what, signal));
  }

  return {
    sent,
    strayed,
    refused,
    isUsedUp: () => options.exchanges.every((each) => used.has(each)),
    async fetch(url, fetching = {}) {
      if (++calls > mostCalls) await never();
      options.signal.throwIfAborted();
      fetching.signal?.throwIfAborted();
      const first = firstRequest(url, fetching, options.phase());
      let request: Sent = { ...first, free: isFree(first) };
      const harmless = request.method === 'GET' || request.method === 'HEAD';
      for (let redirects = 0; ; redirects++) {
        refuse(nameOf(request), request.url, /^https?:$/);
        sent.push(request);
        // Even an instant vendor answers later.
        await null;
        try {
          return await exchange(request, fetching);
        } catch (error) {
          const location = error instanceof HttpFailure && error.status < 400 && error.headers.get('location');
          if (!location || !harmless || redirects === maxRedirects) throw error;
          request = { ...request, url: new URL(location, request.url).href };
        }
      }
    },
    async *socket(url) {
      if (++calls > mostCalls) await never();
      refuse('WebSocket', url, /^wss?:$/);
      options.signal.throwIfAborted();
      const request: Sent = { phase: options.phase(), method: 'GET', url, body: '', headers: {}, free: false };
      sent.push(request);
      const fault = options.fault?.(request);
      const recorded = options.sockets.find((each) => isFor({ method: 'GET', url: each.url }, request));
      const isHalf = fault === 'short' || fault === 'stall';
      if ((fault && !isHalf) || !recorded)
        throw new NetworkFailure('the WebSocket failed: ECONNREFUSED', { sent: 'no' });
      const { messages } = recorded;
      for (const message of isHalf ? messages.slice(0, Math.floor(messages.length / 2)) : messages) {
        options.signal.throwIfAborted();
        if (typeof message === 'string') yield message;
        else yield message.base64 === undefined ? Buffer.from(bytesOf(message)).toString('utf8') : bytesOf(message);
      }
      if (fault === 'stall') await aborted(options.signal);
    },
  };
}

function firstRequest(url: string, options: FetchOptions, phase: CallPhase): Omit<Sent, 'free'> {
  const { method, json, body } = options;
  const hasContent = json !== undefined || body !== undefined;
  return {
    phase,
    method: method ?? (hasContent ? 'POST' : 'GET'),
    url,
    // As it travels: `undefined` and dates do not.
    json: json === undefined ? parsed(body) : JSON.parse(JSON.stringify(json)),
    body: json === undefined ? textOf(body) : JSON.stringify(json),
    headers: Object.fromEntries(
      Object.entries(options.headers ?? {}).map(([name, value]) => [name.toLowerCase(), value]),
    ),
  };
}

function textOf(body: FetchOptions['body']): string {
  if (body instanceof FormData) return [...body].map(([name, value]) => `${name}=${value}`).join('\n');
  return typeof body === 'string' ? body : Buffer.from(body ?? []).toString('latin1');
}

function parsed(body: FetchOptions['body']): unknown {
  if (typeof body !== 'string') return undefined;
  try {
    return JSON.parse(body);
  } catch {
    return undefined;
  }
}

/** True when a recorded request is the one that was sent. */
export function isFor(recorded: { method: string; url: string }, sent: Pick<Sent, 'method' | 'url'>): boolean {
  if (recorded.method !== sent.method || !URL.canParse(recorded.url) || !URL.canParse(sent.url)) return false;
  const [wanted, got] = [new URL(recorded.url), new URL(sent.url)];
  const sameQuery = [...wanted.searchParams].every(([name, value]) => got.searchParams.getAll(name).includes(value));
  return wanted.origin === got.origin && wanted.pathname === got.pathname && sameQuery;
}

function differences(recorded: RecordedExchange['request'], sent: Sent): string[] {
  const found = recorded.json === undefined ? [] : holds(sent.json, recorded.json, 'json');
  for (const [name, value] of Object.entries(recorded.headers ?? {})) {
    const got = sent.headers[name.toLowerCase()];
    if (got === undefined || (value !== '*' && got !== value)) found.push(`the header ${name} is ${got ?? 'missing'}`);
  }
  return found;
}

/** Method, host and path, never the query: it may hold a key. */
function nameOf({ method, url }: Sent): string {
  if (!URL.canParse(url)) return method;
  const { protocol, host, pathname } = new URL(url);
  return `${method} ${protocol}//${host}${pathname}`;
}

const never = (): Promise<never> => new Promise(() => {});
