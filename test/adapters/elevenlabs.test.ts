import { ElevenLabsClient, ElevenLabsError } from '@elevenlabs/elevenlabs-js';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import elevenlabs from '../../adapters/elevenlabs/adapter.ts';
import { startElevenLabs } from '../emulators/elevenlabs.ts';
import type { Emulator } from '../emulators/emulator.ts';
import { itSurvivesFaults, quick } from '../emulators/faults.ts';
import { createTestBed, type TestBed } from '../kit.ts';
import { tasksOf } from './tasks.ts';

let emulator: Emulator;
let bed: TestBed;
beforeAll(async () => {
  emulator = await startElevenLabs();
  const config = JSON.stringify({
    baseUrl: emulator.url,
    voices: { narrator: '21m00Tcm4TlvDq8ikWAM', ghost: 'AAAAAAAAAAAAAAAAAAAA' },
  });
  bed = await createTestBed({
    adapters: [
      { ...elevenlabs, name: 'elevenlabs-patient' },
      { ...quick(elevenlabs), name: 'elevenlabs-quick' },
    ],
    environment: {
      ELEVENLABS_API_KEY: 'xi-emulator',
      ATELIER_ADAPTER_ELEVENLABS_PATIENT: config,
      ATELIER_ADAPTER_ELEVENLABS_QUICK: config,
      ATELIER_LEASE_SECONDS: '3',
    },
    storage: 'directory',
  });
});
afterAll(async () => {
  await bed?.close();
  await emulator?.close();
});

const tasks = tasksOf(() => bed, { provider: 'elevenlabs-patient' });
const speech = (generateCharacterVoice: object) => ({ generateCharacterVoice });
const run = (input: object, model?: string) => tasks.run(speech(input), model);

describe("ElevenLabs' own client finds what it expects of the emulator", () => {
  const client = (apiKey = 'xi-emulator') => new ElevenLabsClient({ apiKey, baseUrl: emulator.url, maxRetries: 0 });

  it('speaks', async () => {
    const { data, rawResponse } = await client()
      .textToSpeech.convert('JBFqnCBsd6RMkjVDRZzb', {
        outputFormat: 'mp3_44100_128',
        text: 'The first move is what sets everything in motion.',
        modelId: 'eleven_flash_v2_5',
        voiceSettings: { stability: 0.5, speed: 1.1 },
      })
      .withRawResponse();
    expect((await new Response(data).arrayBuffer()).byteLength).toBeGreaterThan(400);
    expect(rawResponse.headers.get('character-cost')).toBe('25');
    expect(rawResponse.headers.get('request-id')).toBe('emulator-1');
  });

  it('learns why it is refused', async () => {
    const refused = await client('wrong')
      .textToSpeech.convert('JBFqnCBsd6RMkjVDRZzb', { text: 'x' })
      .catch((error) => error);
    expect(refused).toBeInstanceOf(ElevenLabsError);
    expect(refused).toMatchObject({ statusCode: 401, body: { detail: { status: 'invalid_api_key' } } });
  });
});

it.each([
  ['mp3_44100_128', 'audio/mpeg'],
  ['wav_24000', 'audio/wav'],
])('stores a recording as %s and charges its characters', async (format, contentType) => {
  const text = 'Hello there. '.repeat(10);
  const done = await run({ text, voice: 'narrator', speed: 0.8, language: 'en', options: { format, stability: 0 } });
  expect(done).toMatchObject({
    status: 'COMPLETED',
    cost: { charged: 3, basis: 'USAGE' },
    assets: [{ kind: 'AUDIO', contentType }],
    warnings: [expect.stringContaining('language')],
  });
  expect(done.voiceResult.durationSeconds).toBeCloseTo(130 / 15 / 0.8, 0);
  const { path, query, json } = emulator.seen.at(-1)!;
  expect(path).toBe('/v1/text-to-speech/21m00Tcm4TlvDq8ikWAM');
  expect(query.get('output_format')).toBe(format);
  expect(json).toEqual({
    text,
    model_id: 'eleven_multilingual_v2',
    voice_settings: { stability: 0, speed: 0.8 },
  });
  expect((await fetch(done.assets[0].url)).status).toBe(200);
});

it('keeps what the vendor charged the operator', async () => {
  expect(await run({ text: 'x'.repeat(100) }, 'eleven_flash_v2_5')).toMatchObject({ status: 'COMPLETED' });
  const rows = await bed.sql("select cost from attempt where model = 'eleven_flash_v2_5'");
  expect(rows).toEqual([{ cost: { amount: '50', currency: 'credits' } }]);
});

it.each([
  [{ text: 'x', voice: 'nobody' }, 'voice', undefined],
  [{ text: 'x', speed: 2 }, 'speed', undefined],
  [{ text: 'x'.repeat(6_000) }, 'text', 'eleven_v3'],
  [{ text: 'x', options: { style: 1 } }, 'options', 'eleven_v3'],
])('refuses %j before it is paid for', async (input, field, model) => {
  const { issues } = await tasks.create(speech(input), model);
  expect(issues[0].path.slice(0, 3)).toEqual(['task', 'generateCharacterVoice', field]);
});

it('says which field the vendor refuses', async () => {
  const done = await run({ text: 'x', voice: 'ghost' });
  expect(done).toMatchObject({
    status: 'FAILED',
    error: { code: 'VOICE_NOT_FOUND', message: expect.stringContaining('AAAA'), providerRequestId: expect.any(String) },
    cost: { charged: 0 },
  });
});

it('ends the call at the vendor when it is cancelled', async () => {
  emulator.seen.length = 0;
  emulator.break(() => true, 'slow');
  const id = await tasks.submit(speech({ text: 'x' }));
  await emulator.next(({ method }) => method === 'POST');
  await tasks.cancel(id);
  expect(await tasks.ended(id)).toMatchObject({ status: 'CANCELLED', cost: { charged: 0 } });
  expect(emulator.seen).toHaveLength(1);
});

describe('a recording survives faults', () => {
  itSurvivesFaults({
    bed: () => bed,
    emulator: () => emulator,
    request: { provider: 'elevenlabs-quick', task: { generateCharacterVoice: { text: 'Hello' } } },
    isStart: ({ method }) => method === 'POST',
  });
});
