import { randomBytes, randomUUID } from 'node:crypto';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer, request as httpRequest, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { CreateBucketCommand, S3Client } from '@aws-sdk/client-s3';
import { request } from 'undici';
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest';
import { readConfig } from '../src/config.ts';
import { openStorage } from '../src/storage/open.ts';
import type { Storage } from '../src/storage/storage.ts';

const secret = 'a secret of at least thirty-two characters';
let directory: string;
let server: Server;
let publicUrl: string;
let local: Storage;
let s3: Storage;

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'storage-test-'));
  const config = readConfig({
    ATELIER_STORAGE_DIRECTORY: join(directory, 'assets'),
    ATELIER_CORS_ORIGINS: 'https://app.example',
  });
  local = openStorage(config, { publicUrl: () => publicUrl, secret });
  server = createServer((incoming, response) => void local.answer!(incoming, response).catch(() => {}));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  publicUrl = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;

  const access = inject('services').s3;
  const bucket = `storage-${randomUUID()}`;
  const credentials = { accessKeyId: access.accessKeyId, secretAccessKey: access.secretAccessKey };
  await new S3Client({ region: 'us-east-1', endpoint: access.endpoint, forcePathStyle: true, credentials }).send(
    new CreateBucketCommand({ Bucket: bucket }),
  );
  s3 = openStorage(
    readConfig({
      S3_BUCKET: bucket,
      S3_ENDPOINT: access.endpoint,
      S3_ACCESS_KEY_ID: access.accessKeyId,
      S3_SECRET_ACCESS_KEY: access.secretAccessKey,
    }),
    { publicUrl: () => publicUrl, secret },
  );
});
afterAll(async () => {
  server.closeAllConnections();
  server.close();
  await s3.close();
  await rm(directory, { recursive: true });
});

async function file(bytes: Uint8Array | string): Promise<string> {
  const path = join(directory, randomUUID());
  await writeFile(path, bytes);
  return path;
}

async function read(storage: Storage, key: string): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of await storage.get(key)) chunks.push(chunk);
  return Buffer.concat(chunks);
}

const png = { expiresInSeconds: 60, contentType: 'image/png', fileName: 'Größe "1".png' };

describe.each([
  ['a directory', () => local],
  ['S3', () => s3],
])('%s', (_, storage) => {
  it('answers', async () => {
    await storage().check();
  });
  it.each([
    ['small', 1_000],
    ['of 8 MiB', 8 * 1024 * 1024],
    ['above 8 MiB, in parts', 19 * 1024 * 1024 + 7],
  ])('gives back what was stored: %s', async (name, size) => {
    const bytes = randomBytes(size);
    const key = `tasks/t/1/${name.replaceAll(/[ ,]+/g, '-')}.png`;
    await storage().put(key, await file(bytes), { contentType: 'image/png', sizeBytes: size });
    expect(await storage().head(key)).toMatchObject({ sizeBytes: size });
    expect((await read(storage(), key)).equals(bytes)).toBe(true);
    const response = await fetch(await storage().signGet(key, png));
    expect(Buffer.from(await response.arrayBuffer()).equals(bytes)).toBe(true);
    expect(response.headers.get('content-type')).toBe('image/png');
    expect(response.headers.get('content-disposition')).toMatch(
      /^inline; filename=.*filename\*=UTF-8''Gr%C3%B6%C3%9Fe%20%221%22\.png$/i,
    );
  });
  it('replaces, removes, and removes again', async () => {
    await storage().put('a/b', await file('one'), { contentType: 'text/plain', sizeBytes: 3 });
    await storage().put('a/b', await file('four'), { contentType: 'text/plain', sizeBytes: 4 });
    expect((await read(storage(), 'a/b')).toString()).toBe('four');
    await storage().remove('a/b');
    await storage().remove('a/b');
    expect(await storage().head('a/b')).toBeNull();
    await expect(storage().get('a/b')).rejects.toMatchObject({ name: 'OutsideError', retryable: false });
  });
  it('takes an upload by a signed PUT', async () => {
    const put = await storage().signPut('uploads/x', { expiresInSeconds: 60, contentType: 'image/png', sizeBytes: 5 });
    const response = await fetch(put.url, { method: put.method, headers: put.headers, body: 'bytes' });
    expect(response.status).toBe(200);
    expect((await read(storage(), 'uploads/x')).toString()).toBe('bytes');
  });
  it('serves a range', async () => {
    await storage().put('range.txt', await file('0123456789'), { contentType: 'text/plain', sizeBytes: 10 });
    const url = await storage().signGet('range.txt', {
      expiresInSeconds: 60,
      contentType: 'text/plain',
      fileName: 'range.txt',
    });
    const response = await fetch(url, { headers: { range: 'bytes=2-4' } });
    expect([response.status, await response.text(), response.headers.get('content-range')]).toEqual([
      206,
      '234',
      'bytes 2-4/10',
    ]);
  });
});

