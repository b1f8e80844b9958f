import { createFalClient } from '@fal-ai/client';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import fal from '../../adapters/fal/adapter.ts';
import { freePort } from '../../src/embedded/port.ts';
import { type FalEmulator, startFal } from '../emulators/fal.ts';
import { itSurvivesFaults, quick } from '../emulators/faults.ts';
import { hurryLooks } from '../emulators/hurry.ts';
import { samples } from '../emulators/samples.ts';
import { createTestBed, type TestBed } from '../kit.ts';
import { tasksOf } from './tasks.ts';

/** A model of the operator's own. */
const recraft = {
  id: 'fal-ai/recraft/v3/text-to-image',
  taskTypes: ['generate_image'],
  fields: { prompt: 'prompt', image_size: 'size' },
  set: { style: 'realistic_image' },
  options: ['colors'],
};

let emulator: FalEmulator;
let bed: TestBed;
let stopHurry: (() => Promise<void>) | undefined;
/** Until a job is looked at, at most. */
let mostMs = 1_000;
beforeAll(async () => {
  emulator = await startFal();
  const port = await freePort();
  bed = await createTestBed({
    adapters: [quick(fal)],
    environment: {
      FAL_KEY: emulator.key,
      ATELIER_ADAPTER_FAL: JSON.stringify({ baseUrl: emulator.url, restUrl: emulator.restUrl, models: [recraft] }),
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

const schnell = 'fal-ai/flux/schnell';
const image = (fields: object = {}) => ({ generateImage: { prompt: 'a red kite', ...fields } });
const { create, submit, ended, cancel, events, upload } = tasksOf(() => bed, {
  provider: 'fal',
  model: schnell,
});
interface Line {
  method: string;
  path: string;
}
const isStart = ({ method, path }: Line) => method === 'POST' && /^\/fal-ai\//.test(path);
const isPoll = ({ method, path }: Line) => method === 'GET' && path.endsWith('/status');
const starts = () => emulator.seen.filter(isStart);

describe('fal', () => {
  beforeEach(() => {
    mostMs = 0;
  });
  afterEach(() => {
    mostMs = 1_000;
  });

  it('makes images, tells new lines of the log, and keeps what fal charges beside what the client pays', async () => {
    emulator.scripts.push({ looks: 3 });
    const id = await submit(image({ count: 2, seed: 0, width: 640, height: 512, options: { guidance_scale: 0 } }));
    const logged: string[] = [];
    for await (const { message } of events(id)) if (message) logged.push(message);
    expect(await ended(id)).toMatchObject({
      status: 'COMPLETED',
      imageResult: { seed: 0, images: [{ kind: 'IMAGE' }, { kind: 'IMAGE' }] },
      cost: { charged: 8, basis: 'USAGE' },
    });
    expect(logged).toEqual(['loading', 'denoising']);
    const [attempt] = await bed.sql('select cost from attempt order by task_id desc limit 1');
    expect(attempt!.cost).toEqual({ amount: '1.05', currency: 'billable_units' });
    const [start] = starts();
    expect(start!.path).toBe('/fal-ai/flux/schnell');
    expect(start!.query.get('fal_webhook')).toContain(`${bed.url}/providers/fal/callback/`);
    expect(start!.headers).toMatchObject({
      'x-fal-no-retry': '1',
      'x-fal-request-timeout': expect.stringMatching(/^(29\d|300)$/),
      'x-fal-object-lifecycle-preference': '{"expiration_duration_seconds":86400}',
    });
    expect(start!.json).toEqual({
      prompt: 'a red kite',
      image_size: { width: 640, height: 512 },
      num_images: 2,
      seed: 0,
      num_inference_steps: 4,
      guidance_scale: 0,
      acceleration: 'none',
      output_format: 'jpeg',
    });
  });

  it('makes a video from an image that it brings to the storage of fal', async () => {
    const start = await upload(samples.png, 'image/png');
    const id = await submit(
      { generateVideo: { sceneDescription: 'a harbour', storyboardAssetIds: [start], durationSeconds: 10 } },
      'fal-ai/kling-video/v2.5-turbo/pro/image-to-video',
    );
    expect(await ended(id)).toMatchObject({
      status: 'COMPLETED',
      videoResult: { durationSeconds: 10 },
      cost: { charged: 100 },
    });
    const { image_url, duration } = starts()[0]!.json;
    expect(duration).toBe('10');
    expect(emulator.files.get(new URL(image_url).pathname)).toEqual(samples.png);
  });

  it('speaks, and charges the characters', async () => {
    const task = { generateCharacterVoice: { text: 'Good morning', voice: 'Calm_Woman' } };
    expect(await ended(await submit(task, 'fal-ai/minimax/speech-02-hd'))).toMatchObject({
      status: 'COMPLETED',
      voiceResult: { durationSeconds: 1 },
      cost: { charged: 1 },
    });
    expect(starts()[0]!.json).toMatchObject({
      output_format: 'url',
      voice_setting: { voice_id: 'Calm_Woman', speed: 1, pitch: 0 },
    });
  });

  it('joins recordings', async () => {
    const sourceAssetIds = [await upload(samples.wav, 'audio/wav'), await upload(samples.wav, 'audio/wav')];
    const id = await submit(
      { processAudio: { operation: 'CONCATENATE', sourceAssetIds } },
      'fal-ai/ffmpeg-api/merge-audios',
    );
    expect(await ended(id)).toMatchObject({ status: 'COMPLETED', cost: { charged: 2 }, assets: [{ kind: 'AUDIO' }] });
    expect(starts()[0]!.json.audio_urls).toHaveLength(2);
  });

  it("runs a model of the operator's choice", async () => {
    const id = await submit(image({ options: { colors: [{ r: 0, g: 0, b: 0 }] } }), recraft.id);
    expect(await ended(id)).toMatchObject({ status: 'COMPLETED' });
    expect(starts()[0]!.json).toEqual({
      prompt: 'a red kite',
      image_size: { width: 1024, height: 1024 },
      style: 'realistic_image',
      colors: [{ r: 0, g: 0, b: 0 }],
    });
  });

  it('refuses before it costs anything what a model cannot do', async () => {
    expect((await create(image({ count: 5 }))).issues).toEqual([
      { path: ['task', 'generateImage', 'count'], message: 'this model makes at most 4 images at once' },
    ]);
    expect((await create(image({ width: 4096, height: 4096 }))).issues).toEqual([
      {
        path: ['task', 'generateImage', 'width'],
        message: '4096 × 4096 is more than the 1 × 1024 × 1024 pixels that are allowed here',
      },
    ]);
    expect((await create(image({ options: { enable_safety_checker: false } }))).code).toBe('VALIDATION');
    expect((await create(image({ negativePrompt: 'rain' }))).task.warnings).toEqual([
      `negativePrompt is not supported by ${schnell} and was left out`,
    ]);
  });

  it('is completed soon after a webhook', async () => {
    emulator.callsBack = true;
    emulator.scripts.push({ looks: 1_000 });
    const begun = Date.now();
    expect(await ended(await submit(image()))).toMatchObject({ status: 'COMPLETED', cost: { charged: 4 } });
    expect(Date.now() - begun).toBeLessThan(3_000);
    expect(emulator.seen.filter(({ path }) => path.endsWith('/jwks.json')).length).toBeLessThan(3);
  });

  it('is completed by the webhook of a job whose answer was lost, without a second one', async () => {
    emulator.callsBack = true;
    emulator.break(isStart, 'lost');
    expect(await ended(await submit(image()))).toMatchObject({ status: 'COMPLETED', cost: { charged: 4 } });
    expect(starts().length).toBe(1);
  });

  it('stops the request when the task is cancelled', async () => {
    emulator.scripts.push({ looks: 1_000 });
    const id = await submit(image());
    await emulator.next(({ path }) => path.includes('/status'));
    await cancel(id);
    expect(await ended(id)).toMatchObject({ status: 'CANCELLED', cost: { charged: 0 } });
    expect([...emulator.jobs.values()].at(-1)!.cancelled).toBe(true);
  });

  const failure = (status: number, json: object, headers = {}) => ({ failure: { status, json, headers } });
  const detail = (type: string, loc = ['body', 'prompt']) => ({ detail: [{ type, loc, msg: 'is refused' }] });
  it.each([
    ['an input that the model refuses', failure(422, detail('value_error')), 'PROVIDER_REFUSED_INPUT', 1, 0],
    ['content that it refuses', failure(422, detail('content_policy_violation')), 'CONTENT_POLICY', 1, 0],
    ['a result without files', { result: { images: [] } }, 'NO_OUTPUT', 1, 0],
    [
      'a runner that cannot be tried again',
      failure(500, detail('internal_server_error', ['body']), { 'x-fal-retryable': 'false' }),
      'PROVIDER_FAILED',
      1,
      0,
    ],
    [
      'images that the safety checker blackened, which were made and are charged',
      { result: { images: [{ url: 'https://v3.fal.media/black.png' }], has_nsfw_concepts: [true] } },
      'CONTENT_POLICY',
      1,
      4,
    ],
  ])('fails with %s', async (_, script, code, calls, charged) => {
    emulator.scripts.push(script);
    expect(await ended(await submit(image()))).toMatchObject({ status: 'FAILED', error: { code }, cost: { charged } });
    expect(starts().length).toBe(calls);
  });

  it.each([
    ['a refused input', failure(422, detail('value_error')), 'PROVIDER_REFUSED_INPUT', 0],
    ['refused content', failure(422, detail('content_policy_violation')), 'CONTENT_POLICY', 0],
    // Whether it cost something is not said: it is not bought again.
    ['no runner', failure(503, { detail: 'x', error_type: 'runner_scheduling_failure' }), 'PROVIDER_FAILED', 0],
    [
      'blackened images, which are charged',
      { result: { images: [{ url: 'https://v3.fal.media/black.png' }], has_nsfw_concepts: [true] } },
      'CONTENT_POLICY',
      4,
    ],
  ])('fails by the webhook of a job whose answer was lost: %s', async (_, script, code, charged) => {
    emulator.callsBack = true;
    emulator.break(isStart, 'lost');
    emulator.scripts.push(script);
    expect(await ended(await submit(image()))).toMatchObject({
      status: 'FAILED',
      error: { code },
      cost: { quoted: 4, charged, released: 4 - charged },
    });
    expect(starts().length).toBe(1);
  });

  it('starts again what fal says that it did not charge', async () => {
    emulator.scripts.push(failure(503, { detail: 'No runner', error_type: 'runner_scheduling_failure' }));
    expect(await ended(await submit(image()))).toMatchObject({ status: 'COMPLETED', cost: { charged: 4 } });
    expect(starts().length).toBe(2);
  });

  it.each([
    ['a gateway stands between it and the result', { status: 502, body: '<html>' }],
    ['a server in between fails in JSON', { status: 500, json: { detail: 'Internal Server Error' } }],
    ['the result is not there yet', { status: 400, json: { detail: 'Request is still in progress' } }],
  ])('looks again when %s', async (_, fault) => {
    emulator.break(({ method, path }) => method === 'GET' && /requests\/[^/]+$/.test(path), fault);
    expect(await ended(await submit(image()))).toMatchObject({ status: 'COMPLETED' });
    expect(starts().length).toBe(1);
  });
});

describe('fal, when something breaks', () => {
  itSurvivesFaults({
    bed: () => bed,
    emulator: () => emulator,
    request: { provider: 'fal', model: schnell, task: image() },
    isStart,
    isPoll,
    isResult: ({ method, path }) => method === 'GET' && /\/requests\/[^/]+$/.test(path),
    isDownload: ({ path }) => path.startsWith('/media/'),
    giveOutput: (url) => emulator.scripts.push({ result: { images: [{ url }] } }),
    callback: (start) => emulator.callback(start),
  });
});

describe("the emulator, with fal's own client", () => {
  const client = () =>
    createFalClient({
      credentials: emulator.key,
      fetch: (input: any, init?: RequestInit) =>
        fetch(
          String(input).replace('https://queue.fal.run', emulator.url).replace('https://rest.fal.ai', emulator.restUrl),
          init,
        ),
    });

  it('submits, waits, gives results and cancels', async () => {
    const seen: string[] = [];
    emulator.scripts.push({ looks: 3 });
    const { data, requestId } = await client().subscribe(schnell, {
      input: { prompt: 'a red kite', num_images: 2 },
      logs: true,
      pollInterval: 20,
      onQueueUpdate: ({ status }) => seen.push(status),
    });
    expect(data.images).toHaveLength(2);
    expect(emulator.jobs.has(requestId)).toBe(true);
    expect(new Set(seen)).toEqual(new Set(['IN_QUEUE', 'IN_PROGRESS', 'COMPLETED']));
    emulator.scripts.push({ looks: 1_000 });
    const { request_id } = await client().queue.submit(schnell, { input: { prompt: 'x' } });
    await client().queue.cancel(schnell, { requestId: request_id });
    expect(emulator.jobs.get(request_id)!.cancelled).toBe(true);
  });

  it('streams the status, and stores files', async () => {
    emulator.scripts.push({ looks: 3 });
    const { request_id } = await client().queue.submit(schnell, { input: { prompt: 'x' } });
    const stream = await client().queue.streamStatus(schnell, { requestId: request_id, logs: true });
    expect(await stream.done()).toMatchObject({ status: 'COMPLETED', request_id });
    const url = await client().storage.upload(new File(['hello'], 'a.txt', { type: 'text/plain' }));
    expect(emulator.files.get(new URL(url).pathname)!.toString()).toBe('hello');
  });

  it('refuses in the format that the client reads', async () => {
    await expect(client().queue.submit(schnell, { input: {} as any })).rejects.toMatchObject({
      name: 'ValidationError',
      fieldErrors: [{ type: 'missing', loc: ['body', 'prompt'] }],
    });
  });
});
