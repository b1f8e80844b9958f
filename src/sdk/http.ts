import type { CallPhase } from './adapter.ts';
import type { FailureFacts } from './failure.ts';

/** What an adapter asks of {@link AdapterFetch}. */
export interface FetchOptions {
  /** Default: GET, or POST when there is a body. */
  method?: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE' | 'HEAD';
  headers?: Record<string, string>;
  /** Sent as JSON, with its content type. Not beside `body`. */
  json?: unknown;
  body?: string | Uint8Array | FormData;
  /** The whole exchange, body included. Milliseconds. Default 30,000; 120,000 in `start`. */
  timeoutMs?: number;
  /** The body, as decoded, is cut beyond it. Bytes. Default 16 MiB. */
  maxBytes?: number;
  signal?: AbortSignal;
}

/** One message of an event stream (`text/event-stream`). */
export interface ServerSentEvent {
  /** Undefined: `message`. */
  event?: string;
  id?: string;
  data: string;
}

/** An answer with a status below 400; all others are thrown as an {@link HttpFailure}. Its body can be read once. */
export interface FetchAnswer {
  status: number;
  headers: Headers;
  /** The address after redirects. */
  url: string;
  /** @throws NetworkFailure when the body is no JSON or is cut off: for a paid call that is an answer lost. */
  json<Value = any>(): Promise<Value>;
  text(): Promise<string>;
  bytes(): Promise<Uint8Array>;
  /** The events of a `text/event-stream`, as they come. Leave the loop to end the exchange. */
  events(): AsyncIterable<ServerSentEvent>;
  /** The raw bytes, as they come. */
  body: AsyncIterable<Uint8Array>;
}

/**
 * fetch for adapters: only the hosts that the adapter declares, public addresses only (checked after the name is resolved, at each
 * redirect again), limits on bytes and time, the credential's rate limit, and never a hidden retry. Redirects are followed for GET and HEAD,
 * five at most.
 * @throws HttpFailure for a status of 400 or more, and for a redirect of a POST.
 * @throws NetworkFailure when there is no whole answer.
 */
export type AdapterFetch = (url: string, options?: FetchOptions) => Promise<FetchAnswer>;

const httpMarker = Symbol.for('atelier.http-failure');
const networkMarker = Symbol.for('atelier.network-failure');

/** The server answered, and not with success. */
export class HttpFailure extends Error {
  override name = 'HttpFailure';
  readonly status: number;
  readonly headers: Headers;
  /** The first 64 KiB as text. */
  readonly body: string;
  constructor(what: string, answer: { status: number; headers: Headers; body: string }) {
    super(`${what}: answered ${answer.status}`);
    this.status = answer.status;
    this.headers = answer.headers;
    this.body = answer.body;
    Object.defineProperty(this, httpMarker, { value: true });
  }
  /** The body as JSON, or undefined when it is none: an error page of a proxy, say. */
  json(): any {
    try {
      return JSON.parse(this.body);
    } catch {
      return undefined;
    }
  }
}

/** There is no whole answer. */
export class NetworkFailure extends Error {
  override name = 'NetworkFailure';
  /** `no`: it failed before a byte of the request was sent. `maybe`: the server may have got it, and a paid call may have been made. */
  readonly sent: 'no' | 'maybe';
  constructor(message: string, options: { sent: 'no' | 'maybe'; cause?: unknown }) {
    super(message, { cause: options.cause });
    this.sent = options.sent;
    Object.defineProperty(this, networkMarker, { value: true });
  }
}

/** True for an {@link HttpFailure}, also of another copy of this module. */
export function isHttpFailure(value: unknown): value is HttpFailure {
  return typeof value === 'object' && value !== null && httpMarker in value;
}

/** True for a {@link NetworkFailure}, also of another copy of this module. */
export function isNetworkFailure(value: unknown): value is NetworkFailure {
  return typeof value === 'object' && value !== null && networkMarker in value;
}

/**
 * What a failed exchange means when nothing more is known of the vendor: the default behind every adapter's own `classify`. PURE.
 *
 * | seen | in `start` | elsewhere |
 * |---|---|---|
 * | nothing was sent | retryable | retryable |
 * | reset, time-out, cut or unreadable answer | ambiguous | retryable |
 * | 429 | rate_limited | rate_limited |
 * | 408, 5xx, a redirect | ambiguous | retryable |
 * | 401, 403 | authentication | authentication |
 * | 402 | quota | quota |
 * | 404, 410 | permanent | expired |
 * | any other 4xx | invalid_input | permanent |
 *
 * A 5xx in `start` whose body says, in the vendor's own documented format, that the job was not accepted is retryable: that, only the adapter
 * can know.
 * @returns undefined for what is no {@link HttpFailure} and no {@link NetworkFailure}.
 */
export function classifyExchange(error: unknown, phase: CallPhase): FailureFacts | undefined {
  if (isNetworkFailure(error)) {
    const lost = phase === 'start' && error.sent === 'maybe';
    return {
      class: lost ? 'ambiguous' : 'retryable',
      code: lost ? 'ANSWER_LOST' : 'PROVIDER_UNREACHABLE',
      message: error.message,
      billed: lost ? 'unknown' : 'nothing',
    };
  }
  if (!isHttpFailure(error)) return undefined;
  const { status } = error;
  const told = {
    message: `${error.message} ${excerpt(error.body)}`.trim(),
    providerRequestId: requestId(error.headers),
  };
  const facts = (className: FailureFacts['class'], code: string): FailureFacts => ({ class: className, code, ...told });
  if (status === 429) return { ...facts('rate_limited', 'RATE_LIMITED'), retryAfterMs: retryAfterMs(error.headers) };
  if (status === 408 || status >= 500 || status < 400)
    return phase === 'start' ? facts('ambiguous', 'ANSWER_LOST') : facts('retryable', 'PROVIDER_FAILED');
  if (status === 401 || status === 403) return facts('authentication', 'PROVIDER_REFUSED_KEY');
  if (status === 402) return facts('quota', 'PROVIDER_QUOTA');
  if (status === 404 || status === 410)
    return phase === 'start' ? facts('permanent', 'MODEL_NOT_FOUND') : facts('expired', 'JOB_GONE');
  return phase === 'start' ? facts('invalid_input', 'PROVIDER_REFUSED_INPUT') : facts('permanent', 'PROVIDER_FAILED');
}

/**
 * `Retry-After`, in milliseconds: seconds or a date (which is read against the answer's own `Date`, so that two clocks need not agree).
 * Undefined when it is absent or makes no sense; Atelier bounds what is absurd.
 */
export function retryAfterMs(headers: Headers): number | undefined {
  const value = headers.get('retry-after')?.trim();
  if (!value) return undefined;
  if (/^\d+(\.\d+)?$/.test(value)) return Math.round(Number(value) * 1000);
  const until = Date.parse(value);
  const from = Date.parse(headers.get('date') ?? '');
  if (Number.isNaN(until) || Number.isNaN(from)) return undefined;
  return Math.max(until - from, 0);
}

/** What vendors call the id of a request, for their support. */
function requestId(headers: Headers): string | undefined {
  return headers.get('x-request-id') ?? headers.get('request-id') ?? undefined;
}

const excerpt = (body: string): string => body.replace(/\s+/g, ' ').trim().slice(0, 500);
