import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Duplex } from 'node:stream';
import { setTimeout as pause } from 'node:timers/promises';

/** A request as the vendor sees it. */
export interface Seen {
  method: string;
  /** Without the query. */
  path: string;
  query: URLSearchParams;
  headers: { [name: string]: string };
  body: Buffer;
  /** The body as JSON. */
  json: any;
}

export interface Answer {
  /** Default 200. */
  status?: number;
  headers?: { [name: string]: string };
  json?: unknown;
  body?: string | Uint8Array | AsyncIterable<string | Uint8Array>;
}

/**
 * `reset`: the connection breaks before the vendor takes the request in. `lost`: the vendor does what is asked, and the connection breaks instead of the
 * answer. `hang`: nothing comes. `truncated`: half of the body, then the end of the connection. `endless`: a body without end. `slow`: a byte a second.
 * Or an answer in place of the vendor's own.
 */
export type Fault = 'reset' | 'lost' | 'hang' | 'truncated' | 'endless' | 'slow' | Answer;

/** A vendor's HTTP interface on a port of this machine. */
export interface Emulator {
  /** Without a slash at its end. */
  url: string;
  /** 127.0.0.1:port */
  host: string;
  /** Every request that came, also those that met a fault. */
  seen: Seen[];
  /** The next `times` requests that match meet a fault. */
  break(matches: (request: Seen) => boolean, fault: Fault, times?: number): void;
  /** Faults that nobody met yet are taken back. */
  mend(): void;
  /** Nothing listens any more; {@link Emulator.up} on the same port again. */
  down(): Promise<void>;
  up(): Promise<void>;
  /** Resolves with the next request that matches and has not been waited for; or with one that came already. */
  next(matches: (request: Seen) => boolean): Promise<Seen>;
  close(): Promise<void>;
}

/**
 * @param answer plays the vendor; it may throw an {@link Answer}.
 * @param upgrade takes what asks for a WebSocket. Default: nobody does.
 */
export async function startEmulator(
  answer: (request: Seen) => Answer | Promise<Answer>,
  upgrade?: (request: IncomingMessage, socket: Duplex, head: Buffer) => void,
): Promise<Emulator> {
  const seen: Seen[] = [];
  const faults: { matches: (request: Seen) => boolean; fault: Fault; left: number }[] = [];
  const waiting = new Set<() => void>();
  const awaited = new Set<Seen>();
  let closed = false;

  async function handle(incoming: IncomingMessage, response: ServerResponse): Promise<void> {
    const request = await read(incoming);
    seen.push(request);
    for (const wait of [...waiting]) wait();
    const met = faults.find(({ matches, left }) => left > 0 && matches(request));
    if (met) met.left--;
    const fault = met?.fault;
    if (fault === 'reset') return void incoming.socket.resetAndDestroy();
    if (fault === 'hang') return;
    if (typeof fault === 'object') return send(response, fault);
    if (fault === 'endless' || fault === 'slow') {
      response.writeHead(200, { 'content-type': 'application/json' });
      while (!closed && !response.destroyed) {
        response.write(fault === 'slow' ? ' ' : Buffer.alloc(65_536, ' '));
        await pause(fault === 'slow' ? 1_000 : 1);
      }
      return;
    }
    const given = await Promise.resolve(answer(request)).catch((thrown: Answer) => thrown);
    if (fault === 'lost') return void incoming.socket.resetAndDestroy();
    if (fault === 'truncated') {
      const whole = Buffer.from(given.json === undefined ? (given.body as string) : JSON.stringify(given.json));
      response.writeHead(given.status ?? 200, {
        'content-type': 'application/json',
        'content-length': whole.length,
        ...given.headers,
      });
      response.write(whole.subarray(0, Math.floor(whole.length / 2)), () => incoming.socket.destroy());
      return;
    }
    return send(response, given);
  }

  const server = createServer((incoming, response) => {
    handle(incoming, response).catch(() => incoming.socket.destroy());
  });
  const upgraded = new Set<Duplex>();
  if (upgrade)
    server.on('upgrade', (request, socket, head) => {
      upgraded.add(socket.on('close', () => upgraded.delete(socket)));
      upgrade(request, socket, head);
    });
  const listen = (port: number) => new Promise<void>((resolve) => server.listen(port, '127.0.0.1', resolve));
  const stop = () => {
    const stopped = new Promise<void>((resolve) => server.close(() => resolve()));
    server.closeAllConnections();
    for (const socket of upgraded) socket.destroy();
    return stopped;
  };
  await listen(0);
  const { port } = server.address() as AddressInfo;
  const host = `127.0.0.1:${port}`;
  return {
    url: `http://${host}`,
    host,
    seen,
    break: (matches, fault, times = 1) => void faults.push({ matches, fault, left: times }),
    mend: () => void faults.splice(0),
    down: stop,
    up: () => listen(port),
    async next(matches) {
      for (;;) {
        const found = seen.find((request) => !awaited.has(request) && matches(request));
        if (found) {
          awaited.add(found);
          return found;
        }
        await new Promise<void>((resolve) => {
          const wake = () => {
            waiting.delete(wake);
            resolve();
          };
          waiting.add(wake);
        });
      }
    },
    async close() {
      closed = true;
      if (server.listening) await stop();
    },
  };
}

async function read(incoming: IncomingMessage): Promise<Seen> {
  const chunks: Buffer[] = [];
  for await (const chunk of incoming) chunks.push(chunk);
  const body = Buffer.concat(chunks);
  const url = new URL(incoming.url ?? '/', 'http://vendor');
  return {
    method: incoming.method ?? 'GET',
    path: url.pathname,
    query: url.searchParams,
    headers: incoming.headers as { [name: string]: string },
    body,
    get json() {
      return JSON.parse(body.toString('utf8'));
    },
  };
}

async function send(response: ServerResponse, { status = 200, headers, json, body }: Answer): Promise<void> {
  const type = json === undefined ? undefined : { 'content-type': 'application/json' };
  response.writeHead(status, { ...type, ...headers });
  if (json !== undefined || body === undefined)
    return void response.end(json === undefined ? undefined : JSON.stringify(json));
  if (typeof body === 'string' || body instanceof Uint8Array) return void response.end(body);
  for await (const piece of body) {
    if (response.destroyed) return;
    response.write(piece);
  }
  response.end();
}