describe('S3', () => {
  it('binds a PUT to its type and size', async () => {
    const { url } = await s3.signPut('uploads/y', { expiresInSeconds: 60, contentType: 'image/png', sizeBytes: 5 });
    expect(new URL(url).searchParams.get('X-Amz-SignedHeaders')).toBe('content-length;content-type;host');
    expect(url).not.toMatch(/checksum|crc32/i);
  });
  it('signs for the address that clients see', async () => {
    const config = readConfig({
      S3_BUCKET: 'b',
      S3_ENDPOINT: 'http://10.0.0.1:9000',
      S3_PUBLIC_ENDPOINT: 'https://cdn.example',
      S3_ACCESS_KEY_ID: 'a',
      S3_SECRET_ACCESS_KEY: 'b',
    }); // prettier-ignore
    const storage = openStorage(config, { publicUrl: () => '', secret });
    expect(await storage.signGet('k', png)).toMatch(/^https:\/\/cdn\.example\/b\/k\?/);
  });
  it('saves what could run in a browser instead of showing it', async () => {
    const url = await s3.signGet('k', { expiresInSeconds: 60, contentType: 'image/svg+xml', fileName: 'k.svg' });
    expect(new URL(url).searchParams.get('response-content-disposition')).toBe('attachment; filename=k.svg');
  });
  it('says that the server is away, in seconds', async () => {
    const config = readConfig({
      S3_BUCKET: 'b',
      S3_ENDPOINT: 'http://127.0.0.1:1',
      S3_ACCESS_KEY_ID: 'a',
      S3_SECRET_ACCESS_KEY: 'b',
    });
    const storage = openStorage(config, { publicUrl: () => '', secret });
    await expect(storage.check()).rejects.toMatchObject({ name: 'OutsideError', retryable: true });
  });
});

