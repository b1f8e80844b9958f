import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer, type IncomingMessage, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import ffmpeg from '@ffmpeg-installer/ffmpeg';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Asset } from '../src/db.ts';
import { fromId, toId } from '../src/id.ts';
import { signAsset, storeOutput } from '../src/lifecycle/assets.ts';
import { checkInputAssets, openInputs } from '../src/lifecycle/inputs.ts';
import { inspectFile } from '../src/lifecycle/media.ts';
import { sweepAssets } from '../src/lifecycle/sweep-assets.ts';
import { completeUpload, createUpload } from '../src/lifecycle/uploads.ts';
import type { Output } from '../src/sdk/index.ts';
import { generateVideo } from '../src/task-types/generate-video.ts';
import { createTestBed, type TestBed } from './kit.ts';
import { scriptedAdapter } from './scripted-adapter.ts';
import { insertTask } from './task-row.ts';

let directory: string;
let bed: TestBed;
let projectId: string;
let server: Server;
let origin: string;
/** Answers of the file server by path; a list is used up from its start. */
const answers: Record<string, { status?: number; type?: string; body?: Uint8Array | string }[]> = {};
const requests: IncomingMessage[] = [];

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'assets-test-'));
  makeSamples(directory);
  server = createServer((request, response) => {
    requests.push(request);
    const list = answers[request.url!] ?? [{ status: 404 }];
    const { status = 200, type, body } = list.length > 1 ? list.shift()! : list[0]!;
    response.writeHead(status, type ? { 'content-type': type } : {}).end(body);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const host = `127.0.0.1:${(server.address() as AddressInfo).port}`;
  origin = `http://${host}`;
  bed = await createTestBed({
    worker: false,
    environment: { ATELIER_ALLOWED_HOSTS: host, ATELIER_MAX_ASSET_MEGABYTES: '1' },
  });
  projectId = (await bed.sql<{ id: string }>('SELECT id FROM project WHERE account_id = $1', [bed.account.uuid]))[0]!
    .id;
});
afterAll(async () => {
  await bed?.close();
  server.closeAllConnections();
  server.close();
  await rm(directory, { recursive: true });
});

const sample = (name: string) => join(directory, name);

function makeSamples(folder: string): void {
  const picture = ['-f', 'lavfi', '-i', 'testsrc=size=320x180:rate=10:duration=2'];
  const sound = ['-f', 'lavfi', '-i', 'sine=duration=2'];
  const still = ['png', 'jpg', 'webp'].flatMap((name) => [...['-map', '0:v', '-frames:v', '1'], `s.${name}`]);
  const films = [
    ...['-map', '0:v', 's.gif'],
    ...['-map', '0:v', '-map', '1:a', '-pix_fmt', 'yuv420p', 's.mp4'],
    ...['-map', '0:v', '-c:v', 'libvpx', 's.webm'],
  ];
  const sounds = ['wav', 'mp3', 'flac', 'ogg', 'm4a', 'opus'].flatMap((name) => ['-map', '1:a', `s.${name}`]);
  execFileSync(
    ffmpeg.path,
    [
      '-y',
      '-loglevel',
      'error',
      ...picture,
      ...sound,
      ...still,
      ...films,
      ...sounds,
      '-map',
      '1:a',
      '-c:a',
      'libopus',
      'sound.webm',
    ],
    { cwd: folder },
  );
}

async function scratch(name: string, bytes: Uint8Array | string): Promise<string> {
  await writeFile(sample(name), bytes);
  return sample(name);
}

