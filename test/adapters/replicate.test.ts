import Replicate, { validateWebhook } from 'replicate';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import replicate from '../../adapters/replicate/adapter.ts';
import { freePort } from '../../src/embedded/port.ts';
import { itSurvivesFaults, quick } from '../emulators/faults.ts';
import { hurryLooks } from '../emulators/hurry.ts';
import { type ReplicateEmulator, startReplicate } from '../emulators/replicate.ts';
import { samples } from '../emulators/samples.ts';
import { createTestBed, type TestBed } from '../kit.ts';
import { tasksOf } from './tasks.ts';

/** A model of the operator's own, which takes a reference image. */
const edit = {
  id: `acme/edit:${'b'.repeat(64)}`,
  taskTypes: ['generate_image'],
  fields: { prompt: 'prompt', images: 'referenceImages', size: 'size', seed: 'seed' },
  set: { steps: 4 },
  options: ['strength'],
};

let emulator: ReplicateEmulator;
let bed: TestBed;
let stopHurry: (() => Promise<void>) | undefined;
/** Until a job is looked at, at most. */
let mostMs = 1_000;
beforeAll(async () => {
  emulator = await startReplicate();
  const port = await freePort();
  bed = await createTestBed({
    adapters: [quick(replicate)],
    environment: {
      REPLICATE_API_TOKEN: emulator.token,
      ATELIER_ADAPTER_REPLICATE: JSON.stringify({ baseUrl: emulator.baseUrl, models: [edit] }),
      ATELIER_LEASE_SECONDS: '3',
      ATELIER_PORT: String(port),
      ATELIER_PUBLIC_URL: `http://127.0.0.1:${port}`,
    },
    storage: 'directory',
  });
  stopHurry = hurryLooks(bed, () => mostMs);
});
afterAll(async () => {
  await stopHurry?.();
  await bed?.close();
  await emulator?.close();
});
afterEach(() => {
  emulator.mend();
  emulator.seen.length = 0;
  emulator.scripts.length = 0;
  emulator.callsBack = false;
});

const schnell = 'black-forest-labs/flux-schnell';
const image = (fields: object = {}) => ({ generateImage: { prompt: 'a red kite', ...fields } });
const { create, submit, ended, cancel, events, upload } = tasksOf(() => bed, {
  provider: 'replicate',
  model: schnell,
});
const isStart = ({ method, path }: { method: string; path: string }) =>
  method === 'POST' && path.endsWith('/predictions');
const isPoll = ({ method, path }: { method: string; path: string }) =>
  method === 'GET' && /\/predictions\/[^/]+$/.test(path);
const starts = () => emulator.seen.filter(isStart);

