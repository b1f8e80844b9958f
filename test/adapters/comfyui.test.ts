import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import comfyui from '../../adapters/comfyui/adapter.ts';
import { type ComfyEmulator, startComfy } from '../emulators/comfyui.ts';
import { itSurvivesFaults, quick, stealLeases } from '../emulators/faults.ts';
import { samples } from '../emulators/samples.ts';
import { createTestBed, eventually, type TestBed } from '../kit.ts';
import { tasksOf } from './tasks.ts';

const graph = {
  '4': { class_type: 'CheckpointLoaderSimple', inputs: { ckpt_name: 'sd.safetensors' } },
  '6': { class_type: 'CLIPTextEncode', inputs: { text: 'a cat', clip: ['4', 1] } },
  '7': { class_type: 'CLIPTextEncode', inputs: { text: '', clip: ['4', 1] } },
  '5': { class_type: 'EmptyLatentImage', inputs: { width: 512, height: 512, batch_size: 1 } },
  '3': {
    class_type: 'KSampler',
    inputs: {
      seed: 1,
      steps: 4,
      cfg: 7.5,
      model: ['4', 0],
      positive: ['6', 0],
      negative: ['7', 0],
      latent_image: ['5', 0],
    },
    _meta: { title: 'Sampler' },
  },
  '8': { class_type: 'VAEDecode', inputs: { samples: ['3', 0], vae: ['4', 2] } },
};
const picture = {
  ...graph,
  '9': { class_type: 'SaveImage', inputs: { images: ['8', 0], filename_prefix: 'atelier' } },
};
const inputs = {
  prompt: '6.text',
  negativePrompt: '7.text',
  seed: '3.seed',
  width: '5.width',
  height: '5.height',
  count: '5.batch_size',
};
const workflows = [
  {
    id: 'picture',
    taskTypes: ['generate_image'],
    workflow: picture,
    inputs,
    options: {
      steps: { input: '3.steps', type: 'integer', min: 1, max: 60 },
      guidance: { input: '3.cfg', min: 0, max: 30 },
    },
  },
  {
    id: 'edit',
    taskTypes: ['generate_image'],
    workflow: { ...picture, '10': { class_type: 'LoadImage', inputs: { image: 'example.png' } } },
    inputs: { ...inputs, images: ['10.image'] },
  },
  {
    id: 'film',
    taskTypes: ['generate_video'],
    workflow: {
      ...graph,
      '5': { class_type: 'EmptyLatentImage', inputs: { width: 512, height: 512, batch_size: 1, length: 1 } },
      '9': { class_type: 'VHS_VideoCombine', inputs: { images: ['8', 0], frame_rate: 16, filename_prefix: 'film' } },
    },
    inputs: {
      prompt: '6.text',
      seed: '3.seed',
      width: '5.width',
      height: '5.height',
      frames: { input: '5.length', perSecond: 16, step: 4, plus: 1 },
    },
    sizes: { '16:9': [832, 480] },
  },
  {
    id: 'broken',
    taskTypes: ['generate_image'],
    workflow: {
      ...picture,
      '4': { class_type: 'CheckpointLoaderSimple', inputs: { ckpt_name: 'missing.safetensors' } },
    },
    inputs,
  },
];

const environment = (emulator: ComfyEmulator) => ({
  ATELIER_ADAPTER_COMFYUI_QUICK: JSON.stringify({ baseUrl: emulator.url, workflows }),
  ATELIER_LEASE_SECONDS: '3',
});

let emulator: ComfyEmulator;
let bed: TestBed;
beforeAll(async () => {
  emulator = await startComfy();
  bed = await createTestBed({
    adapters: [{ ...quick(comfyui), name: 'comfyui-quick' }],
    environment: environment(emulator),
    storage: 'directory',
  });
});
afterAll(async () => {
  await bed?.close();
  await emulator?.close();
});
afterEach(() => {
  emulator.release();
  emulator.mend();
  emulator.seen.length = 0;
});

