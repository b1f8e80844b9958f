import { pipeline, type Readable, type Transform } from 'node:stream';
import { createBrotliDecompress, createGunzip, createInflate } from 'node:zlib';
import { type Dispatcher, request } from 'undici';
import { OutsideError } from '../errors.ts';
import { HostRefused } from './connect.ts';

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

/** One request of a chain of redirects. */
export interface Hop {
  url: string;
  method: string;
  headers: Record<string, string>;
  body?: string | Uint8Array;
}

/**
 * One request and its answer, whatever its status.
 * @param options.onSend is called right before the request is written to a connection that stands; needs an {@link announcing} agent.
 * @throws OutsideError, also while the body is read; {@link HostRefused} among them.
 * @throws TypeError for a request that cannot be made at all: a header with a line break, say.
 */
export async function exchange(
  hop: Hop,
  options: { agent: Dispatcher; signal: AbortSignal; maxBytes: number; onSend?: () => void },
): Promise<OutboundResponse> {
  const { signal } = options;
  const failed = (cause: any): Error => {
    if (cause?.code === 'UND_ERR_INVALID_ARG')
      return new TypeError(`${describe(hop)}: ${String(cause.message).replaceAll('\n', ' ')}`);
    if (cause instanceof HostRefused) return new HostRefused(`${describe(hop)}: ${cause.message}`);
    if (cause instanceof OutsideError)
      return new OutsideError(`${describe(hop)}: ${cause.message}`, { retryable: cause.retryable, cause });
    const reason = signal.aborted ? signal.reason : cause;
    const timedOut = reason?.name === 'TimeoutError';
    return new OutsideError(
      `${describe(hop)}: ${timedOut ? 'timed out' : (reason?.code ?? reason?.message ?? 'failed')}`,
      { retryable: true, cause: reason },
    );
  };
  const answer = await answered(hop, options).catch((cause) => {
    throw failed(cause);
  });
  const headers = new Headers();
  for (const [name, value] of Object.entries(answer.headers))
    for (const one of [value ?? []].flat()) headers.append(name, one);
  const discard = () => void answer.body.on('error', () => {}).destroy();
  const body = limited(() => decoded(answer.body, headers), options.maxBytes, failed, discard);
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

/** undici heeds a signal only from the moment on at which the connection stands; its time limit and its caller must not wait for that. */
function answered(
  hop: Hop,
  { agent, signal, onSend }: { agent: Dispatcher; signal: AbortSignal; onSend?: () => void },
): Promise<Dispatcher.ResponseData> {
  return new Promise((resolve, reject) => {
    const stop = () => reject(signal.reason);
    if (signal.aborted) return stop();
    signal.addEventListener('abort', stop, { once: true });
    const options = { method: hop.method as 'GET', headers: hop.headers, body: hop.body, dispatcher: agent, signal };
    request(hop.url, { ...options, [sending]: onSend } as typeof options)
      .then(resolve, reject)
      .finally(() => signal.removeEventListener('abort', stop));
  });
}

const sending = Symbol('sending');

/** Lets `onSend` of {@link exchange} be heard. */
export const announcing: Dispatcher.DispatcherComposeInterceptor = (dispatch) => (options, handler) => {
  const onSend: (() => void) | undefined = (options as { [sending]?: () => void })[sending];
  if (!onSend) return dispatch(options, handler);
  return dispatch(options, {
    onRequestStart(controller, context) {
      onSend();
      handler.onRequestStart?.(controller, context);
    },
    onRequestUpgrade: (...values) => handler.onRequestUpgrade?.(...values),
    onResponseStart: (...values) => handler.onResponseStart?.(...values),
    onResponseData: (...values) => handler.onResponseData?.(...values),
    onResponseEnd: (...values) => handler.onResponseEnd?.(...values),
    onResponseError: (...values) => handler.onResponseError?.(...values),
  });
};

/** Counts what comes out of the decoder, so that a small body cannot unfold into a large one. */
async function* limited(
  open: () => Readable,
  maxBytes: number,
  failed: (cause: unknown) => Error,
  discard: () => void,
): AsyncIterable<Uint8Array> {
  let size = 0;
  try {
    for await (const chunk of open()) {
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

/** Only when the body is read: a status counts also when its body is of no use. */
function decoded(body: Readable, headers: Headers): Readable {
  const encoding = headers.get('content-encoding');
  const decoder = decoderOf(encoding);
  if (decoder === undefined) throw new OutsideError(`unknown content-encoding ${encoding}`, { retryable: false });
  return decoder ? pipeline(body, decoder, () => {}) : body;
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

export function isRedirect(response: OutboundResponse): boolean {
  return [301, 302, 303, 307, 308].includes(response.status) && response.headers.has('location');
}

/** Where a redirect leads, with what the next host may learn. */
export function follow(hop: Hop, { status, headers: answered }: OutboundResponse): Hop {
  const location = answered.get('location') ?? '';
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

/** Method, host and path, for messages; never the query: it may hold a signature. */
export function describe(hop: Hop): string {
  const url = URL.canParse(hop.url) ? new URL(hop.url) : null;
  return url ? `${hop.method} ${url.protocol}//${url.host}${url.pathname}` : hop.method;
}