describe('replicate', () => {
  beforeEach(() => {
    mostMs = 0;
  });
  afterEach(() => {
    mostMs = 1_000;
  });

  it('makes images, tells progress and new lines of the log, and charges what came out', async () => {
    emulator.scripts.push({ looks: 3 });
    const id = await submit(image({ count: 2, seed: 0, width: 1344, height: 768, options: { output_format: 'png' } }));
    const seen: any[] = [];
    for await (const event of events(id)) seen.push(event);
    expect(await ended(id)).toMatchObject({
      status: 'COMPLETED',
      imageResult: { seed: 0, images: [{ kind: 'IMAGE' }, { kind: 'IMAGE' }] },
      cost: { charged: 8, basis: 'USAGE' },
    });
    expect(seen).toContainEqual(expect.objectContaining({ progress: 0.5 }));
    expect(seen.flatMap(({ message }) => message ?? [])).toEqual(['Using seed: 7', 'Total safe images: 1 out of 1']);
    const [start] = starts();
    expect(start!.path).toBe('/v1/models/black-forest-labs/flux-schnell/predictions');
    expect(start!.headers).toMatchObject({ 'cancel-after': expect.stringMatching(/^(29\d|300)s$/) });
    expect(start!.headers.prefer).toBeUndefined();
    expect(start!.json).toMatchObject({
      input: {
        prompt: 'a red kite',
        seed: 0,
        num_outputs: 2,
        aspect_ratio: '16:9',
        output_format: 'png',
        go_fast: true,
      },
      webhook: expect.stringContaining(`${bed.url}/providers/replicate/callback/`),
      webhook_events_filter: ['completed'],
    });
  });

  it('makes a video of as many seconds as it says, and charges those', async () => {
    const id = await submit(
      { generateVideo: { sceneDescription: 'a harbour', cameraAngle: 'low', durationSeconds: 6 } },
      'kwaivgi/kling-v2.5-turbo-pro',
    );
    expect(await ended(id)).toMatchObject({
      status: 'COMPLETED',
      videoResult: { durationSeconds: 10 },
      cost: { charged: 100 },
      assets: [{ kind: 'VIDEO' }],
    });
    expect(starts()[0]!.json.input).toEqual({ prompt: 'a harbour Camera: low.', duration: 10 });
  });

  it('speaks, and charges the characters', async () => {
    const id = await submit({ generateCharacterVoice: { text: 'Good morning' } }, 'minimax/speech-02-turbo');
    expect(await ended(id)).toMatchObject({ status: 'COMPLETED', cost: { charged: 1 }, assets: [{ kind: 'AUDIO' }] });
  });

  it('writes, and charges the tokens that the vendor counted', async () => {
    const id = await submit({ generateText: { prompt: 'The sea', temperature: 0 } }, 'meta/meta-llama-3-8b-instruct');
    expect(await ended(id)).toMatchObject({
      textResult: { text: 'The sea is calm.' },
      cost: { charged: 1, basis: 'USAGE' },
    });
    expect(starts()[0]!.json.input).toMatchObject({ temperature: 0, max_tokens: 1024 });
  });

  it("runs a version of the operator's choice, with a small reference image in the request", async () => {
    const picture = await upload(samples.png, 'image/png');
    const id = await submit(image({ referenceAssetIds: [picture], options: { strength: 0 } }), edit.id);
    expect(await ended(id)).toMatchObject({ status: 'COMPLETED' });
    expect(starts()[0]!.path).toBe('/v1/predictions');
    expect(starts()[0]!.json).toMatchObject({
      version: 'b'.repeat(64),
      input: {
        prompt: 'a red kite',
        images: [`data:image/png;base64,${samples.png.toString('base64')}`],
        size: { width: 1024, height: 1024 },
        steps: 4,
        strength: 0,
      },
    });
  });

  it('brings a large reference image to the files of the account', async () => {
    // Bytes after its end do not change what a PNG is.
    const large = Buffer.concat([samples.png, Buffer.alloc(300 * 1024)]);
    const id = await submit(image({ referenceAssetIds: [await upload(large, 'image/png')] }), edit.id);
    expect(await ended(id)).toMatchObject({ status: 'COMPLETED' });
    const [url] = starts()[0]!.json.input.images;
    expect(url).toMatch(new RegExp(`^${emulator.baseUrl}/files/`));
    const sent = emulator.files.get(url.split('/').at(-1))!;
    expect(sent.includes(large)).toBe(true);
    expect(sent.toString('latin1')).toMatch(/name="content"; filename="input-0.png"\r\nContent-Type: image\/png/i);
  });

  it('refuses before it costs anything what a model cannot do', async () => {
    expect((await create(image({ count: 5 }))).issues).toEqual([
      { path: ['task', 'generateImage', 'count'], message: 'this model makes at most 4 images at once' },
    ]);
    const wide = { generateVideo: { sceneDescription: 'a harbour', options: { resolution: '720p' } } };
    expect((await create(wide, 'wan-video/wan-2.2-t2v-fast')).issues).toEqual([
      { path: ['task', 'generateVideo', 'options', 'resolution'], message: 'at most 480p is allowed here' },
    ]);
    expect((await create(image({ options: { disable_safety_checker: true } }))).code).toBe('VALIDATION');
    expect((await create(image({ negativePrompt: 'rain', width: 640 }))).task.warnings).toEqual([
      'this model has no 640 × 1024: the image has the shape 2:3, as 832 × 1216',
      `negativePrompt is not supported by ${schnell} and was left out`,
    ]);
  });

  it('is completed by a webhook, long before the next look', async () => {
    emulator.callsBack = true;
    emulator.scripts.push({ looks: 1_000 });
    const id = await submit(image());
    expect(await ended(id)).toMatchObject({ status: 'COMPLETED', cost: { charged: 4 } });
    expect(emulator.seen.filter(({ path }) => path === '/v1/webhooks/default/secret').length).toBeLessThan(3);
  });

  it('is completed by the webhook of a job whose answer was lost, without a second one', async () => {
    emulator.callsBack = true;
    emulator.break(isStart, 'lost');
    expect(await ended(await submit(image()))).toMatchObject({ status: 'COMPLETED', cost: { charged: 4 } });
    expect(starts().length).toBe(1);
  });

  it('stops the prediction when the task is cancelled', async () => {
    emulator.scripts.push({ looks: 1_000 });
    const id = await submit(image());
    await emulator.next(isPoll);
    await cancel(id);
    expect(await ended(id)).toMatchObject({ status: 'CANCELLED', cost: { charged: 0 } });
    expect([...emulator.predictions.values()].at(-1)!.status).toMatch(/canceled|aborted/);
  });

  it.each([
    ['a failed prediction fails the task', { status: 'failed', error: 'CUDA out of memory' }, 'PREDICTION_FAILED'],
    [
      'refused content fails it, as such',
      {
        status: 'failed',
        error:
          'The input or output was flagged as sensitive. Please try again with different inputs. (E005) (uIJ6l3ruRD)',
      },
      'CONTENT_POLICY',
    ],
    ['one that was cancelled elsewhere fails it', { status: 'canceled' }, 'PROVIDER_CANCELLED'],
    ['success with nothing fails it', { output: null }, 'NO_OUTPUT'],
  ])('%s, and charges nothing', async (_, script, code) => {
    emulator.scripts.push(script);
    const id = await submit(image());
    expect(await ended(id)).toMatchObject({ status: 'FAILED', error: { code }, cost: { charged: 0 } });
    expect(starts().length).toBe(1);
  });

  it.each([
    ['failed', 'PREDICTION_FAILED'],
    ['canceled', 'PROVIDER_CANCELLED'],
  ])('fails by the webhook of a job whose answer was lost, when that was %s', async (status, code) => {
    emulator.callsBack = true;
    emulator.break(isStart, 'lost');
    emulator.scripts.push({ status, error: 'CUDA out of memory' });
    expect(await ended(await submit(image()))).toMatchObject({
      status: 'FAILED',
      error: { code },
      cost: { quoted: 4, charged: 0, released: 4 },
    });
    expect(starts().length).toBe(1);
  });

  it('starts again what never began at the vendor', async () => {
    emulator.scripts.push({ status: 'failed', error: 'Timeout starting prediction (E6716)', started: false });
    expect(await ended(await submit(image()))).toMatchObject({ status: 'COMPLETED', cost: { charged: 4 } });
    expect(starts().length).toBe(2);
  });

  it("tells a refusal at the client's own field", async () => {
    emulator.break(isStart, {
      status: 422,
      json: {
        title: 'Input validation failed',
        detail: '- input.num_outputs: too many',
        status: 422,
        invalid_fields: [
          { type: 'number_lte', field: 'input.num_outputs', description: 'Must be less than or equal to 1' },
        ],
      },
    });
    await ended(await submit(image()));
    const [task] = await bed.sql('select error from task order by id desc limit 1');
    expect(task!.error).toMatchObject({
      code: 'PROVIDER_REFUSED_INPUT',
      issues: [{ path: ['count'], message: 'Must be less than or equal to 1' }],
    });
  });
});

