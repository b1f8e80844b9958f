import { createCanvas } from '@napi-rs/canvas';
import OpenAI, { AuthenticationError, BadRequestError, toFile } from 'openai';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import openai from '../../adapters/openai/adapter.ts';
import { type Emulator, type Seen, startEmulator } from '../emulators/emulator.ts';
import { itSurvivesFaults, quick } from '../emulators/faults.ts';
import { type OpenAiEmulator, startOpenAi } from '../emulators/openai.ts';
import { createTestBed, eventually, type TestBed } from '../kit.ts';
import { tasksOf } from './tasks.ts';

let emulator: OpenAiEmulator;
let bare: Emulator;
let bed: TestBed;
beforeAll(async () => {
  emulator = await startOpenAi();
  bare = await startBare();
  const limits = { previews: 3, inputFidelity: 'high' };
  const config = JSON.stringify({ baseUrl: emulator.baseUrl, dialect: 'openai', limits });
  bed = await createTestBed({
    adapters: [
      { ...openai, name: 'openai-patient' },
      { ...quick(openai), name: 'openai-quick' },
      { ...openai, name: 'bare' },
    ],
    environment: {
      OPENAI_API_KEY: 'sk-emulator',
      ATELIER_ADAPTER_OPENAI_PATIENT: config,
      ATELIER_ADAPTER_OPENAI_QUICK: config,
      ATELIER_ADAPTER_BARE: JSON.stringify({ baseUrl: bare.url, models: [{ id: 'tiny' }], streamUsage: false }),
      ATELIER_LEASE_SECONDS: '3',
    },
    storage: 'directory',
  });
});
afterAll(async () => {
  await bed?.close();
  await emulator?.close();
  await bare?.close();
});
afterEach(() => {
  Object.assign(emulator.script, {
    pieces: ['Hello', ' – ', 'world 🙂'],
    pauseMs: 0,
    finishReason: 'stop',
    inside: undefined,
  });
});

/** A server that knows POST /chat/completions and nothing else, and refuses what it does not know. */
function startBare(): Promise<Emulator> {
  return startEmulator(async ({ method, path, json }) => {
    if (method !== 'POST' || path !== '/chat/completions') throw { status: 404, body: 'no' };
    const unknown = Object.keys(json).filter((name) => !['model', 'messages', 'stream', 'max_tokens'].includes(name));
    if (unknown.length > 0) throw { status: 400, json: { error: `unknown: ${unknown}` } };
    const said = ['It ', 'works'].map(
      (content) => `data: ${JSON.stringify({ choices: [{ delta: { content } }] })}\n\n`,
    );
    return { headers: { 'content-type': 'text/event-stream' }, body: `${said.join('')}data: [DONE]\n\n` };
  });
}

const { create, submit, run, settled, cancel, events } = tasksOf(() => bed, { provider: 'openai-patient' });
const lastSeen = (path: string) => emulator.seen.filter((request) => request.path === path).at(-1)!;

describe("OpenAI's own client finds what it expects of the emulator", () => {
  const client = (apiKey = 'sk-emulator') => new OpenAI({ apiKey, baseURL: emulator.baseUrl, maxRetries: 0 });

  it('lists models, and refuses a wrong key', async () => {
    const names = [];
    for await (const { id } of client().models.list()) names.push(id);
    expect(names).toContain('gpt-image-1');
    await expect(client('sk-wrong').models.list()).rejects.toThrow(AuthenticationError);
  });

  it('streams and completes a chat', async () => {
    const messages = [{ role: 'user' as const, content: 'x' }];
    const stream = client().chat.completions.stream({
      model: 'gpt-4.1',
      messages,
      stream_options: { include_usage: true },
    });
    expect(await stream.finalContent()).toBe('Hello – world 🙂');
    expect((await stream.totalUsage()).completion_tokens).toBe(3);
    const whole = await client().chat.completions.create({ model: 'gpt-4.1', messages });
    expect(whole.choices[0]!.message.content).toBe('Hello – world 🙂');
    await expect(client().chat.completions.create({ model: 'gpt-5.4', messages, max_tokens: 5 })).rejects.toThrow(
      BadRequestError,
    );
  });

  it('makes, streams and edits images', async () => {
    const made = await client().images.generate({ model: 'gpt-image-1', prompt: 'x', n: 2, size: '1536x1024' });
    expect(made.data).toHaveLength(2);
    const types = [];
    for await (const event of await client().images.generate({
      model: 'gpt-image-2',
      prompt: 'x',
      stream: true,
      partial_images: 1,
    }))
      types.push(event.type);
    expect(types).toEqual(['image_generation.partial_image', 'image_generation.completed']);
    const image = await toFile(createCanvas(8, 8).toBuffer('image/png'), 'a.png', { type: 'image/png' });
    expect((await client().images.edit({ model: 'gpt-image-1', prompt: 'x', image: [image] })).data).toHaveLength(1);
  });

  it('speaks', async () => {
    const speech = await client().audio.speech.create({ model: 'tts-1', voice: 'alloy', input: 'Hello' });
    expect((await speech.arrayBuffer()).byteLength).toBeGreaterThan(400);
  });
});