const image = (fields: object = {}) => ({ generateImage: { prompt: 'a red kite', ...fields } });

const pictures = { provider: 'comfyui-quick', model: 'picture' };
const { create, submit, read, ended, cancel, events } = tasksOf(() => bed, pictures);
const running = (count = 1) => eventually(() => emulator.ran.length >= count && emulator.listeners().length >= 1);
const posts = (path: string) => emulator.seen.filter((each) => each.method === 'POST' && each.path === path);

describe('comfyui', () => {
  it('runs a workflow, tells its progress with a preview, and stores and charges what it made', async () => {
    const id = await submit(image({ count: 2, seed: 0, options: { steps: 6, guidance: 0 } }));
    const seen: any[] = [];
    for await (const event of events(id)) seen.push(event);
    const task = await read(id);
    expect(task).toMatchObject({ status: 'COMPLETED', imageResult: { seed: 0 }, cost: { charged: 8 } });
    expect(task.assets.filter((asset: any) => asset.contentType === 'image/png').length).toBeGreaterThanOrEqual(2);
    const sent = posts('/prompt')[0]!.json;
    expect(sent.prompt['3'].inputs).toMatchObject({ seed: 0, steps: 6, cfg: 0, model: ['4', 0] });
    expect(sent.prompt['6'].inputs.text).toBe('a red kite');
    expect(sent.prompt['5'].inputs).toMatchObject({ width: 1024, height: 1024, batch_size: 2 });
    const steps = seen.filter((event) => event.progress !== undefined);
    expect(steps.length).toBeGreaterThan(2);
    expect(steps.map((event) => event.progress)).toEqual(steps.map((event) => event.progress).sort((a, b) => a - b));
    expect(steps.some((event) => event.step === 'Sampler')).toBe(true);
    expect(Buffer.from(await (await fetch(task.assets[0].url)).arrayBuffer())).toEqual(samples.png);
  });

  it('makes a film of as many frames as the seconds ask for', async () => {
    const id = await submit(
      { generateVideo: { sceneDescription: 'waves', lighting: 'dusk', aspectRatio: '16:9', durationSeconds: 2 } },
      'film',
    );
    expect(await ended(id)).toMatchObject({
      status: 'COMPLETED',
      videoResult: { durationSeconds: 33 / 16 },
      cost: { charged: 20 },
      assets: [{ kind: 'VIDEO', contentType: 'video/mp4' }],
    });
    const sent = posts('/prompt')[0]!.json.prompt;
    expect(sent['5'].inputs).toMatchObject({ length: 33, width: 832, height: 480 });
    expect(sent['6'].inputs.text).toBe('waves, dusk');
  });

  it('brings a reference image to the server first', async () => {
    const first = await ended(await submit(image()));
    emulator.seen.length = 0;
    const id = await submit(image({ referenceAssetIds: [first.assets[0].id] }), 'edit');
    expect(await ended(id)).toMatchObject({ status: 'COMPLETED' });
    expect(posts('/upload/image')).toHaveLength(1);
    expect(posts('/prompt')[0]!.json.prompt['10'].inputs.image).toMatch(/^atelier\/[0-9a-f]{32}\.png$/);
  });

  it('refuses what the options do not allow before anything is sent', async () => {
    expect(await create(image({ options: { steps: 61 } }))).toMatchObject({
      code: 'VALIDATION',
      issues: [{ path: expect.arrayContaining(['steps']) }],
    });
    expect(emulator.seen).toHaveLength(0);
  });

  it('names the field that the server complains of, and blames the workflow for the rest', async () => {
    expect(await ended(await submit(image({ seed: -1 })))).toMatchObject({
      status: 'FAILED',
      error: { code: 'PROVIDER_REFUSED_INPUT', message: expect.stringContaining('smaller than min') },
      cost: { charged: 0 },
    });
    expect(await ended(await submit(image(), 'broken'))).toMatchObject({
      status: 'FAILED',
      error: { code: 'WORKFLOW_REFUSED' },
    });
  });

  it('fails when a node does, and tries again when memory ran out', async () => {
    expect(await ended(await submit(image({ prompt: '[error]' })))).toMatchObject({
      status: 'FAILED',
      error: { code: 'WORKFLOW_FAILED' },
      cost: { charged: 0 },
    });
    const before = emulator.ran.length;
    const id = await submit(image({ prompt: '[out of memory]' }));
    expect(await ended(id)).toMatchObject({ status: 'FAILED', error: { code: 'OUT_OF_MEMORY' } });
    expect(emulator.ran.length - before).toBeGreaterThan(1);
    await bed.sql('delete from circuit');
  });

  it('cancels a job that waits and one that runs, and no other', async () => {
    emulator.hold();
    const before = emulator.ran.length;
    emulator.release();
    const first = await submit(image({ options: { steps: 60 } }));
    await running(before + 1);
    emulator.hold();
    const second = await submit(image());
    await eventually(() => posts('/prompt').length === 2);
    for (const id of [second, first]) {
      await cancel(id);
      expect(await ended(id)).toMatchObject({ status: 'CANCELLED', cost: { charged: 0 } });
    }
    expect(emulator.ran.length).toBe(before + 1);
    expect(emulator.interrupted).toEqual([emulator.ran.at(-1)]);
  });

  it('sends a job again that the server forgot when it was started anew', async () => {
    emulator.hold();
    const id = await submit(image());
    await eventually(() => posts('/prompt').length === 1);
    await eventually(() => emulator.listeners().length === 1);
    emulator.restart();
    emulator.release();
    expect(await ended(id)).toMatchObject({ status: 'COMPLETED', cost: { charged: 4 } });
    expect(posts('/prompt')).toHaveLength(2);
  });

  it('is followed by another worker when the first one dies', async () => {
    const id = await submit(image({ options: { steps: 60 } }));
    const count = emulator.ran.length;
    await eventually(() => emulator.ran.length > count || emulator.listeners().length === 1);
    await stealLeases(bed);
    expect(await ended(id)).toMatchObject({ status: 'COMPLETED', cost: { charged: 4 } });
    expect(posts('/prompt')).toHaveLength(1);
  });

  it('shares a server with another Atelier and interrupts only its own job', { timeout: 60_000 }, async () => {
    for (const version of ['current', 'old'] as const) {
      const shared = await startComfy({ version });
      const options = {
        adapters: [{ ...comfyui, name: 'comfyui-quick' }],
        environment: environment(shared),
        storage: 'directory' as const,
      };
      const [one, other] = await Promise.all([createTestBed(options), createTestBed(options)]);
      try {
        const [ours, theirs] = [tasksOf(() => one, pictures), tasksOf(() => other, pictures)];
        const running = await theirs.submit(image({ options: { steps: 60 } }));
        await eventually(() => shared.ran.length === 1);
        shared.hold();
        const waiting = await ours.submit(image());
        await eventually(() => shared.seen.filter(({ path }) => path === '/prompt').length === 2);
        await ours.cancel(waiting);
        expect(await ours.ended(waiting)).toMatchObject({ status: 'CANCELLED' });
        shared.release();
        expect(await theirs.ended(running)).toMatchObject({ status: 'COMPLETED' });
        expect(shared.interrupted).toEqual([]);
        expect(shared.ran).toHaveLength(1);
      } finally {
        await Promise.all([one.close(), other.close()]);
        await shared.close();
      }
    }
  });
});

describe('comfyui, broken', () => {
  itSurvivesFaults({
    bed: () => bed,
    emulator: () => emulator,
    request: { ...pictures, task: image() },
    isStart: ({ method, path }) => method === 'POST' && path === '/prompt',
    // A look asks the queue first; what has left it is in the history.
    isPoll: ({ method, path }) => method === 'GET' && path === '/queue',
    isResult: ({ path }) => path.startsWith('/history/'),
    isDownload: ({ path }) => path === '/view',
    lost: 'found',
  });
});
