import { fileURLToPath } from 'node:url';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import aiSdk from '../../adapters/ai-sdk/adapter.ts';
import { type AiSdkEmulator, startAiSdk } from '../emulators/ai-sdk.ts';
import { itSurvivesFaults, quick } from '../emulators/faults.ts';
import { samples } from '../emulators/samples.ts';
import { createTestBed, type TestBed } from '../kit.ts';
import { tasksOf } from './tasks.ts';

let emulator: AiSdkEmulator;
let bed: TestBed;
beforeAll(async () => {
  emulator = await startAiSdk();
  const key = { apiKey: 'OPENAI_API_KEY' };
  const config = {
    providers: [
      { id: 'openai', package: '@ai-sdk/openai', settings: { baseURL: `${emulator.url}/v1` }, secrets: key },
      {
        id: 'fal',
        package: '@ai-sdk/fal',
        settings: { baseURL: `${emulator.url}/fal` },
        secrets: { apiKey: 'FAL_API_KEY' },
      },
      {
        id: 'acme',
        package: fileURLToPath(new URL('../fixtures/acme-video.mjs', import.meta.url)),
        settings: { baseURL: emulator.url },
        secrets: key,
      },
    ],
    models: [
      { id: 'openai/gpt-5-mini', taskTypes: ['generate_text'] },
      {
        id: 'openai/gpt-image-1',
        taskTypes: ['generate_image'],
        options: { quality: { description: 'How fine. Default: auto.', values: ['low', 'high'] } },
      },
      { id: 'openai/gpt-4o-mini-tts', taskTypes: ['generate_character_voice'] },
      { id: 'fal/flux', taskTypes: ['generate_image'], fixed: { syncMode: false } },
      { id: 'acme/film', taskTypes: ['generate_video'], fixed: { loop: false } },
    ],
  };
  bed = await createTestBed({
    adapters: [{ ...quick(aiSdk), name: 'ai-sdk-quick' }],
    environment: {
      OPENAI_API_KEY: 'key-of-openai',
      FAL_API_KEY: 'key-of-fal',
      ATELIER_ADAPTER_AI_SDK_QUICK: JSON.stringify(config),
      ATELIER_LEASE_SECONDS: '3',
    },
    storage: 'directory',
  });
});
afterAll(async () => {
  await bed?.close();
  await emulator?.close();
});
afterEach(async () => {
  emulator.mend();
  emulator.seen.length = 0;
  Object.assign(emulator.script, {
    pieces: ['Hello', ', ', 'world'],
    pauseMs: 0,
    broken: undefined,
    looks: 2,
    reason: undefined,
    videoUrl: undefined,
  });
  await bed.sql('delete from circuit');
});

const { create, submit, read, settled, run, cancel, events } = tasksOf(() => bed, { provider: 'ai-sdk-quick' });
const posts = () => emulator.seen.filter(({ method }) => method === 'POST');
const text = (fields: object = {}) => ({ generateText: { prompt: 'Greet the world.', ...fields } });