describe('what a file is', () => {
  it.each([
    ['s.png', 'image/png', 'IMAGE', 320, 180, null],
    ['s.jpg', 'image/jpeg', 'IMAGE', 320, 180, null],
    ['s.webp', 'image/webp', 'IMAGE', 320, 180, null],
    ['s.gif', 'image/gif', 'IMAGE', 320, 180, null],
    ['s.mp4', 'video/mp4', 'VIDEO', 320, 180, 2000],
    ['s.webm', 'video/webm', 'VIDEO', 320, 180, 2000],
    ['s.wav', 'audio/wav', 'AUDIO', null, null, 2000],
    ['s.mp3', 'audio/mpeg', 'AUDIO', null, null, 2000],
    ['s.flac', 'audio/flac', 'AUDIO', null, null, 2000],
    ['s.ogg', 'audio/ogg', 'AUDIO', null, null, 2000],
    ['s.opus', 'audio/ogg', 'AUDIO', null, null, 2000],
    ['s.m4a', 'audio/mp4', 'AUDIO', null, null, 2000],
    ['sound.webm', 'audio/webm', 'AUDIO', null, null, 2000],
  ])('%s', async (name, contentType, kind, width, height, durationMs) => {
    // What somebody says does not count against magic bytes.
    const facts = await inspectFile(sample(name), 'text/html');
    expect(facts).toMatchObject({ contentType, kind, width, height });
    if (durationMs === null) expect(facts.durationMs).toBeNull();
    else expect(Math.abs(facts.durationMs! - durationMs)).toBeLessThan(100);
    expect(facts.sha256).toBe(
      createHash('sha256')
        .update(await readFile(sample(name)))
        .digest('hex'),
    );
  });
  it('reads many at once', async () => {
    const all = await Promise.all(
      Array.from({ length: 20 }, (_, index) => inspectFile(sample(index % 2 ? 's.mp4' : 's.png'))),
    );
    expect(new Set(all.map((facts) => `${facts.kind} ${facts.width}`))).toEqual(new Set(['IMAGE 320', 'VIDEO 320']));
  });
  it.each([
    ['plain text', 'Guten Tag, 世界', undefined, 'text/plain', 'txt'],
    ['text said to be Markdown', '# Title', 'text/markdown; charset=utf-8', 'text/markdown', 'md'],
    ['JSON', '{"a": [1]}', undefined, 'application/json', 'json'],
    ['JSON said to be text', '[1]', 'text/plain', 'text/plain', 'txt'],
    ['no JSON, though said to be', '{"a": ', 'application/json', 'text/plain', 'txt'],
    ['SVG', '<svg xmlns="http://www.w3.org/2000/svg"/>', undefined, 'image/svg+xml', 'svg'],
    [
      'SVG with a prologue',
      '<?xml version="1.0"?>\n<!-- a -->\n<svg xmlns="http://www.w3.org/2000/svg"></svg>',
      'image/png',
      'image/svg+xml',
      'svg',
    ],
    ['HTML', '<!DOCTYPE html><title>502</title>', 'image/png', 'text/html', 'html'],
    ['XML', '<?xml version="1.0"?><a/>', undefined, 'application/xml', 'xml'],
    ['unknown bytes', Buffer.from([0, 1, 2, 3, 255]), undefined, 'application/octet-stream', 'bin'],
    [
      'unknown bytes said to be a picture',
      Buffer.from([0, 1, 2, 3, 255]),
      'image/png',
      'application/octet-stream',
      'bin',
    ],
    ['unknown bytes said to be a model', Buffer.from([0, 1, 2, 3, 255]), 'model/vnd.mine', 'model/vnd.mine', 'bin'],
    ['UTF-16', Buffer.from('hallo', 'utf16le'), 'text/plain', 'application/octet-stream', 'bin'],
    ['nothing', '', undefined, 'text/plain', 'txt'],
  ])('%s', async (name, bytes, declared, contentType, extension) => {
    expect(await inspectFile(await scratch(`text ${name}`, bytes), declared)).toMatchObject({
      contentType,
      extension,
      width: null,
    });
  });
  it('reads text of more than a piece, cut in the middle of a character', async () => {
    expect(await inspectFile(await scratch('long', `a${'ü'.repeat(1024 * 1024)}`))).toMatchObject({
      contentType: 'text/plain',
    });
  });
  it('survives a broken medium', async () => {
    const broken = (await readFile(sample('s.mp4'))).subarray(0, 3000);
    expect(await inspectFile(await scratch('broken.mp4', broken))).toMatchObject({
      contentType: 'video/mp4',
      kind: 'VIDEO',
    });
    expect(await inspectFile(sample('s.mp4'))).toMatchObject({ width: 320 });
  });
});

