import { getEventListeners, once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { type AddressInfo, connect, createServer as createTcpServer, type LookupFunction, type Socket } from 'node:net';
import { setTimeout as pause } from 'node:timers/promises';
import { gzipSync } from 'node:zlib';
import type { Redis } from 'ioredis';
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest';
import { type WebSocket, WebSocketServer } from 'ws';
import { createLog } from '../src/log.ts';
import { connectRedis } from '../src/redis.ts';
import type { Credential, LoadedAdapter } from '../src/registry.ts';
import type { Adapter, AdapterFetch, FetchOptions } from '../src/sdk/index.ts';
import { createVendors, type Vendors } from '../src/vendor.ts';
import { eventually } from './eventually.ts';

const secret = 'sk-very-secret';
const credential: Credential = { id: 'one', secrets: { KEY: secret } };
const never = () => new AbortController().signal;
const log = createLog('silent', 'test');
/** What each name resolves to; `silent.test` never does. */
const names: { [name: string]: string } = { 'vendor.test': '127.0.0.1', 'moves.test': '127.0.0.1' };
const lookup: LookupFunction = (hostname, _, callback) => {
  if (hostname === 'silent.test') return;
  const address = names[hostname];
  if (address) callback(null, [{ address, family: 4 }]);
  else callback(Object.assign(new Error('no such name'), { code: 'ENOTFOUND' }), '', 0);
};

function adapter(facts: Partial<Adapter>): LoadedAdapter {
  return { adapter: { name: 'acme', ...facts } as Adapter, config: {}, credentials: [credential], models: [] };
}

/** A server of bytes: what it does is said per connection. */
async function serveBytes(act: (socket: Socket, number: number) => void) {
  const sockets = new Set<Socket>();
  let connections = 0;
  const server = createTcpServer((socket) => {
    sockets.add(
      socket
        .on('error', () => {})
        .on('close', () => sockets.delete(socket))
        .resume(),
    );
    act(socket, ++connections);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  return {
    port,
    url: `http://127.0.0.1:${port}`,
    sockets,
    connections: () => connections,
    close() {
      for (const socket of sockets) socket.destroy();
      server.close();
    },
  };
}

let redis: Redis;
let vendors: Vendors;
const seen: (IncomingMessage & { text: string })[] = [];
const big = Buffer.alloc(65_536, 'x');
const flood = (response: ServerResponse, piece: Buffer | string) => {
  const write = () => {
    while (!response.destroyed && response.write(piece));
  };
  response.on('drain', write);
  write();
};
const routes: { [path: string]: (request: IncomingMessage & { text: string }, response: ServerResponse) => void } = {
  '/json': (_, response) => response.end('{"a":1}'),
  '/echo': (request, response) => response.end(JSON.stringify({ headers: request.headers, text: request.text })),
  '/none': (_, response) => response.writeHead(204).end(),
  '/empty': (_, response) => response.end(),
  '/html': (_, response) => response.end('<html>busy</html>'),
  '/marked': (_, response) => response.end('\uFEFF{"a":1}'),
  '/reset': (request) => void request.socket.resetAndDestroy(),
  '/hang': () => {},
  '/cut': (_, response) =>
    response.writeHead(200, { 'content-length': 100 }).write('half', () => response.socket!.destroy()),
  '/endless': (_, response) => flood(response, big),
  '/drip': (_, response) => {
    const timer = setInterval(() => response.write('x'), 20);
    response.on('close', () => clearInterval(timer));
  },
  '/bomb': (_, response) =>
    response.writeHead(200, { 'content-encoding': 'gzip' }).end(gzipSync(Buffer.alloc(5_000_000))),
  '/cut-zip': (_, response) =>
    response.writeHead(200, { 'content-encoding': 'gzip' }).end(gzipSync('x'.repeat(9_000)).subarray(0, 20)),
  '/odd-429': (_, response) =>
    response.writeHead(429, { 'content-encoding': 'zstd', 'retry-after': '3' }).end('whatever'),
  '/500': (_, response) => response.writeHead(500, { 'x-request-id': 'r-1' }).end('x'.repeat(100_000)),
  '/drip-400': (_, response) => void response.writeHead(400).write('{"why":'),
  '/events': (_, response) => {
    response.writeHead(200, { 'content-type': 'text/event-stream' });
    response.write(': hello\n\nevent: a\r\nid: 7\r\ndata: é');
    response.end('1\r\ndata: 2\r\n\r\ndata: last\n\ndata: unfinished');
  },
  '/line': (_, response) => flood(response, big),
  '/to-json': (_, response) => response.writeHead(302, { location: '/json' }).end(),
  '/to-echo-303': (_, response) => response.writeHead(303, { location: '/echo' }).end(),
  '/to-echo-elsewhere': (_, response) => response.writeHead(307, { location: `http://vendor.test:${port}/echo` }).end(),
  '/to-moves': (_, response) => response.writeHead(302, { location: `http://moves.test:${port}/json` }).end(),
  '/to-undeclared': (_, response) => response.writeHead(302, { location: 'http://other.example/' }).end(),
  '/to-userinfo': (_, response) => response.writeHead(302, { location: `http://a:b@127.0.0.1:${port}/` }).end(),
  '/to-file': (_, response) => response.writeHead(302, { location: 'file:///etc/passwd' }).end(),
  '/to-nothing': (_, response) => response.writeHead(302, { location: 'http://' }).end(),
  '/round': (_, response) => response.writeHead(302, { location: '/round' }).end(),
};
const server = createServer(async (request, response) => {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk);
  const whole = Object.assign(request, { text: Buffer.concat(chunks).toString('utf8') });
  seen.push(whole);
  routes[request.url!.split('?')[0]!]?.(whole, response);
});
let port = 0;
let base = '';
let fetch: AdapterFetch;

beforeAll(async () => {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  port = (server.address() as AddressInfo).port;
  base = `http://127.0.0.1:${port}`;
  redis = connectRedis(inject('services').redisUrl, { log });
  await once(redis, 'ready');
  vendors = createVendors({ allowedHosts: [], redis, prefix: `vendor-test-${process.pid}`, lookup });
  fetch = open({}).fetch;
});
afterAll(async () => {
  await vendors.close();
  redis.disconnect();
  server.closeAllConnections();
  server.close();
});

function open(
  facts: Partial<Adapter>,
  options: { signal?: AbortSignal; timeoutMs?: number; from?: Vendors } = {},
): ReturnType<Vendors['open']> {
  const { signal = never(), timeoutMs = 2_000, from = vendors } = options;
  const hosts = () => ['127.0.0.1', '*.test'];
  const privateHosts = () => ['127.0.0.1', 'vendor.test'];
  return from.open(adapter({ hosts, privateHosts, ...facts }), credential, { signal, timeoutMs });
}

const failing = (work: Promise<unknown>): Promise<any> =>
  work.then(
    () => expect.fail('it did not fail'),
    (error) => error,
  );
const failed = (path: string, options?: FetchOptions): Promise<any> =>
  failing(fetch(path.includes('://') ? path : base + path, options).then((answer) => answer.bytes()));
const post = { json: { prompt: 'x' } };

describe('whether a request was sent', () => {
  const garbage: { [name: string]: (socket: Socket) => void } = {
    'HTTP garbage': (socket) => socket.on('data', () => socket.end('NOPE nope\r\n\r\n')),
    'an end instead of an answer': (socket) => socket.on('data', () => socket.end()),
    'a reset': (socket) => socket.on('data', () => socket.resetAndDestroy()),
    'half a header': (socket) => socket.on('data', () => socket.end('HTTP/1.1 200 OK\r\ncontent-le')),
    'headers without end': (socket) =>
      socket.on('data', () => {
        socket.write('HTTP/1.1 200 OK\r\n');
        for (let count = 0; count < 1_000; count++) socket.write(`x-${count}: ${'y'.repeat(100)}\r\n`);
      }),
  };
  it.each(Object.entries(garbage))('maybe, and once: %s', async (_, act) => {
    for (const options of [post, {}]) {
      const vendor = await serveBytes(act);
      expect(await failed(vendor.url, options)).toMatchObject({ name: 'NetworkFailure', sent: 'maybe' });
      await pause(20);
      expect(vendor.connections()).toBe(1);
      vendor.close();
    }
  });
  it.each(['/reset', '/hang', '/cut', '/endless', '/drip', '/cut-zip'])('maybe, and once: %s', async (path) => {
    for (const options of [post, {}]) {
      const before = seen.length;
      const failure = await failed(path, { ...options, timeoutMs: 150, maxBytes: 1_000_000 });
      expect(failure).toMatchObject({ name: 'NetworkFailure', sent: 'maybe' });
      expect(seen.length - before).toBe(1);
    }
  });
  it('no: nobody listens, or there is no such name', async () => {
    const gone = await serveBytes(() => {});
    gone.close();
    for (const url of [gone.url, 'http://missing.test/'])
      for (const options of [post, {}])
        expect(await failed(url, options)).toMatchObject({ name: 'NetworkFailure', sent: 'no' });
  });
  it('no: TLS fails before the request', async () => {
    const vendor = await serveBytes((socket) => socket.on('data', () => socket.end('this is no TLS')));
    expect(await failed(vendor.url.replace('http', 'https'), post)).toMatchObject({
      name: 'NetworkFailure',
      sent: 'no',
    });
    vendor.close();
  });
  it('no: the time is over, or nobody wants it, while the connection is being made', async () => {
    const begun = performance.now();
    const url = 'http://silent.test/';
    expect(await failed(url, { ...post, timeoutMs: 50 })).toMatchObject({ name: 'NetworkFailure', sent: 'no' });
    const stop = new AbortController();
    setTimeout(() => stop.abort('enough'), 50);
    expect(await failed(url, { ...post, signal: stop.signal })).toBe('enough');
    expect(await failed(url, { ...post, signal: stop.signal })).toBe('enough');
    expect(performance.now() - begun).toBeLessThan(1_000);
  });
  it('never twice into a connection that the server has given up', async () => {
    const answer = 'HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}';
    let requests = 0;
    const vendor = await serveBytes((socket) => {
      let isFirst = true;
      socket.on('data', () => {
        requests++;
        if (isFirst) socket.write(answer);
        else socket.resetAndDestroy();
        isFirst = false;
      });
    });
    for (let count = 0; count < 5; count++) await (await fetch(vendor.url, post)).json();
    expect([requests, vendor.connections()]).toEqual([5, 5]);
    await (await fetch(vendor.url)).json();
    await pause(20);
    expect(await failed(vendor.url)).toMatchObject({ sent: 'maybe' });
    await (await fetch(vendor.url)).json();
    expect(requests).toBe(8);
    vendor.close();
  });
});

describe('answers', () => {
  it('come as JSON, text, bytes, pieces', async () => {
    expect(await (await fetch(`${base}/json`)).json()).toEqual({ a: 1 });
    expect(await (await fetch(`${base}/marked`)).json()).toEqual({ a: 1 });
    expect(await (await fetch(`${base}/json`)).text()).toBe('{"a":1}');
    expect((await (await fetch(`${base}/json`)).bytes()).length).toBe(7);
    for await (const piece of (await fetch(`${base}/json`)).body) expect(piece).toBeInstanceOf(Uint8Array);
  });
  it('may be empty, and are no JSON then', async () => {
    expect(await (await fetch(`${base}/none`)).text()).toBe('');
    expect(await (await fetch(`${base}/json`, { method: 'HEAD' })).text()).toBe('');
    for (const path of ['/none', '/empty', '/html']) {
      const failure = await failing((await fetch(base + path)).json());
      expect(failure).toMatchObject({ name: 'NetworkFailure', sent: 'maybe' });
    }
  });
  it('are read once, and say so', async () => {
    const answer = await fetch(`${base}/json`);
    await answer.json();
    await expect(answer.json()).rejects.toThrow('the body was read already');
  });
  it('cannot unfold without limit', async () => {
    expect(await failed('/bomb', { maxBytes: 100_000 })).toMatchObject({
      message: expect.stringContaining('larger than 100000 bytes'),
    });
  });
  it('of 300 and more are failures with what the server said, however badly it said it', async () => {
    const failure = await failed('/500?key=sk-very-secret', post);
    expect(failure).toMatchObject({ name: 'HttpFailure', status: 500, message: `POST ${base}/500: answered 500` });
    expect(failure.headers.get('x-request-id')).toBe('r-1');
    expect(failure.body.length).toBe(65_536);
    expect(await failed('/odd-429', post)).toMatchObject({ name: 'HttpFailure', status: 429 });
    expect(await failed('/drip-400', { timeoutMs: 100 })).toMatchObject({ status: 400, body: '{"why":' });
  });
  it('come as events', async () => {
    const events: unknown[] = [];
    for await (const event of (await fetch(`${base}/events`)).events()) events.push(event);
    expect(events).toEqual([
      { event: 'a', id: '7', data: 'é1\n2' },
      { event: undefined, id: undefined, data: 'last' },
    ]);
  });
  it('with a line that does not end cost neither memory nor time beyond the limit', async () => {
    const before = process.memoryUsage().rss;
    const begun = process.cpuUsage();
    const read = async () => {
      for await (const _ of (await fetch(`${base}/line`, { maxBytes: 16_000_000 })).events());
    };
    expect(await failing(read())).toMatchObject({ name: 'NetworkFailure', sent: 'maybe' });
    expect(process.memoryUsage().rss - before).toBeLessThan(150_000_000);
    expect(process.cpuUsage(begun).user).toBeLessThan(1_500_000);
  });
  it('that nobody reads end with the time limit, and one that is left ends at once', async () => {
    const closed = new Promise<void>((resolve) => {
      routes['/watched'] = (_, response) => {
        response.on('close', resolve);
        flood(response, big);
      };
    });
    await fetch(`${base}/watched`, { timeoutMs: 100 });
    await closed;
    const left = new Promise<void>((resolve) => {
      routes['/left'] = (_, response) => {
        response.on('close', resolve);
        flood(response, big);
      };
    });
    for await (const _ of (await fetch(`${base}/left`)).body) break;
    await left;
  });
});

describe('requests', () => {
  it('carry JSON and headers, each once', async () => {
    const answer = await fetch(`${base}/echo`, {
      ...post,
      headers: { 'Content-Type': 'application/vnd.x+json', A: 'b' },
    });
    expect(await answer.json()).toMatchObject({
      text: '{"prompt":"x"}',
      headers: { 'content-type': 'application/vnd.x+json', a: 'b', 'user-agent': 'Atelier' },
    });
  });
  it('carry forms, with files', async () => {
    const form = new FormData();
    form.append('prompt', 'x');
    form.append('image', new Blob(['bytes'], { type: 'image/png' }), 'a.png');
    const { headers, text } = await (await fetch(`${base}/echo`, { body: form })).json();
    const boundary = /^multipart\/form-data; boundary=(.+)$/.exec(headers['content-type'])?.[1];
    expect(text).toContain(`--${boundary}\r\n`);
    expect(text).toContain('name="image"; filename="a.png"\r\nContent-Type: image/png\r\n\r\nbytes\r\n');
    expect(headers['content-length']).toBe(String(text.length));
  });
  it('that cannot be made are the adapter’s mistake, and tell no secret', async () => {
    for (const options of [
      { ...post, body: 'x' },
      { method: 'GET', body: 'x' },
      { headers: { authorization: `Bearer ${secret}\n` } },
    ] as FetchOptions[]) {
      const failure = await failed('/echo', options);
      expect(failure).toBeInstanceOf(TypeError);
      expect(failure.message).not.toContain(secret);
    }
  });
  it('tell no query', async () => {
    for (const path of ['/hang', '/reset', '/500', '/html', '/round']) {
      const answered = fetch(`${base}${path}?key=${secret}`, { timeoutMs: 100 }).then((answer) => answer.json());
      expect((await failing(answered)).message).not.toContain(secret);
    }
    expect((await failed(`http://other.example/?key=${secret}`)).message).not.toContain(secret);
    expect((await failed(`http://u:${secret}@127.0.0.1/`)).message).not.toContain(secret);
  });
});

describe('signals', () => {
  it('end a request with their reason, and its connection with it', async () => {
    for (const whose of ['context', 'request']) {
      const vendor = await serveBytes(() => {});
      const stop = new AbortController();
      const reason = { because: whose };
      const context = open({}, { signal: whose === 'context' ? stop.signal : never() });
      const failure = failing(
        context.fetch(vendor.url, { ...post, signal: whose === 'request' ? stop.signal : never() }),
      );
      await eventually(() => vendor.sockets.size === 1);
      stop.abort(reason);
      expect(await failure).toBe(reason);
      await eventually(() => vendor.sockets.size === 0);
      vendor.close();
    }
  });
  it('end a body and a wait for the turn with their reason', async () => {
    const stop = new AbortController();
    const { fetch } = open({ name: 'slow', limits: { requestsPerSecond: 0.3 } }, { signal: stop.signal });
    const { body } = await fetch(`${base}/drip`);
    const waits = failing(fetch(`${base}/json`));
    const reads = failing(
      (async () => {
        for await (const _ of body);
      })(),
    );
    setTimeout(() => stop.abort('enough'), 50);
    expect([await waits, await reads]).toEqual(['enough', 'enough']);
  });
  it('keep nothing of the requests that were made under them', async () => {
    const warnings: Error[] = [];
    const warn = (warning: Error) => warnings.push(warning);
    process.on('warning', warn);
    const stop = new AbortController();
    const { fetch } = open({}, { signal: stop.signal });
    await Promise.all(
      Array.from({ length: 20 }, async () => {
        for (let count = 0; count < 3; count++) {
          await (await fetch(`${base}/json`)).json();
          await fetch(`${base}/500`, post).catch(() => {});
          await fetch(`${base}/reset`, post).catch(() => {});
          await fetch(`${base}/to-json`).then((answer) => answer.text());
        }
      }),
    );
    process.off('warning', warn);
    expect(getEventListeners(stop.signal, 'abort').length).toBeLessThan(2);
    expect(warnings).toEqual([]);
  });
});

describe('hosts', () => {
  const patterns = [
    '*.acme.example',
    'API.acme.test.',
    'only.test:8443',
    '*.ports.test:81',
    'bücher.test',
    '::1',
    '[::2]:90',
  ];
  const { fetch: declared } = { fetch: (url: string) => failing(open({ hosts: () => patterns }).fetch(url)) };
  it.each([
    'http://acme.example/',
    'http://evilacme.example/',
    'http://acme.example.evil.test/',
    'http://only.test/',
    'http://a.ports.test/',
    'http://127.0.0.1/',
    'http://[::2:90]/',
    'http://[::2]/',
    'http://user@a.acme.example/',
    'http://:pass@a.acme.example/',
    'ftp://a.acme.example/',
    'ws://a.acme.example/',
    'file:///etc/passwd',
    'a.acme.example',
    '',
  ])('refuses %s', async (url) => {
    expect((await declared(url)).facts).toMatchObject({ code: 'HOST_REFUSED', class: 'permanent', billed: 'nothing' });
  });
  it.each([
    'http://a.acme.example/',
    'http://A.B.ACME.EXAMPLE./',
    'https://api.acme.test:1234/',
    'https://only.test:8443/',
    'http://a.ports.test:81/',
    'http://xn--bcher-kva.test/',
  ])('lets %s pass, as far as the name goes', async (url) => {
    expect(await declared(url)).toMatchObject({ name: 'NetworkFailure', sent: 'no' });
  });
  it('that are declared and lie in a private network are refused, before anything is sent', async () => {
    const before = seen.length;
    const strict = open({ privateHosts: () => [] });
    for (const host of ['127.0.0.1', 'vendor.test', '2130706433', '0x7f.1'])
      expect((await failing(strict.fetch(`http://${host}:${port}/json`, post))).facts.code).toBe('HOST_REFUSED');
    expect((await failing(strict.fetch('http://[::ffff:127.0.0.1]/', post))).facts.code).toBe('HOST_REFUSED');
    expect(seen.length).toBe(before);
  });
  it('may be private where the operator says so', async () => {
    const from = createVendors({ allowedHosts: [`vendor.test:${port}`], redis, prefix: 'x', lookup });
    const { fetch } = open({ privateHosts: () => [] }, { from });
    expect(await (await fetch(`http://vendor.test:${port}/json`)).json()).toEqual({ a: 1 });
    expect((await failing(fetch(`http://moves.test:${port}/json`))).facts.code).toBe('HOST_REFUSED');
    await from.close();
  });
  it('of outputs are others', async () => {
    const loaded = adapter({ hosts: () => [], assetHosts: () => ['127.0.0.1'], privateHosts: () => ['127.0.0.1'] });
    expect(await (await vendors.openAssets(loaded, never())(`${base}/json`)).json()).toEqual({ a: 1 });
    const { fetch } = vendors.open(loaded, credential, { signal: never() });
    expect((await failing(fetch(`${base}/json`))).facts.code).toBe('HOST_REFUSED');
  });
});

describe('redirects', () => {
  it('of a GET are followed, five at most', async () => {
    const answer = await fetch(`${base}/to-json`);
    expect([answer.url, await answer.json()]).toEqual([`${base}/json`, { a: 1 }]);
    const before = seen.length;
    expect(await failed('/round')).toMatchObject({ name: 'HttpFailure', status: 302 });
    expect(seen.length - before).toBe(6);
  });
  it('take headers along, but not to another origin', async () => {
    const headers = { authorization: `Bearer ${secret}`, 'X-Key': secret, accept: 'image/*' };
    const same = await (await fetch(`${base}/to-echo-303`, { headers })).json();
    expect(same.headers).toMatchObject({ authorization: `Bearer ${secret}`, 'x-key': secret });
    const other = await (await fetch(`${base}/to-echo-elsewhere`, { headers })).json();
    expect(other.headers).toMatchObject({ accept: 'image/*', 'user-agent': 'Atelier' });
    expect(JSON.stringify(other.headers)).not.toContain(secret);
  });
  it.each(['/to-undeclared', '/to-moves', '/to-userinfo', '/to-file'])('are checked again: %s', async (path) => {
    expect((await failed(path)).facts).toMatchObject({ code: 'HOST_REFUSED' });
  });
  it('to nothing are no answer', async () => {
    expect(await failed('/to-nothing')).toMatchObject({ name: 'NetworkFailure', sent: 'maybe' });
  });
  it('of anything else are failures', async () => {
    const before = seen.length;
    for (const path of ['/to-json', '/to-echo-303', '/to-echo-elsewhere'])
      expect(await failed(path, post)).toMatchObject({ name: 'HttpFailure' });
    expect(seen.length - before).toBe(3);
  });
});

describe('the rate', () => {
  const limited = (name: string, perSecond: number, from?: Vendors, signal?: AbortSignal) =>
    open({ name, limits: { requestsPerSecond: perSecond } }, { from, signal }).fetch;
  const times = async (fetches: AdapterFetch[]): Promise<number[]> => {
    const begun = performance.now();
    const each = async (fetch: AdapterFetch) => {
      await (await fetch(`${base}/json`)).text();
      return performance.now() - begun;
    };
    return (await Promise.all(fetches.map(each))).sort((a, b) => a - b);
  };

  it('is kept by several processes together, in any second', async () => {
    const other = connectRedis(inject('services').redisUrl, { log });
    await once(other, 'ready');
    const from = createVendors({ allowedHosts: [], redis: other, prefix: `vendor-test-${process.pid}`, lookup });
    const both = [limited('fast', 20), limited('fast', 20, from)];
    const at = await times(Array.from({ length: 45 }, (_, number) => both[number % 2]!));
    for (const [number, time] of at.slice(20).entries()) expect(time - at[number]!).toBeGreaterThan(900);
    expect(at.at(-1)).toBeGreaterThan(1_900);
    expect(at.at(-1)).toBeLessThan(2_800);
    await from.close();
    other.disconnect();
  });
  it('may be a fraction, and a turn that comes too late is refused at once', async () => {
    const fetch = limited('half', 0.5);
    const begun = performance.now();
    await (await fetch(`${base}/json`)).text();
    const stop = new AbortController();
    const second = failing(limited('half', 0.5, undefined, stop.signal)(`${base}/json`));
    const third = failing(limited('half', 0.5, undefined, stop.signal)(`${base}/json`));
    const before = seen.length;
    expect((await failing(fetch(`${base}/json`, post))).facts).toMatchObject({
      class: 'rate_limited',
      retryAfterMs: expect.any(Number),
      billed: 'nothing',
    });
    stop.abort('enough');
    expect([await second, await third]).toEqual(['enough', 'enough']);
    expect(seen.length).toBe(before);
    expect(performance.now() - begun).toBeLessThan(1_000);
  });
  it('is a quarter of it while Redis is away, cut or silent', async () => {
    const { hostname, port: redisPort } = new URL(inject('services').redisUrl);
    let isSilent = false;
    const door = await serveBytes((socket) => {
      const inner = connect(Number(redisPort), hostname).on('error', () => {});
      inner.pipe(socket);
      socket.on('data', (chunk) => isSilent || inner.write(chunk)).on('close', () => inner.destroy());
    });
    const url = new URL(inject('services').redisUrl);
    url.host = `127.0.0.1:${door.port}`;
    const through = connectRedis(url.href, { log });
    await once(through, 'ready');
    const from = createVendors({ allowedHosts: [], redis: through, prefix: `vendor-test-${process.pid}`, lookup });
    const fetch = limited('away', 40, from);
    expect((await times(Array(30).fill(fetch))).at(-1)).toBeLessThan(800);
    isSilent = true;
    const silent = await times(Array(15).fill(fetch));
    expect(silent[9]).toBeLessThan(1_000);
    expect(silent[14]).toBeGreaterThan(1_000);
    door.close();
    await once(through, 'close');
    const cut = await times(Array(3).fill(fetch));
    expect(cut[2]).toBeLessThan(1_500);
    await from.close();
    through.disconnect();
  });
});

describe('what is cached', () => {
  it('is made once, made again when it is old, and not kept when it failed', async () => {
    const { cached } = open({ name: 'cached' });
    let made = 0;
    const make = async () => ++made;
    expect(await Promise.all([cached('a', 1_000, make), cached('a', 1_000, make)])).toEqual([1, 1]);
    await pause(2);
    expect(await cached('b', 1, make)).toBe(2);
    await pause(5);
    expect(await cached('b', 1, make)).toBe(3);
    const fail = () => {
      throw new Error('no');
    };
    await expect(cached('c', 1_000, fail)).rejects.toThrow('no');
    expect(await cached('c', 1_000, make)).toBe(4);
  });
  it('does not fail for others because its maker was cancelled', async () => {
    const stop = new AbortController();
    const first = open({ name: 'cached' }, { signal: stop.signal });
    const failure = failing(first.cached('d', 1_000, async () => (await first.fetch(`${base}/hang`)).json()));
    const second = open({ name: 'cached' }).cached('d', 1_000, async () => 'mine');
    stop.abort('cancelled');
    expect([await failure, await second]).toEqual(['cancelled', 'mine']);
  });
});

describe('a WebSocket', () => {
  const clients: WebSocket[] = [];
  const headers: IncomingMessage[] = [];
  let sockets: WebSocketServer;
  let url: string;
  let greet: (client: WebSocket) => void = () => {};
  beforeAll(async () => {
    sockets = new WebSocketServer({ port: 0, host: '127.0.0.1' });
    await once(sockets, 'listening');
    url = `ws://127.0.0.1:${(sockets.address() as AddressInfo).port}/ws`;
    sockets.on('connection', (client, request) => {
      client.on('error', () => {});
      clients.push(client);
      headers.push(request);
      greet(client);
    });
  });
  afterAll(() => {
    for (const client of sockets.clients) client.terminate();
    sockets.close();
  });
  const collect = async (messages: AsyncIterable<unknown>): Promise<unknown[]> => {
    const all: unknown[] = [];
    for await (const message of messages) all.push(message);
    return all;
  };

  it('gives its messages until the server closes it, and brings our headers', async () => {
    greet = (client) => {
      client.send('a');
      client.send(Buffer.from([1, 2]));
      client.close(1000);
    };
    const { socket } = open({});
    expect(await collect(socket(url, { headers: { 'x-key': secret } }))).toEqual(['a', new Uint8Array([1, 2])]);
    expect(headers.at(-1)!.headers).toMatchObject({ 'x-key': secret, 'user-agent': 'Atelier' });
  });
  it('fails when the server dies, and closes when the loop is left', async () => {
    greet = (client) => client.send('a', () => client.terminate());
    expect(await failing(collect(open({}).socket(url)))).toMatchObject({ name: 'NetworkFailure', sent: 'maybe' });
    greet = (client) => client.send('a');
    for await (const _ of open({}).socket(url)) break;
    await once(clients.at(-1)!, 'close');
  });
  it('ends with the reason of the signal, also when nobody reads', async () => {
    greet = (client) => client.send('a');
    const stop = new AbortController();
    const messages = open({}, { signal: stop.signal }).socket(url)[Symbol.asyncIterator]();
    expect(await messages.next()).toEqual({ done: false, value: 'a' });
    stop.abort('enough');
    await once(clients.at(-1)!, 'close');
    expect(await failing(messages.next() as Promise<unknown>)).toBe('enough');
    expect(await failing(collect(open({}, { signal: stop.signal }).socket(url)))).toBe('enough');
  });
  it('holds a server back that says more than is read', async () => {
    let isFull = false;
    greet = (client) => {
      const piece = Buffer.alloc(100_000);
      const timer = setInterval(() => {
        isFull = client.bufferedAmount > 20_000_000;
        if (!isFull && client.readyState === client.OPEN) for (let count = 0; count < 50; count++) client.send(piece);
        if (client.readyState !== client.OPEN) clearInterval(timer);
      }, 1);
    };
    let read = 0;
    for await (const _ of open({}).socket(url)) {
      if (read++ === 0) await eventually(() => isFull);
      if (read === 500) break;
    }
    expect(read).toBe(500);
    await once(clients.at(-1)!, 'close');
  });
  it('is not opened to where it must not go, to nobody, or to what is none', async () => {
    const { socket } = open({ hosts: () => ['127.0.0.1', 'moves.test', 'silent.test'] });
    expect((await failing(collect(socket('ws://other.example/')))).facts.code).toBe('HOST_REFUSED');
    expect((await failing(collect(socket(`ws://moves.test:${port}/`)))).facts.code).toBe('HOST_REFUSED');
    expect(await failing(collect(socket('ws://127.0.0.1:1/')))).toMatchObject({ name: 'NetworkFailure', sent: 'no' });
    const none = await failing(collect(socket(`ws://127.0.0.1:${port}/json?key=${secret}`)));
    expect(none).toMatchObject({ name: 'NetworkFailure', sent: 'maybe' });
    expect(none.message).not.toContain(secret);
    const stop = new AbortController();
    setTimeout(() => stop.abort('enough'), 30);
    expect(await failing(collect(open({}, { signal: stop.signal }).socket('ws://silent.test/')))).toBe('enough');
  });
  it('with a message that is too large is no answer', async () => {
    greet = (client) => client.send(Buffer.alloc(9_000_000));
    expect(await failing(collect(open({}).socket(url)))).toMatchObject({ name: 'NetworkFailure', sent: 'maybe' });
  });
});

it('close ends everything at once, whatever it waits for', async () => {
  const from = createVendors({ allowedHosts: [], redis, prefix: `vendor-test-${process.pid}`, lookup });
  const loaded = adapter({
    name: 'closing',
    hosts: () => ['127.0.0.1', 'silent.test'],
    privateHosts: () => ['127.0.0.1'],
    limits: { requestsPerSecond: 4 },
  });
  const sockets = new WebSocketServer({ port: 0, host: '127.0.0.1' });
  await once(sockets, 'listening');
  const { fetch, socket } = from.open(loaded, credential, { signal: never() });
  const messages = socket(`ws://127.0.0.1:${(sockets.address() as AddressInfo).port}`)[Symbol.asyncIterator]();
  const works = [
    fetch(`${base}/hang`, post),
    fetch(`${base}/drip`).then((answer) => answer.bytes()),
    fetch('http://silent.test/', post),
    messages.next() as Promise<unknown>,
    fetch(`${base}/hang`, post),
  ].map(failing);
  await once(sockets, 'connection');
  await pause(50);
  const begun = performance.now();
  await from.close();
  const failures = await Promise.all(works);
  expect(performance.now() - begun).toBeLessThan(500);
  expect(failures.map(({ name, sent }) => `${name} ${sent}`)).toEqual([
    'NetworkFailure maybe',
    'NetworkFailure maybe',
    'NetworkFailure no',
    'NetworkFailure maybe',
    'NetworkFailure no',
  ]);
  expect(await failing(fetch(`${base}/json`))).toMatchObject({ name: 'NetworkFailure', sent: 'no' });
  sockets.close();
});
