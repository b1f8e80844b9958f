import type { CallPhase } from '../adapter.ts';
import { AdapterFailure } from '../failure.ts';
import { refusal } from '../hosts.ts';
import {
  type AdapterFetch,
  type FetchAnswer,
  type FetchOptions,
  HttpFailure,
  NetworkFailure,
  type ServerSentEvent,
} from '../http.ts';
import { bytesOf, type FixtureCase, type RecordedExchange, type RecordedResponse } from './fixture.ts';
import { holds } from './value.ts';

/**
 * What goes wrong with an exchange. `unsent`: no connection. `lost`: reset after the request was sent. `timeout`: nothing came in time. `cut`: half of the answer.
 * `endless`: an answer without end. `hang`: nothing comes until the signal aborts. Or an answer in place of the recorded one.
 */
export type Fault = 'unsent' | 'lost' | 'timeout' | 'cut' | 'endless' | 'hang' | RecordedResponse;

/** A request as it left the adapter. */
export interface Sent {
  phase: CallPhase;
  method: string;
  url: string;
  json?: unknown;
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
/** More than that is not made up in memory, whatever an adapter allows. */
const mostMadeUp = 2 * defaultMaxBytes;
const failureBytes = 64 * 1024;
const maxRedirects = 5;

export function openWire(options: WireOptions): Wire {
  const sent: Sent[] = [];
  const strayed: string[] = [];
  const refused: string[] = [];
  const used = new Set<RecordedExchange>();
  const refuses = refusal(options.hosts, 'hosts');

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
    if (fault === 'hang') {
      await new Promise<never>((_, reject) =>
        signal.addEventListener('abort', () => reject(signal.reason), { once: true }),
      );
    }
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
    const source = fault === 'endless' ? endless() : pieces(whole, fault === 'cut' ? what : undefined);
    return answerOf({ status: response.status, headers, url: request.url }, limited(source, maxBytes, what, signal));
  }

  return {
    sent,
    strayed,
    refused,
    isUsedUp: () => options.exchanges.every((each) => used.has(each)),
    async fetch(url, fetching = {}) {
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
      refuse('WebSocket', url, /^wss?:$/);
      options.signal.throwIfAborted();
      const request: Sent = { phase: options.phase(), method: 'GET', url, headers: {}, free: false };
      sent.push(request);
      const fault = options.fault?.(request);
      const recorded = options.sockets.find((each) => isFor({ method: 'GET', url: each.url }, request));
      if (fault || !recorded) throw new NetworkFailure('the WebSocket failed: ECONNREFUSED', { sent: 'no' });
      for (const message of recorded.messages) {
        options.signal.throwIfAborted();
        if (typeof message === 'string') yield message;
        else yield message.base64 === undefined ? Buffer.from(bytesOf(message)).toString('utf8') : bytesOf(message);
      }
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
    headers: Object.fromEntries(
      Object.entries(options.headers ?? {}).map(([name, value]) => [name.toLowerCase(), value]),
    ),
  };
}

function parsed(body: FetchOptions['body']): unknown {
  if (typeof body !== 'string') return undefined;
  try {
    return JSON.parse(body);
  } catch {
    return undefined;
  }
}

function isFor(recorded: { method: string; url: string }, sent: Pick<Sent, 'method' | 'url'>): boolean {
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

async function* pieces(whole: Uint8Array, cut: string | undefined): AsyncGenerator<Uint8Array> {
  const end = cut === undefined ? whole.length : Math.floor(whole.length / 2);
  // Small and odd: pieces end inside characters and events, as they do on a real network.
  const size = whole.length > 65_536 ? 65_536 : 61;
  for (let at = 0; at < end; at += size) yield whole.subarray(at, Math.min(at + size, end));
  if (cut !== undefined) throw new NetworkFailure(`${cut}: other side closed`, { sent: 'maybe' });
}

async function* endless(): AsyncGenerator<Uint8Array> {
  const piece = Buffer.alloc(65_536, ' ');
  for (;;) yield piece;
}

async function* limited(
  source: AsyncIterable<Uint8Array>,
  maxBytes: number,
  what: string,
  signal: AbortSignal,
): AsyncGenerator<Uint8Array> {
  let size = 0;
  for await (const piece of source) {
    signal.throwIfAborted();
    size += piece.length;
    if (size > Math.min(maxBytes, mostMadeUp))
      throw new NetworkFailure(`${what}: the answer is larger than ${maxBytes} bytes`, { sent: 'maybe' });
    yield piece;
  }
}

function answerOf(
  facts: Pick<FetchAnswer, 'status' | 'headers' | 'url'>,
  body: AsyncGenerator<Uint8Array>,
): FetchAnswer {
  const bytes = async (): Promise<Buffer> => {
    const chunks: Uint8Array[] = [];
    for await (const chunk of body) chunks.push(chunk);
    return Buffer.concat(chunks);
  };
  return {
    ...facts,
    body,
    bytes,
    text: async () => (await bytes()).toString('utf8'),
    async json() {
      const text = (await bytes()).toString('utf8');
      try {
        return JSON.parse(text);
      } catch (cause) {
        const what = text.replace(/\s+/g, ' ').trim().slice(0, 100) || 'nothing';
        const message = `${new URL(facts.url).host} answered ${facts.status} with what is no JSON: ${what}`;
        throw new NetworkFailure(message, { sent: 'maybe', cause });
      }
    },
    events: () => readEvents(body),
  };
}

async function* readEvents(body: AsyncIterable<Uint8Array>): AsyncGenerator<ServerSentEvent> {
  const decoder = new TextDecoder();
  let left = '';
  for await (const chunk of body) {
    const text = decoder.decode(chunk, { stream: true });
    left += text;
    if (!text.includes('\n')) continue;
    const blocks = left.split(/\r?\n\r?\n/);
    left = blocks.pop()!;
    for (const block of blocks) {
      const event = readEvent(block);
      if (event) yield event;
    }
  }
}

/** https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation */
function readEvent(block: string): ServerSentEvent | undefined {
  const data: string[] = [];
  const event: { event?: string; id?: string } = {};
  for (const line of block.split(/\r?\n/)) {
    const [, field, value] = /^([^:]+)(?:: ?(.*))?$/s.exec(line) ?? [];
    if (field === 'data') data.push(value ?? '');
    else if (field === 'event' || field === 'id') event[field] = value ?? '';
  }
  return data.length > 0 ? { ...event, data: data.join('\n') } : undefined;
}