describe('outputs', () => {
  const servedHere = {
    adapter: scriptedAdapter({ assetHosts: () => ['127.0.0.1'] }).adapter,
    config: undefined,
    credentials: [],
    models: [],
  };
  const place = (output = 0, secrets = {}) => ({
    attempt: 1,
    output,
    directory: () => directory,
    signal: new AbortController().signal,
    secrets,
    fetch: bed.core.vendors.openAssets(servedHere, new AbortController().signal),
  });
  const png = (): Output => ({ kind: 'IMAGE', from: { file: sample('s.png') } });

  it('is stored with its facts, and can be fetched by a signed URL', async () => {
    const task = await insertTask(bed);
    const asset = await storeOutput(bed.core, task, png(), place());
    const bytes = await readFile(sample('s.png'));
    expect(asset).toMatchObject({
      accountId: bed.account.uuid,
      projectId,
      taskId: task.id,
      attempt: 1,
      output: 0,
      kind: 'IMAGE',
      contentType: 'image/png',
      sizeBytes: BigInt(bytes.length),
      sha256: createHash('sha256').update(bytes).digest('hex'),
      width: 320,
      height: 180,
      durationMs: null,
      key: `tasks/${toId('Task', task.id)}/1/0.png`,
    });
    const response = await fetch(await signAsset(bed.core, asset, 60));
    expect(Buffer.from(await response.arrayBuffer()).equals(bytes)).toBe(true);
    expect(response.headers.get('content-disposition')).toBe(`inline; filename=${toId('Asset', asset.id)}.png`);
    expect(await bed.sql('SELECT * FROM orphan WHERE key = $1', [asset.key])).toEqual([]);
  });
  it('gives the same asset when it is stored again, and lists replaced bytes for removal', async () => {
    const task = await insertTask(bed);
    const first = await storeOutput(bed.core, task, png(), place());
    const again = await storeOutput(bed.core, task, png(), place());
    expect(again).toEqual(first);
    const other = await storeOutput(bed.core, task, { kind: 'IMAGE', from: { file: sample('s.jpg') } }, place());
    expect(other).toMatchObject({ id: first.id, contentType: 'image/jpeg' });
    expect(await bed.sql('SELECT key FROM orphan WHERE key LIKE $1', [`tasks/${toId('Task', task.id)}/%`])).toEqual([
      { key: first.key },
    ]);
  });
  it('takes text, bytes, and a URL with a secret header', async () => {
    const task = await insertTask(bed);
    answers['/film'] = [{ type: 'video/mp4', body: await readFile(sample('s.mp4')) }];
    const text = await storeOutput(bed.core, task, { kind: 'TEXT', from: { text: 'hello' } }, place(0));
    const bytes = await storeOutput(
      bed.core,
      task,
      { kind: 'AUDIO', from: { bytes: await readFile(sample('s.wav')) } },
      place(1),
    );
    const url = await storeOutput(
      bed.core,
      task,
      { kind: 'VIDEO', from: { url: `${origin}/film`, headers: { authorization: { secret: 'KEY' } } } },
      place(2, { KEY: 'Bearer 42' }),
    );
    expect([text.kind, bytes.kind, url.kind, url.durationMs]).toEqual(['TEXT', 'AUDIO', 'VIDEO', expect.any(BigInt)]);
    expect(requests.at(-1)!.headers.authorization).toBe('Bearer 42');
  });
  it.each([
    ['empty', { kind: 'TEXT', from: { text: '' } }, { class: 'permanent', code: 'NO_OUTPUT' }],
    [
      'an error page',
      { kind: 'IMAGE', from: { text: '<!doctype html><h1>502' } },
      { class: 'permanent', code: 'WRONG_OUTPUT' },
    ],
    [
      'above the limit',
      { kind: 'OTHER', from: { bytes: Buffer.alloc(1024 * 1024 + 1) } },
      { class: 'permanent', code: 'OUTPUT_TOO_LARGE' },
    ],
  ] as [string, Output, object][])('is refused when it is %s, and leaves no bytes', async (_, output, facts) => {
    const task = await insertTask(bed);
    await expect(storeOutput(bed.core, task, output, place())).rejects.toMatchObject({ name: 'AdapterFailure', facts });
    expect(await bed.sql('SELECT * FROM asset WHERE task_id = $1', [task.id])).toEqual([]);
  });
  it('says that the provider no longer has it', async () => {
    const task = await insertTask(bed);
    await expect(
      storeOutput(bed.core, task, { kind: 'IMAGE', from: { url: `${origin}/gone` } }, place()),
    ).rejects.toMatchObject({
      facts: { class: 'expired', code: 'OUTPUT_GONE' },
    });
  });
  it('refuses a URL that leads into the private network', async () => {
    const task = await insertTask(bed);
    const output: Output = { kind: 'IMAGE', from: { url: 'http://169.254.169.254/latest' } };
    await expect(storeOutput(bed.core, task, output, place())).rejects.toMatchObject({
      facts: { class: 'permanent', code: 'OUTPUT_REFUSED' },
    });
  });
  it('tries again when the server hiccups', async () => {
    const task = await insertTask(bed);
    answers['/flaky'] = [{ status: 503 }, { body: await readFile(sample('s.png')) }];
    const asset = await storeOutput(bed.core, task, { kind: 'IMAGE', from: { url: `${origin}/flaky` } }, place());
    expect(asset.kind).toBe('IMAGE');
  });
  it('keeps its bytes when the sweeper finds a reservation that a row has claimed', async () => {
    const { key } = await storeOutput(bed.core, await insertTask(bed), png(), place());
    await bed.sql(`INSERT INTO orphan (key, due_at) VALUES ($1, now() - interval '1 second')`, [key]);
    await sweepAssets(bed.core);
    expect(await bed.core.storage.head(key)).not.toBeNull();
    expect(await bed.sql('SELECT * FROM orphan WHERE key = $1', [key])).toEqual([]);
  });
  it('is served by the API itself when there is no S3', async () => {
    const other = await createTestBed({ worker: false, storage: 'directory' });
    try {
      const asset = await storeOutput(other.core, await insertTask(other), png(), place());
      const url = await signAsset(other.core, asset, 60);
      expect(url.startsWith(`${other.url}/files/tasks/`)).toBe(true);
      const response = await fetch(url, { headers: { range: 'bytes=1-3' } });
      expect([response.status, await response.text()]).toEqual([206, 'PNG']);
    } finally {
      await other.close();
    }
  });
  it('leaves bytes without a row to the sweeper', async () => {
    const task = await insertTask(bed);
    await bed.sql('DELETE FROM task WHERE id = $1', [task.id]);
    await expect(storeOutput(bed.core, task, png(), place())).rejects.toThrow();
    const key = `tasks/${toId('Task', task.id)}/1/0.png`;
    expect(await bed.core.storage.head(key)).not.toBeNull();
    await sweepAssets(bed.core);
    expect(await bed.core.storage.head(key)).not.toBeNull();
    await bed.sql(`UPDATE orphan SET due_at = now() - interval '1 second' WHERE key = $1`, [key]);
    await sweepAssets(bed.core);
    expect(await bed.core.storage.head(key)).toBeNull();
  });
});