describe('replicate, when something breaks', () => {
  itSurvivesFaults({
    bed: () => bed,
    emulator: () => emulator,
    request: { provider: 'replicate', model: schnell, task: image() },
    isStart,
    isPoll,
    isDownload: ({ path }) => path.startsWith('/delivery/'),
    giveOutput: (url) => emulator.scripts.push({ output: [url] }),
    callback: (start) => emulator.callback(start),
  });
});

describe("the emulator, with Replicate's own client", () => {
  const client = () => new Replicate({ auth: emulator.token, baseUrl: emulator.baseUrl, useFileOutput: false });

  it('runs, waits, lists, cancels and uploads', async () => {
    const output = await client().run(schnell, {
      input: { prompt: 'a red kite' },
      wait: { mode: 'poll', interval: 20 },
    });
    expect(output).toEqual([`${emulator.url}/delivery/out-0.png`]);
    const versioned = await client().predictions.create({ version: 'b'.repeat(64), input: { prompt: 'x' } });
    expect(versioned).toMatchObject({ status: 'starting', urls: { get: expect.stringContaining(versioned.id) } });
    expect((await client().predictions.cancel(versioned.id)).status).toBe('aborted');
    expect((await client().predictions.list()).results[0]!.id).toBe(versioned.id);
    const file = await client().files.create(Buffer.from('hello'));
    expect(file.urls.get).toBe(`${emulator.baseUrl}/files/${file.id}`);
    await expect(client().predictions.create({ model: schnell, input: {} })).rejects.toMatchObject({
      response: { status: 422 },
    });
  });

  it('signs webhooks that it verifies', async () => {
    const { key } = await client().webhooks.default.secret.get();
    const prediction = await client().predictions.create({
      model: schnell,
      input: { prompt: 'x' },
      webhook: 'https://atelier.example/callback',
    });
    const { headers, body } = await emulator.callback(starts()[0]!);
    const signed = {
      id: headers['webhook-id']!,
      timestamp: headers['webhook-timestamp']!,
      signature: headers['webhook-signature']!,
      secret: key,
    };
    expect(await validateWebhook({ ...signed, body })).toBe(true);
    expect(await validateWebhook({ ...signed, body: `${body} ` })).toBe(false);
    expect(JSON.parse(body)).toMatchObject({ id: prediction.id, status: 'succeeded' });
  });
});