describe('a directory', () => {
  const stored = async (text: string, contentType = 'text/plain', fileName = 'a.txt') => {
    const key = `f/${randomUUID()}`;
    await local.put(key, await file(text), { contentType, sizeBytes: text.length });
    return { key, url: await local.signGet(key, { expiresInSeconds: 60, contentType, fileName }) };
  };

  it.each(['../escape', 'a/../../escape', '/etc/passwd', '.incoming/x', 'a/.hidden', 'a//b', '', 'a\0b', 'a\\b'])(
    'refuses the key %j',
    async (key) => {
      await expect(local.get(key)).rejects.toThrow('not a storage key');
      await expect(local.put(key, await file('x'), { contentType: 'text/plain', sizeBytes: 1 })).rejects.toThrow(
        'not a storage key',
      );
    },
  );
  it('leaves no draft behind', async () => {
    await stored('x');
    await expect(
      local.put('gone', join(directory, 'no-such-file'), { contentType: 'text/plain', sizeBytes: 1 }),
    ).rejects.toThrow();
    expect(await readdir(join(directory, 'assets', '.incoming'))).toEqual([]);
  });
  it('answers HEAD, conditions and impossible ranges', async () => {
    const { url } = await stored('0123456789');
    const head = await fetch(url, { method: 'HEAD' });
    expect([head.status, head.headers.get('content-length'), head.headers.get('accept-ranges')]).toEqual([
      200,
      '10',
      'bytes',
    ]);
    // Not by fetch, which adds `Cache-Control: no-cache`.
    const known = await request(url, { headers: { 'if-none-match': head.headers.get('etag')! } });
    expect(known.statusCode).toBe(304);
    const beyond = await fetch(url, { headers: { range: 'bytes=50-' } });
    expect([beyond.status, beyond.headers.get('content-range')]).toEqual([416, 'bytes */10']);
    expect((await fetch(url, { headers: { range: 'bytes=-3' } })).status).toBe(206);
  });
  it('lets what was uploaded run nothing', async () => {
    const { url } = await stored(
      '<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>',
      'image/svg+xml',
      'a.svg',
    );
    const response = await fetch(url);
    expect(response.headers.get('content-security-policy')).toMatch(/^default-src 'none';.* sandbox$/);
    expect(response.headers.get('x-content-type-options')).toBe('nosniff');
    expect(response.headers.get('content-disposition')).toBe('attachment; filename=a.svg');
  });
  it.each(['expires', 'type', 'disposition', 'signature', 'key', 'size'])(
    'refuses a URL whose %s was changed',
    async (part) => {
      const { url } = await stored('x');
      const changed = new URL(url);
      if (part === 'key') changed.pathname += 'x';
      else changed.searchParams.set(part, '4102444800');
      const response = await fetch(changed);
      expect([response.status, await response.text()]).toEqual([
        403,
        'This URL is not signed for GET, or was changed. Ask for a new one.\n',
      ]);
    },
  );
  it('refuses an expired URL, another method, and a path outside', async () => {
    const { key, url } = await stored('x');
    const expired = await fetch(await local.signGet(key, { ...png, expiresInSeconds: -1 }));
    expect([expired.status, await expired.text()]).toEqual([403, 'This URL has expired. Ask for a new one.\n']);
    expect((await fetch(url, { method: 'PUT', body: 'y' })).status).toBe(403);
    expect((await fetch(url, { method: 'DELETE' })).status).toBe(405);
    expect((await fetch(`${publicUrl}/files/..%2f..%2fetc/passwd`)).status).toBe(403);
    expect((await fetch(`${publicUrl}/files/`)).status).toBe(403);
  });
  it('answers 404 when the bytes are gone, without the headers of a file', async () => {
    const { key, url } = await stored('x');
    await local.remove(key);
    const response = await fetch(url);
    expect([
      response.status,
      response.headers.get('content-type'),
      response.headers.get('content-disposition'),
    ]).toEqual([404, 'text/plain; charset=utf-8', null]);
  });
  it('answers browsers of the configured origins only', async () => {
    const { url } = await stored('x');
    const ours = await fetch(url, { headers: { origin: 'https://app.example' } });
    expect([ours.headers.get('access-control-allow-origin'), ours.headers.get('vary')]).toEqual([
      'https://app.example',
      'Origin',
    ]);
    expect(
      (await fetch(url, { headers: { origin: 'https://evil.example' } })).headers.get('access-control-allow-origin'),
    ).toBeNull();
    const preflight = await fetch(url, {
      method: 'OPTIONS',
      headers: { origin: 'https://app.example', 'access-control-request-method': 'PUT' },
    });
    expect([preflight.status, preflight.headers.get('access-control-allow-methods')]).toEqual([204, 'GET, HEAD, PUT']);
  });
  it.each([
    ['another type', { 'content-type': 'text/html' }, 'bytes'],
    ['too many bytes', { 'content-type': 'image/png' }, 'bytes and more'],
    ['too few bytes', { 'content-type': 'image/png' }, 'byt'],
  ])('refuses an upload with %s', async (_, headers, body) => {
    const put = await local.signPut('uploads/refused', {
      expiresInSeconds: 60,
      contentType: 'image/png',
      sizeBytes: 5,
    });
    expect((await fetch(put.url, { method: 'PUT', headers, body })).status).toBe(403);
    expect(await local.head('uploads/refused')).toBeNull();
  });
  it.each(['bytes and more', 'byt'])('refuses an upload that does not say its size: %s', async (body) => {
    const put = await local.signPut('uploads/refused', {
      expiresInSeconds: 60,
      contentType: 'image/png',
      sizeBytes: 5,
    });
    const status = await new Promise((resolve, reject) => {
      const sent = httpRequest(
        put.url,
        { method: 'PUT', headers: { ...put.headers, 'transfer-encoding': 'chunked' } },
        (response) => resolve(response.resume().statusCode),
      );
      sent.on('error', reject).end(body);
    });
    expect(status).toBe(403);
    expect(await local.head('uploads/refused')).toBeNull();
  });
  it('keeps nothing of an upload that breaks off', async () => {
    const put = await local.signPut('uploads/broken', { expiresInSeconds: 60, contentType: 'image/png', sizeBytes: 5 });
    const sent = httpRequest(put.url, { method: 'PUT', headers: { ...put.headers, 'content-length': 5 } });
    sent.on('error', () => {}).write('by');
    await expect.poll(() => readdir(join(directory, 'assets', '.incoming'))).toHaveLength(1);
    sent.destroy();
    await expect.poll(() => readdir(join(directory, 'assets', '.incoming'))).toHaveLength(0);
    expect(await local.head('uploads/broken')).toBeNull();
  });
  it('stores what can be read on disk as it is', async () => {
    const { key } = await stored('plain');
    expect(await readFile(join(directory, 'assets', key), 'utf8')).toBe('plain');
  });
});