async function upload(contentType: string, bytes: Buffer, put = true): Promise<string> {
  const made = await createUpload(
    bed.core,
    { accountId: bed.account.uuid, projectId },
    { contentType, sizeBytes: bytes.length },
  );
  if (put)
    expect(
      (await fetch(made.url, { method: made.method, headers: made.headers, body: new Uint8Array(bytes) })).status,
    ).toBe(200);
  return fromId('Upload', made.id)!;
}

async function uploadedAsset(name: string, contentType: string): Promise<Asset> {
  return completeUpload(bed.core, bed.account.uuid, await upload(contentType, await readFile(sample(name))));
}

describe('uploads', () => {
  it('becomes an asset with its facts', async () => {
    const asset = await uploadedAsset('s.mp4', 'video/mp4');
    expect(asset).toMatchObject({ kind: 'VIDEO', width: 320, taskId: null, accountId: bed.account.uuid, projectId });
    expect((await bed.core.storage.head(asset.key))?.sizeBytes).toBe(Number(asset.sizeBytes));
  });
  it('gives the same asset to each call, also to two at once', async () => {
    const id = await upload('image/png', await readFile(sample('s.png')));
    const [one, two] = await Promise.all([1, 2].map(() => completeUpload(bed.core, bed.account.uuid, id)));
    expect(two).toEqual(one);
    expect(await completeUpload(bed.core, bed.account.uuid, id)).toEqual(one);
    expect(await bed.sql('SELECT * FROM orphan WHERE key = $1', [one!.key])).toEqual([]);
  });
  it('is not changed by a later PUT to the same URL', async () => {
    const bytes = await readFile(sample('s.png'));
    const made = await createUpload(
      bed.core,
      { accountId: bed.account.uuid, projectId },
      { contentType: 'image/png', sizeBytes: bytes.length },
    );
    const put = (body: Uint8Array<ArrayBuffer>) => fetch(made.url, { method: 'PUT', headers: made.headers, body });
    await put(new Uint8Array(bytes));
    const asset = await completeUpload(bed.core, bed.account.uuid, fromId('Upload', made.id));
    await put(new Uint8Array(bytes.length));
    const response = await fetch(await signAsset(bed.core, asset, 60));
    expect(Buffer.from(await response.arrayBuffer()).equals(bytes)).toBe(true);
  });
  it.each([
    ['image/png', 's.jpg', 'the bytes are image/jpeg, not image/png as announced'],
    ['image/png', 'archive', 'the bytes are application/zip, not image/png as announced'],
    ['audio/mpeg', 's.mp4', 'the bytes are video/mp4, not audio/mpeg as announced'],
  ])('refuses %s that is %s', async (contentType, name, message) => {
    const bytes =
      name === 'archive'
        ? Buffer.from('UEsDBAoAAAAAAAAAIQAAAAAAAAAAAAAAAAABAAAAYQ==', 'base64')
        : await readFile(sample(name));
    const id = await upload(contentType, bytes);
    await expect(completeUpload(bed.core, bed.account.uuid, id)).rejects.toMatchObject({
      kind: 'ValidationError',
      facts: { issues: [{ path: ['id'], message }] },
    });
  });
  it.each([
    ['audio/x-wav', 's.wav'],
    ['image/jpg', 's.jpg'],
    ['video/webm', 'sound.webm'],
    ['application/octet-stream', 's.png'],
    ['audio/ogg; codecs=opus', 's.opus'],
  ])('takes %s for %s', async (contentType, name) => {
    await uploadedAsset(name, contentType);
  });
  it('says to PUT first, and what came is not what was announced', async () => {
    const id = await upload('image/png', Buffer.alloc(5), false);
    await expect(completeUpload(bed.core, bed.account.uuid, id)).rejects.toMatchObject({
      kind: 'ValidationError',
      message: expect.stringContaining('PUT'),
    });
    const [row] = await bed.sql<{ key: string }>('SELECT key FROM upload WHERE id = $1', [id]);
    await bed.core.storage.put(row!.key, await scratch('four', 'four'), { contentType: 'image/png', sizeBytes: 4 });
    await expect(completeUpload(bed.core, bed.account.uuid, id)).rejects.toThrow('4 bytes came; 5 were announced');
  });
  it.each([
    ['png', 10, 'contentType'],
    ['image/png\r\nX-Evil: 1', 10, 'contentType'],
    ['', 10, 'contentType'],
    [`image/${'x'.repeat(300)}`, 10, 'contentType'],
    ['image/png', 0, 'sizeBytes'],
    ['image/png', -1, 'sizeBytes'],
    ['image/png', 1.5, 'sizeBytes'],
    ['image/png', 1024 * 1024 + 1, 'sizeBytes'],
  ])('refuses to prepare one for %j of %d bytes', async (contentType, sizeBytes, field) => {
    const caller = { accountId: bed.account.uuid, projectId };
    await expect(createUpload(bed.core, caller, { contentType, sizeBytes })).rejects.toMatchObject({
      kind: 'ValidationError',
      facts: { issues: [{ path: [field] }] },
    });
  });
  it('answers for a foreign upload or project as for none', async () => {
    const id = await upload('image/png', Buffer.alloc(5), false);
    const other = await bed.createAccount(0);
    const errors = await Promise.all(
      [completeUpload(bed.core, other.uuid, id), completeUpload(bed.core, bed.account.uuid, null)].map((call) =>
        call.catch((error) => error),
      ),
    );
    const caller = { accountId: other.uuid, projectId };
    errors.push(await createUpload(bed.core, caller, { contentType: 'a/b', sizeBytes: 1 }).catch((error) => error));
    errors.push(
      await createUpload(bed.core, caller, { contentType: 'a/b', sizeBytes: 1, projectId: null }).catch(
        (error) => error,
      ),
    );
    expect(errors.map((error) => [error.kind, error.message])).toEqual([
      ['NotFoundError', 'No such upload.'],
      ['NotFoundError', 'No such upload.'],
      ['NotFoundError', 'No such project.'],
      ['NotFoundError', 'No such project.'],
    ]);
  });
  it('is swept a day after it expired, without its asset', async () => {
    const id = await upload('image/png', await readFile(sample('s.png')));
    const asset = await completeUpload(bed.core, bed.account.uuid, id);
    const [row] = await bed.sql<{ key: string }>('SELECT key FROM upload WHERE id = $1', [id]);
    await bed.sql(`UPDATE upload SET expires_at = now() - interval '25 hours' WHERE id = $1`, [id]);
    await Promise.all([sweepAssets(bed.core), sweepAssets(bed.core)]);
    expect(await bed.sql('SELECT * FROM upload WHERE id = $1', [id])).toEqual([]);
    expect(await bed.core.storage.head(row!.key)).toBeNull();
    expect(await bed.core.storage.head(asset.key)).not.toBeNull();
  });
});