describe('ai-sdk', () => {
  it('streams a text through @ai-sdk/openai and charges the tokens that it reports', async () => {
    emulator.script.pauseMs = 150;
    const id = await submit(text({ system: 'Be brief.', temperature: 0 }), 'openai/gpt-5-mini');
    const pieces: string[] = [];
    for await (const piece of events(id)) if (piece.text) pieces.push(piece.text);
    expect(pieces.length).toBeGreaterThan(1);
    expect(pieces.join('')).toBe('Hello, world');
    expect(await read(id)).toMatchObject({
      status: 'COMPLETED',
      textResult: { text: 'Hello, world' },
      cost: { charged: 1 },
    });
    expect(posts()).toHaveLength(1);
    expect(posts()[0]!.json).toMatchObject({ model: 'gpt-5-mini', stream: true, max_output_tokens: 1024 });
  });

  it('parses an answer to a schema, and fails when it is no JSON', async () => {
    const schema = { responseSchema: { type: 'object', properties: { a: { type: 'number' } } } };
    emulator.script.pieces = ['{"a"', ':1}'];
    expect(await run(text(schema), 'openai/gpt-5-mini')).toMatchObject({
      textResult: { json: { a: 1 } },
    });
    emulator.script.pieces = ['{"a"'];
    expect(await run(text(schema), 'openai/gpt-5-mini')).toMatchObject({
      status: 'FAILED',
      error: { code: 'INVALID_OUTPUT' },
    });
  });

  it('fails when the provider says inside the stream that it did', async () => {
    emulator.script.broken = {
      error: { type: 'server_error', code: 'server_error', message: 'The server had an error' },
    };
    expect(await run(text(), 'openai/gpt-5-mini')).toMatchObject({
      status: 'FAILED',
      error: { code: 'PROVIDER_FAILED' },
      cost: { charged: 0 },
    });
    expect(posts()).toHaveLength(1);
  });

  it('makes pictures with the options that the operator allows, and no others', async () => {
    const picture = { prompt: 'a red kite', count: 2 };
    const id = await submit({ generateImage: { ...picture, options: { quality: 'low' } } }, 'openai/gpt-image-1');
    const task = await settled(id);
    expect(task).toMatchObject({ status: 'COMPLETED', cost: { charged: 8 }, imageResult: { seed: null } });
    expect(Buffer.from(await (await fetch(task.assets[1].url)).arrayBuffer())).toEqual(samples.png);
    expect(posts()[0]!.json).toMatchObject({ model: 'gpt-image-1', n: 2, size: '1024x1024', quality: 'low' });
    const task2 = { generateImage: { ...picture, options: { background: 'transparent' } } };
    expect(await create(task2, 'openai/gpt-image-1')).toMatchObject({ code: 'VALIDATION' });
  });

  it('makes a picture through @ai-sdk/fal, with seed 0, and buys no more at once than the model makes', async () => {
    const id = await submit({ generateImage: { prompt: 'a kite', seed: 0, width: 512, height: 512 } }, 'fal/flux');
    expect(await settled(id)).toMatchObject({ status: 'COMPLETED', imageResult: { seed: 0 }, cost: { charged: 4 } });
    expect(posts()[0]!.json).toMatchObject({ seed: 0, image_size: { width: 512, height: 512 }, sync_mode: false });
    emulator.seen.length = 0;
    expect(await run({ generateImage: { prompt: 'a kite', count: 2 } }, 'fal/flux')).toMatchObject({
      status: 'FAILED',
      error: { code: 'COUNT_TOO_LARGE' },
    });
    expect(posts()).toHaveLength(0);
  });

  it('holds for review what was paid for and could not be fetched', async () => {
    emulator.break(({ path }) => path === '/files/picture.png', { status: 404 });
    const task = await run({ generateImage: { prompt: 'a kite' } }, 'fal/flux');
    expect(task).toMatchObject({ status: 'PROCESSING', needsReview: true });
    expect(posts()).toHaveLength(1);
  });

  it('speaks', async () => {
    const id = await submit(
      { generateCharacterVoice: { text: 'Good morning', voice: 'alloy' } },
      'openai/gpt-4o-mini-tts',
    );
    expect(await settled(id)).toMatchObject({
      status: 'COMPLETED',
      voiceResult: { durationSeconds: 1 },
      assets: [{ kind: 'AUDIO' }],
      cost: { charged: 1 },
    });
    expect(posts()[0]!.json).toMatchObject({ input: 'Good morning', voice: 'alloy' });
  });

  it('starts a video, looks at it over an unknown status, and fetches it', async () => {
    emulator.script.looks = 3;
    const id = await submit({ generateVideo: { sceneDescription: 'waves', durationSeconds: 2, seed: 0 } }, 'acme/film');
    expect(await settled(id)).toMatchObject({
      status: 'COMPLETED',
      videoResult: { durationSeconds: 2 },
      assets: [{ kind: 'VIDEO', contentType: 'video/mp4' }],
      cost: { charged: 20 },
    });
    expect(posts()).toHaveLength(1);
    expect(posts()[0]!.json).toEqual({ modelId: 'film', prompt: 'waves', duration: 2, seed: 0, loop: false });
  });

  it('fails when the video does', async () => {
    emulator.script.reason = 'too many waves';
    expect(await run({ generateVideo: { sceneDescription: 'waves' } }, 'acme/film')).toMatchObject({
      status: 'FAILED',
      error: { code: 'PROVIDER_FAILED' },
    });
  });

  it('ends the stream when the task is cancelled', async () => {
    emulator.script.pauseMs = 5_000;
    const id = await submit(text(), 'openai/gpt-5-mini');
    await emulator.next(({ path }) => path === '/v1/responses');
    await cancel(id);
    expect(await settled(id)).toMatchObject({ status: 'CANCELLED', cost: { charged: 0 } });
  });
});

describe('ai-sdk, broken, a text', () => {
  itSurvivesFaults({
    bed: () => bed,
    emulator: () => emulator,
    request: { provider: 'ai-sdk-quick', model: 'openai/gpt-5-mini', task: text() },
    isStart: ({ method, path }) => method === 'POST' && path === '/v1/responses',
  });
});

describe('ai-sdk, broken, a video', () => {
  itSurvivesFaults({
    bed: () => bed,
    emulator: () => emulator,
    request: { provider: 'ai-sdk-quick', model: 'acme/film', task: { generateVideo: { sceneDescription: 'waves' } } },
    isStart: ({ method, path }) => method === 'POST' && path === '/videos',
    isPoll: ({ method, path }) => method === 'GET' && path.startsWith('/videos/'),
    isDownload: ({ path }) => path === '/files/film.mp4',
    giveOutput: (url) => {
      emulator.script.videoUrl = url;
    },
  });
});