describe('texts', () => {
  it('stream as they are written, and are charged by the tokens that were written', async () => {
    emulator.script.pieces = Array.from({ length: 250 }, (_, index) => `word ${index} `);
    const id = await submit({ generateText: { prompt: 'x', temperature: 0 } }, 'gpt-4.1');
    const texts: string[] = [];
    for await (const { text } of events(id)) if (text) texts.push(text);
    const done = await settled(id);
    expect(done).toMatchObject({ status: 'COMPLETED', cost: { quoted: 11, charged: 3, basis: 'USAGE' } });
    expect(texts.join('')).toBe(done.textResult.text);
    expect(done.textResult.text).toBe(emulator.script.pieces.join(''));
    expect(lastSeen('/v1/chat/completions').json).toMatchObject({ temperature: 0, max_completion_tokens: 1024 });
  });

  it('come as JSON of the schema that was asked for', async () => {
    emulator.script.pieces = ['{"name":', '"Ada"}'];
    const responseSchema = { type: 'object', properties: { name: { type: 'string' } } };
    expect(await run({ generateText: { prompt: 'x', responseSchema, temperature: 1 } })).toMatchObject({
      status: 'COMPLETED',
      textResult: { json: { name: 'Ada' } },
      warnings: [expect.stringContaining('temperature')],
    });
    expect(lastSeen('/v1/chat/completions').json.response_format.json_schema.schema).toEqual(responseSchema);
    emulator.script.pieces = ['{"name":'];
    emulator.script.finishReason = 'length';
    expect(await run({ generateText: { prompt: 'x', responseSchema } })).toMatchObject({
      status: 'FAILED',
      error: { code: 'OUTPUT_TRUNCATED' },
      cost: { charged: 1 },
    });
  });

  it('are tested against expectations', async () => {
    const testPrompt = { template: 'Greet {{name}}', variables: { name: 'Ada' }, expectations: ['hello', '!/bye/i'] };
    expect(await run({ testPrompt })).toMatchObject({
      status: 'COMPLETED',
      cost: { charged: 1 },
      promptResult: { rendered: 'Greet Ada', passed: true, expectations: [{ passed: true }, { passed: true }] },
    });
    const { issues } = await create({ testPrompt: { template: 'x', expectations: ['/(/'] } });
    expect(issues[0].path).toEqual(['task', 'testPrompt', 'expectations', '0']);
    // Nested repetition: judged in a moment or given up, never the end of the worker.
    emulator.script.pieces = [`${'a'.repeat(40)}!`];
    expect(await run({ testPrompt: { template: 'x', expectations: ['/^(a+)+$/'] } })).toMatchObject({
      status: 'FAILED',
      cost: { charged: 1 },
    });
  });

  it('end the call at the vendor when they are cancelled', async () => {
    Object.assign(emulator.script, { pieces: Array(1_000).fill('x'), pauseMs: 20 });
    const before = emulator.abandoned();
    const id = await submit({ generateText: { prompt: 'x' } });
    for await (const { text } of events(id)) if (text) break;
    await cancel(id);
    expect(await settled(id)).toMatchObject({ status: 'CANCELLED', cost: { charged: 0 } });
    await eventually(() => emulator.abandoned() === before + 1);
  });

  it('wait for a review when the stream breaks, and fail when it says that it failed', async () => {
    emulator.seen.length = 0;
    emulator.script.inside = 'cut';
    expect(await run({ generateText: { prompt: 'x' } })).toMatchObject({ needsReview: true });
    expect(emulator.seen).toHaveLength(1);
    emulator.script.inside = { error: { message: 'Sorry about that!', type: 'server_error', param: null, code: null } };
    expect(await run({ generateText: { prompt: 'x' } })).toMatchObject({
      status: 'FAILED',
      error: { code: 'PROVIDER_FAILED' },
      cost: { charged: 0 },
    });
    expect(emulator.seen).toHaveLength(2);
  });

  it('are not given out when the content filter cut them', async () => {
    emulator.script.finishReason = 'content_filter';
    expect(await run({ generateText: { prompt: 'x' } })).toMatchObject({
      status: 'FAILED',
      error: { code: 'CONTENT_POLICY' },
    });
  });

  it('come from a server that knows chat completions and nothing else, without a key', async () => {
    bare.seen.length = 0;
    expect(await tasksOf(() => bed, { provider: 'bare' }).run({ generateText: { prompt: 'x' } })).toMatchObject({
      status: 'COMPLETED',
      textResult: { text: 'It works' },
      cost: { quoted: 11, charged: 11, basis: 'QUOTE' },
    });
    expect(bare.seen.map(({ path }) => path)).toEqual(['/chat/completions']);
  });
});