describe('the files of an input', () => {
  it('are checked, each with its path', async () => {
    const image = await uploadedAsset('s.png', 'image/png');
    const sound = await uploadedAsset('s.wav', 'audio/wav');
    const id = toId('Asset', image.id);
    const check = (input: Record<string, unknown>, account = bed.account.uuid, only?: { projectId: string }) =>
      checkInputAssets(bed.core, { accountId: account, only }, generateVideo, input);
    expect(
      await check({ storyboardAssetIds: [id], storyboardImages: ['https://example.com/a.png', `${origin}/a.png`] }),
    ).toEqual([]);
    expect(await check({})).toEqual([]);
    expect(
      await check({ storyboardAssetIds: [id, toId('Asset', sound.id), 'garbage', toId('Task', image.id)] }),
    ).toEqual([
      { path: ['storyboardAssetIds', '1'], message: 'must be IMAGE; this asset is AUDIO' },
      { path: ['storyboardAssetIds', '2'], message: 'no such asset' },
      { path: ['storyboardAssetIds', '3'], message: 'no such asset' },
    ]);
    const other = await bed.createAccount(0);
    expect(await check({ storyboardAssetIds: [id] }, other.uuid)).toEqual([
      { path: ['storyboardAssetIds', '0'], message: 'no such asset' },
    ]);
    expect(await check({ storyboardImages: ['http://10.0.0.1/a'] })).toEqual([
      { path: ['storyboardImages', '0'], message: 'must have a public host: 10.0.0.1 is a private address' },
    ]);
    expect(
      await check({ storyboardImages: Array(10).fill('https://example.com/'), storyboardAssetIds: Array(7).fill(id) }),
    ).toEqual([{ path: ['storyboardAssetIds'], message: 'at most 16 together with storyboardImages, not 17' }]);
  });

  const options = (how: 'url' | 'dataUri' | 'path') => ({
    how,
    directory: () => directory,
    signal: new AbortController().signal,
  });

  it('are references for the transformer, and reach the request as it asks', async () => {
    const asset = await uploadedAsset('s.png', 'image/png');
    answers['/a.jpg'] = [{ body: await readFile(sample('s.jpg')) }];
    const task = await insertTask(bed, {
      type: 'generate_video',
      input: { storyboardImages: [`${origin}/a.jpg`], storyboardAssetIds: [toId('Asset', asset.id)] },
    });
    const inputs = await openInputs(bed.core, task);
    expect(inputs.files).toEqual({
      storyboardImages: [
        { assetReference: 0, kind: 'IMAGE' },
        { assetReference: 1, kind: 'IMAGE', contentType: 'image/png' },
      ],
    });
    const [first, second] = inputs.files.storyboardImages!;
    const request = { prompt: 'x', seed: 0, none: null, frames: [{ image: first }, { image: second }], cover: second };
    const urls: any = await inputs.place(request, options('url'));
    expect(urls).toMatchObject({
      prompt: 'x',
      seed: 0,
      none: null,
      frames: [{ image: `${origin}/a.jpg` }, { image: urls.cover }],
    });
    expect((await fetch(urls.cover)).status).toBe(200);
    const paths: any = await inputs.place(request, options('path'));
    expect(await readFile(paths.frames[0].image)).toEqual(await readFile(sample('s.jpg')));
    expect(paths.frames[0].image).toMatch(/\.jpg$/);
    expect(await readFile(paths.cover)).toEqual(await readFile(sample('s.png')));
    const data: any = await inputs.place(request, options('dataUri'));
    expect(data.cover).toBe(`data:image/png;base64,${(await readFile(sample('s.png'))).toString('base64')}`);
    expect(request.cover).toBe(second);
  });
  it('are fetched only when the request names them', async () => {
    const task = await insertTask(bed, { type: 'generate_video', input: { storyboardImages: [`${origin}/unused`] } });
    expect(await (await openInputs(bed.core, task)).place({ prompt: 'x' }, options('path'))).toEqual({ prompt: 'x' });
  });
  it.each([
    [
      'is no picture',
      [{ body: 'text' }],
      {
        class: 'invalid_input',
        issues: [{ path: ['storyboardImages', '0'], message: 'must be IMAGE; the URL gives text/plain' }],
      },
    ],
    [
      'is missing',
      [{ status: 404 }],
      {
        class: 'invalid_input',
        issues: [{ path: ['storyboardImages', '0'], message: 'cannot be fetched: the server answered 404' }],
      },
    ],
    ['is too large', [{ body: Buffer.alloc(1024 * 1024 + 1) }], { class: 'invalid_input', code: 'INVALID_INPUT' }],
    ['comes from a server that fails', [{ status: 500 }], { class: 'retryable', code: 'INPUT_UNREACHABLE' }],
  ])('are refused when one %s', async (_, list, facts) => {
    answers['/input'] = list;
    const task = await insertTask(bed, { type: 'generate_video', input: { storyboardImages: [`${origin}/input`] } });
    const inputs = await openInputs(bed.core, task);
    await expect(inputs.place(inputs.files, options('path'))).rejects.toMatchObject({ name: 'AdapterFailure', facts });
  });
  it('are refused when an asset was deleted meanwhile', async () => {
    const task = await insertTask(bed, {
      type: 'generate_video',
      input: { storyboardAssetIds: [toId('Asset', projectId)] },
    });
    await expect(openInputs(bed.core, task)).rejects.toMatchObject({
      facts: { class: 'invalid_input', issues: [{ path: ['storyboardAssetIds', '0'] }] },
    });
  });
  it('are none for a type without files', async () => {
    expect((await openInputs(bed.core, await insertTask(bed, { type: 'test_prompt' }))).files).toEqual({});
  });
});
