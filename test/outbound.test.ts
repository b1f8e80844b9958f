import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo, LookupFunction } from 'node:net';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { gzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { addressRefusal } from '../src/outbound/address.ts';
import { createOutbound, type Outbound } from '../src/outbound.ts';

const refusedAddresses = [
  '0.0.0.0',
  '0.1.2.3',
  '10.0.0.1',
  '10.255.255.255',
  '100.64.0.1',
  '100.100.100.200',
  '127.0.0.1',
  '127.255.255.254',
  '169.254.0.1',
  '169.254.169.254',
  '169.254.170.2',
  '172.16.0.1',
  '172.31.255.255',
  '192.0.0.1',
  '192.0.0.192',
  '192.0.2.1',
  '192.88.99.1',
  '192.168.0.1',
  '192.168.255.255',
  '198.18.0.1',
  '198.19.255.255',
  '198.51.100.1',
  '203.0.113.1',
  '224.0.0.1',
  '239.255.255.255',
  '240.0.0.1',
  '255.255.255.255',
  '168.63.129.16',
  '192.31.196.1',
  '192.52.193.1',
  '0x7f.1',
  '0x7f000001',
  '0177.0.0.1',
  '2130706433',
  '127.1',
  '3232235777',
  '0xa9fea9fe',
  '::',
  '::1',
  '[::1]',
  '::127.0.0.1',
  '::7f00:1',
  '::8.8.8.8',
  '::ffff:127.0.0.1',
  '[::ffff:127.0.0.1]',
  '::ffff:7f00:1',
  '::ffff:169.254.169.254',
  '::ffff:0:127.0.0.1',
  '64:ff9b::7f00:1',
  '64:ff9b::169.254.169.254',
  '64:ff9b:1::1',
  '100::1',
  '2001::1',
  '2001:0:4136:e378:8000:63bf:3fff:fdd2',
  '2001:2::1',
  '2001:10::1',
  '2001:20::1',
  '2001:db8::1',
  '2002:7f00:1::',
  '2002:a9fe:a9fe::1',
  '3fff::1',
  '4000::1',
  '5f00::1',
  'fc00::1',
  'fd00::1',
  'fd00:ec2::254',
  'fe80::1',
  'fe80::1%eth0',
  'fec0::1',
  'feff::1',
  'ff02::1',
  'ff0e::1',
  '1::1',
  '',
  'localhost',
  'example.com',
  '1.2.3.4.5',
  '::g',
]; // prettier-ignore
const publicAddresses = [
  '1.1.1.1',
  '8.8.8.8',
  '93.184.216.34',
  '172.15.0.1',
  '172.32.0.1',
  '100.63.255.255',
  '168.63.129.17',
  '2606:4700::1111',
  '2a00:1450:4001::200e',
  '[2001:4860:4860::8888]',
];

describe('addresses', () => {
  it.each(refusedAddresses)('refuses %s', (address) => {
    expect(addressRefusal(address)).toEqual(expect.any(String));
  });
  it.each(publicAddresses)('takes %s', (address) => {
    expect(addressRefusal(address)).toBeNull();
  });
});

describe('URLs that clients give', () => {
  const { refuses } = createOutbound({ allowedHosts: ['media.internal', '127.0.0.1:9000', '[::1]:9000'] });
  it.each([
    'http://127.0.0.1/',
    'http://0x7f.1/',
    'http://2130706433/',
    'http://0177.1/',
    'http://127.1:8080/',
    'http://[::1]/',
    'http://[::ffff:127.0.0.1]/',
    'http://[::127.0.0.1]/',
    'https://169.254.169.254/latest/meta-data',
    'http://168.63.129.16/',
    'http://localhost/',
    'http://LOCALHOST./',
    'http://a.localhost/',
    'http://127.0.0.1./',
    'http://[fec0::1]/',
    'http://１２７.0.0.1/',
    'http://user@example.com/',
    'https://user:pass@example.com/',
    'ftp://example.com/',
    'file:///etc/passwd',
    'javascript:alert(1)',
    'data:text/plain,x',
    'gopher://x/',
    'example.com',
    '//example.com',
    '',
    'http://',
    'http://127.0.0.1:9001/',
    'http://0/',
    'http://0.0.0.0:80/',
  ])('refuses %s', (url) => {
    expect(refuses(url)).toMatch(/^must /);
  });
  it.each([
    'https://example.com/a?b=c',
    'http://1.1.1.1:8080/',
    'http://media.internal/',
    'http://media.internal:8443/',
    'http://127.0.0.1:9000/',
    'http://[::1]:9000/',
    'http://2130706433:9000/',
  ])('takes %s', (url) => {
    expect(refuses(url)).toBeNull();
  });
});

describe('requests', () => {
  let server: Server;
  let port: number;
  let outbound: Outbound;
  let resolved = 0;
  const seen: IncomingMessage[] = [];
  /** What each name resolves to. */
  const names: Record<string, string[]> = {
    'good.test': ['127.0.0.1'],
    'evil.test': ['127.0.0.1'],
    'mixed.test': ['93.184.216.34', '127.0.0.1'],
  };
  const lookup: LookupFunction = (hostname, _options, callback) => {
    resolved++;
    const addresses = names[hostname];
    if (addresses)
      callback(
        null,
        addresses.map((address) => ({ address, family: 4 })),
      );
    else callback(Object.assign(new Error('no such name'), { code: 'ENOTFOUND' }), '', 0);
  };
  const routes: Record<string, (request: IncomingMessage, response: ServerResponse) => void> = {
    '/hello': (_, response) => response.end('hello'),
    '/large': (_, response) => response.end(Buffer.alloc(100_000)),
    '/bomb': (_, response) =>
      response.writeHead(200, { 'content-encoding': 'gzip' }).end(gzipSync(Buffer.alloc(5_000_000))),
    '/zipped': (_, response) => response.writeHead(200, { 'content-encoding': 'gzip' }).end(gzipSync('unfolded')),
    '/odd': (_, response) => response.writeHead(200, { 'content-encoding': 'zstd-9' }).end('?'),
    '/drip': (_, response) => void response.write('a'),
    '/hang': () => {},
    '/cut': (_, response) =>
      response.writeHead(200, { 'content-length': '100' }).write('half', () => response.destroy()),
    '/to-evil': (_, response) => response.writeHead(302, { location: `http://evil.test:${port}/hello` }).end(),
    '/to-literal': (_, response) => response.writeHead(302, { location: 'http://[::ffff:127.0.0.1]/' }).end(),
    '/to-file': (_, response) => response.writeHead(302, { location: 'file:///etc/passwd' }).end(),
    '/to-hello': (_, response) => response.writeHead(302, { location: '/hello' }).end(),
    '/to-other': (_, response) => response.writeHead(307, { location: `http://127.0.0.1:${port}/hello` }).end(),
    '/round': (_, response) => response.writeHead(302, { location: '/round' }).end(),
  };
  beforeAll(async () => {
    server = createServer((request, response) => {
      seen.push(request);
      routes[request.url!]?.(request, response);
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    port = (server.address() as AddressInfo).port;
    outbound = createOutbound({ allowedHosts: [`good.test:${port}`, `127.0.0.1:${port}`], lookup });
  });
  afterAll(async () => {
    server.closeAllConnections();
    server.close();
    await outbound.close();
  });
  const get = (path: string, options = {}) =>
    outbound.fetch(`http://good.test:${port}${path}`, { timeoutMs: 2_000, maxBytes: 50_000, ...options });

  it('reaches a private host that is allowed, under its own name', async () => {
    const response = await get('/hello');
    expect([response.status, await response.text()]).toEqual([200, 'hello']);
    expect(seen.at(-1)!.headers.host).toBe(`good.test:${port}`);
  });
  it('refuses a name that resolves to a private address, and says which', async () => {
    await expect(
      outbound.fetch(`http://evil.test:${port}/hello`, { timeoutMs: 2_000, maxBytes: 10 }),
    ).rejects.toMatchObject({
      name: 'OutsideError',
      retryable: false,
      message: `GET http://evil.test:${port}/hello: evil.test resolves to 127.0.0.1, which is a loopback address`,
    });
  });
  it('refuses a name of which only one address is private', async () => {
    await expect(outbound.fetch('http://mixed.test/', { timeoutMs: 2_000, maxBytes: 10 })).rejects.toMatchObject({
      retryable: false,
    });
  });
  it('resolves a name once per connection', async () => {
    const fresh = createOutbound({ allowedHosts: ['good.test'], lookup });
    resolved = 0;
    await (await fresh.fetch(`http://good.test:${port}/hello`, { timeoutMs: 2_000, maxBytes: 10 })).text();
    expect(resolved).toBe(1);
    await fresh.close();
  });
  it('refuses a private literal without a connection', async () => {
    const before = seen.length;
    const strict = createOutbound({ allowedHosts: [] });
    for (const host of ['127.0.0.1', '0x7f.1', '[::ffff:127.0.0.1]']) {
      await expect(
        strict.fetch(`http://${host}:${port}/hello`, { timeoutMs: 2_000, maxBytes: 10 }),
      ).rejects.toMatchObject({ retryable: false });
    }
    expect(seen.length).toBe(before);
    await strict.close();
  });
  it.each(['/to-evil', '/to-literal', '/to-file'])('does not follow a redirect %s', async (path) => {
    await expect(get(path, { maxRedirects: 3 })).rejects.toMatchObject({ name: 'OutsideError', retryable: false });
  });
  it('gives a redirect as the answer unless it may follow', async () => {
    const response = await get('/to-hello');
    expect(response.status).toBe(302);
    response.discard();
  });
  it('follows an allowed redirect, and ends a circle', async () => {
    const response = await get('/to-hello', { maxRedirects: 1 });
    expect([await response.text(), response.url]).toEqual(['hello', `http://good.test:${port}/hello`]);
    await expect(get('/round', { maxRedirects: 3 })).rejects.toThrow('more than 3 redirects');
  });
  it('keeps secrets from another host', async () => {
    await (
      await get('/to-other', {
        maxRedirects: 1,
        headers: { authorization: 'Bearer x', 'x-vendor-key': 'y', accept: 'image/*' },
      })
    ).text();
    expect(seen.at(-1)!.headers).toMatchObject({ accept: 'image/*' });
    expect(seen.at(-1)!.headers).not.toHaveProperty('authorization');
    expect(seen.at(-1)!.headers).not.toHaveProperty('x-vendor-key');
  });
  it.each(['/large', '/bomb'])('cuts %s at its limit', async (path) => {
    await expect((await get(path)).text()).rejects.toThrow('the answer is larger than 50000 bytes');
  });
  it('unfolds what came compressed though identity was asked for, and refuses what it cannot', async () => {
    expect(await (await get('/zipped')).text()).toBe('unfolded');
    await expect(get('/odd').then((response) => response.text())).rejects.toThrow('unknown content-encoding zstd-9');
  });
  it.each(['/hang', '/drip'])('gives up on %s at its time limit', async (path) => {
    const started = Date.now();
    await expect(get(path, { timeoutMs: 200 }).then((response) => response.text())).rejects.toMatchObject({
      retryable: true,
      message: expect.stringContaining('timed out'),
    });
    expect(Date.now() - started).toBeLessThan(1_500);
  });
  it('gives up at its time limit also when memory is tidied up meanwhile', async () => {
    setFlagsFromString('--expose-gc');
    const tidyUp = runInNewContext('gc') as () => void;
    const tidying = setInterval(tidyUp, 20);
    const { signal } = new AbortController();
    await expect(get('/hang', { timeoutMs: 300, signal }))
      .rejects.toThrow('timed out')
      .finally(() => clearInterval(tidying));
  });
  it('reports a body that breaks off', async () => {
    await expect(get('/cut').then((response) => response.text())).rejects.toMatchObject({
      name: 'OutsideError',
      retryable: true,
    });
  });
  it('never tells a query, which may hold a signature', async () => {
    const error = await outbound
      .fetch('http://evil.test/a?signature=secret', { timeoutMs: 2_000, maxBytes: 10 })
      .catch((cause) => cause);
    expect(error.message).not.toContain('secret');
  });
  it('says that a name does not exist', async () => {
    await expect(outbound.fetch('http://missing.test/', { timeoutMs: 2_000, maxBytes: 10 })).rejects.toThrow(
      'GET http://missing.test/: ENOTFOUND',
    );
  });
});