describe('images', () => {
  it('are stored, and charged by the piece', async () => {
    const done = await run(
      { generateImage: { prompt: 'an otter', count: 2, width: 1920, height: 1080, options: { format: 'webp' } } },
      'gpt-image-1',
    );
    expect(done).toMatchObject({ status: 'COMPLETED', cost: { charged: 8 } });
    expect(done.warnings).toContainEqual(expect.stringContaining('1536×1024'));
    expect(done.assets).toMatchObject([
      { kind: 'IMAGE', contentType: 'image/webp', width: 1536, height: 1024 },
      { kind: 'IMAGE', contentType: 'image/webp', width: 1536, height: 1024 },
    ]);
    expect((await fetch(done.assets[0].url)).status).toBe(200);
  });

  it('go by reference images', async () => {
    const [first] = (await run({ generateImage: { prompt: 'an otter' } })).assets;
    const done = await run(
      {
        generateImage: {
          prompt: 'with a hat',
          referenceAssetIds: [first.id, first.id],
          options: { inputFidelity: 'high' },
        },
      },
      'gpt-image-1.5',
    );
    expect(done).toMatchObject({ status: 'COMPLETED', assets: [{ width: 1024 }] });
    const { headers, body } = lastSeen('/v1/images/edits');
    expect(headers['content-type']).toMatch(/^multipart\/form-data; boundary=/);
    const form = body.toString('latin1');
    expect(form.match(/name="image\[\]"; filename="input-[01]\.png"/g)).toHaveLength(2);
    expect(form).toContain('name="input_fidelity"');
  });

  it('show previews while they are made', async () => {
    emulator.script.pauseMs = 300;
    const id = await submit({ generateImage: { prompt: 'x', options: { previews: 3 } } });
    const seen: string[] = [];
    for await (const { __typename } of events(id)) seen.push(__typename);
    expect(await settled(id)).toMatchObject({ status: 'COMPLETED', cost: { charged: 4 } });
    expect(seen.filter((name) => name === 'TaskOutputAdded').length).toBeGreaterThan(1);
  });

  it('are refused before they are paid for where they cannot be made', async () => {
    const { issues } = await create({ generateImage: { prompt: 'x', width: 4096, height: 512 } });
    expect(issues[0].path).toEqual(['task', 'generateImage', 'width']);
    const previews = await create({ generateImage: { prompt: 'x', count: 2, options: { previews: 1 } } });
    expect(previews.issues[0].path).toEqual(['task', 'generateImage', 'options', 'previews']);
    const large = await create({ generateImage: { prompt: 'x', width: 2048, height: 2048 } });
    expect(large.issues[0].path).toEqual(['task', 'generateImage', 'width']);
    for (const options of [{ steps: 3 }, { quality: 'high' }, { moderation: 'low' }])
      expect((await create({ generateImage: { prompt: 'x', options } })).issues).toHaveLength(1);
  });
});

describe('speech', () => {
  it.each([
    ['mp3', 'audio/mpeg'],
    // OpenAI's WAV does not know its own length.
    ['wav', 'audio/wav'],
  ])('is stored as %s with its length', async (format, contentType) => {
    const text = 'Hello there. '.repeat(10);
    const done = await run({ generateCharacterVoice: { text, voice: 'coral', speed: 2, options: { format } } });
    expect(done).toMatchObject({ status: 'COMPLETED', cost: { charged: 3 }, assets: [{ kind: 'AUDIO', contentType }] });
    expect(done.voiceResult.durationSeconds).toBeCloseTo(130 / 30, 0);
    expect(done.assets[0].durationMs / 1000).toBeCloseTo(130 / 30, 0);
  });

  it('is refused where the text is too long', async () => {
    const { issues } = await create({ generateCharacterVoice: { text: 'x'.repeat(5_000) } });
    expect(issues[0].path).toEqual(['task', 'generateCharacterVoice', 'text']);
  });
});

it('lists nothing without a key and without a baseUrl', async () => {
  const config = openai.config!.parse({});
  const context = { config, secrets: {}, fetch: () => Promise.reject(new Error('not asked')) } as any;
  if (typeof openai.models !== 'function') throw new Error('models must be a function');
  expect(await openai.models(context)).toEqual([]);
  expect((await openai.models({ ...context, secrets: { OPENAI_API_KEY: 'x' } })).length).toBeGreaterThan(10);
});

const isStart = ({ method }: Seen) => method === 'POST';
describe('a text survives faults', () => {
  itSurvivesFaults({
    bed: () => bed,
    emulator: () => emulator,
    request: { provider: 'openai-quick', task: { generateText: { prompt: 'x' } } },
    isStart,
  });
});
