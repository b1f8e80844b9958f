import { on } from 'node:events';
import type { ClientRequestArgs } from 'node:http';
import { type ClientOptions, WebSocket } from 'ws';
import { isAdapterFailure, NetworkFailure } from '../sdk/index.ts';
import { type Connector, HostRefused } from './connect.ts';
import { hostRefused, type Network } from './network.ts';

/** A message, as it is put together. Bytes. */
const maxMessageBytes = 8 * 1024 * 1024;
/** With more messages than this that nobody has read the server is held back. */
const maxUnread = 8;
const handshakeMs = 10_000;
/** A server that says nothing and does not answer a ping either is gone. */
const pingMs = 30_000;
/** The server's time to answer a close. */
const goodbyeMs = 1_000;
/** The code that stands for no close at all. https://www.rfc-editor.org/rfc/rfc6455#section-7.4.1 */
const brokenOff = 1006;
const web = /^(https?|wss?):$/;

/**
 * The messages of a WebSocket until the server closes it.
 * @throws NetworkFailure when it cannot be opened, or breaks off without a close; `no`: no connection stood. The signal's reason.
 */
export async function* vendorSocket(
  network: Network,
  url: string,
  given: { headers?: Record<string, string>; signal: AbortSignal; turn?: (signal: AbortSignal) => Promise<void> },
): AsyncGenerator<string | Uint8Array> {
  const what = URL.canParse(url) ? `WebSocket ${new URL(url).host}${new URL(url).pathname}` : 'WebSocket';
  const why = network.refuses(url, web);
  if (why) throw hostRefused(what, why);
  given.signal.throwIfAborted();
  const limit = network.limits.open([given.signal]);
  let sent = false;
  const failureOf = (cause: unknown): unknown => {
    if (given.signal.aborted) return given.signal.reason;
    if (cause instanceof HostRefused) return hostRefused(what, cause.message);
    const ended = limit.signal.aborted ? limit.signal.reason : cause;
    return new NetworkFailure(`${what}: ${ended?.code ?? ended?.message}`, { sent: sent ? 'maybe' : 'no', cause });
  };
  let socket: WebSocket | undefined;
  let stopPings = () => {};
  try {
    await given.turn?.(limit.signal);
    limit.signal.throwIfAborted();
    socket = open(url, given.headers, network.connect, () => {
      sent = true;
    });
    const end = socket.terminate.bind(socket);
    limit.signal.addEventListener('abort', end, { once: true });
    stopPings = keepWatch(socket);
    let closedWith = 0;
    socket.on('close', (code) => {
      closedWith = code;
    });
    for await (const [data, isBinary] of on(socket, 'message', { close: ['close'], highWaterMark: maxUnread })) {
      limit.signal.throwIfAborted();
      yield isBinary ? new Uint8Array(data) : data.toString('utf8');
    }
    if (closedWith === brokenOff) throw new Error('the server went away without a close');
  } catch (cause) {
    throw isAdapterFailure(cause) ? cause : failureOf(cause);
  } finally {
    stopPings();
    limit.release();
    socket?.resume();
    socket?.close();
  }
}

function open(
  url: string,
  headers: Record<string, string> | undefined,
  connect: Connector,
  onSend: () => void,
): WebSocket {
  const { hostname, host, port, protocol } = new URL(url);
  const target = { hostname, host, port, protocol: /^(https|wss):$/.test(protocol) ? 'https:' : 'http:' };
  const createConnection: ClientRequestArgs['createConnection'] = (_, onCreate) => {
    connect(target, (error, connection) => {
      if (connection) onSend();
      onCreate(error, connection!);
    });
    return undefined;
  };
  // What the types lack: a connection that comes later, as Node takes it, and the time for a close.
  const options: ClientOptions & { closeTimeout: number } = {
    headers: { 'user-agent': 'Atelier', ...headers },
    maxPayload: maxMessageBytes,
    perMessageDeflate: false,
    handshakeTimeout: handshakeMs,
    closeTimeout: goodbyeMs,
    createConnection: createConnection as never,
  };
  const socket = new WebSocket(url, options);
  // What goes wrong when nobody reads any more is nobody's business.
  return socket.on('error', () => {});
}

/** A connection that was cut without a word looks like a silent server for ever. */
function keepWatch(socket: WebSocket): () => void {
  let isHeard = true;
  const hear = () => {
    isHeard = true;
  };
  socket.on('message', hear).on('ping', hear).on('pong', hear);
  const timer = setInterval(() => {
    // Held back, it cannot be heard.
    if (socket.readyState !== WebSocket.OPEN || socket.isPaused) return hear();
    if (!isHeard) return socket.terminate();
    isHeard = false;
    socket.ping();
  }, pingMs);
  return () => clearInterval(timer);
}
