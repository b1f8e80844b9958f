import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type AdapterModel, HttpFailure, NetworkFailure, type z } from 'atelier/adapter';
import { checkAdapter, readFixtures, requirePassed } from 'atelier/adapter/testing';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { builtInTaskTypes } from '../../src/task-types/index.ts';
import adapter from './adapter.ts';
import { imageOptions } from './image.ts';
import { setTrueLengths } from './wav.ts';

const checks = await checkAdapter(adapter, {
  fixtures: readFixtures(new URL('./fixtures/', import.meta.url)),
  taskTypes: builtInTaskTypes,
});

describe('conformance', () => {
  it.each(checks)('$name', (check) => requirePassed(check));
});

const refused = (status: number, error: unknown, headers: Record<string, string> = {}) =>
  adapter.classify!(
    new HttpFailure('POST x', { status, headers: new Headers(headers), body: JSON.stringify({ error }) }),
    'start',
  );

describe('classify', () => {
  it.each([
    [503, { type: 'service_unavailable_error', code: 'server_is_overloaded' }, 'retryable'],
    [503, { type: 'server_error', code: null }, 'ambiguous'],
    [500, { type: 'server_error', code: 'server_is_overloaded' }, 'ambiguous'],
    [500, { type: 'server_error', code: 'rate_limit_exceeded' }, 'ambiguous'],
    [429, { type: 'insufficient_quota', code: 'project_spend_limit_exceeded' }, 'quota'],
    [429, { type: 'insufficient_quota', code: 'a_new_word' }, 'quota'],
    [429, { type: 'tokens', code: 'rate_limit_exceeded' }, 'rate_limited'],
    [400, { type: 'invalid_request_error', code: 'billing_hard_limit_reached' }, 'quota'],
    [400, { type: 'invalid_request_error', code: 'content_policy_violation' }, 'content_policy'],
    [400, { type: 'invalid_request_error', code: 'context_length_exceeded' }, 'invalid_input'],
    [404, { type: 'invalid_request_error', code: 'model_not_found' }, 'permanent'],
    [408, { type: 'invalid_request_error', code: 'rate_limit_exceeded' }, 'ambiguous'],
    [307, { type: 'invalid_request_error', code: 'model_not_found' }, 'ambiguous'],
    [400, 'a text, as some servers have it', 'invalid_input'],
  ])('takes %i %j for %s', (status, error, className) => {
    expect(refused(status, error)).toMatchObject({ class: className });
  });

  it('waits until the limit that is used up is full again', () => {
    const headers = {
      'x-ratelimit-remaining-requests': '0',
      'x-ratelimit-reset-requests': '1m30.5s',
      'x-ratelimit-remaining-tokens': '7',
      'x-ratelimit-reset-tokens': '6m0s',
    };
    const error = { code: 'rate_limit_exceeded' };
    expect(refused(429, error, headers)).toMatchObject({ retryAfterMs: 90_500 });
    expect(refused(429, error, { ...headers, 'retry-after': '2' })).toMatchObject({ retryAfterMs: 2_000 });
  });

  it('tells the client what is wrong with the input, and nobody about the key', () => {
    expect(refused(400, { message: 'Too long.', code: 'context_length_exceeded' })?.publicMessage).toBe('Too long.');
    expect(refused(401, { message: 'Incorrect: sk-ab***yz', code: 'invalid_api_key' })?.message).not.toContain('sk-');
  });
});

let directory: string;
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'atelier-openai-'));
});
afterAll(() => rm(directory, { recursive: true, force: true }));

it('sets a WAV right that does not know its own length, and leaves others alone', async () => {
  const file = join(directory, 'wav');
  const mended = async (bytes: Uint8Array) => {
    await writeFile(file, bytes);
    await setTrueLengths(file);
    return readFile(file);
  };
  const wav = Buffer.alloc(100_044);
  wav.write('RIFF\xff\xff\xff\xffWAVEfmt \x10\0\0\0', 'latin1');
  wav.write('data\xff\xff\xff\xff', 36, 'latin1');
  const right = await mended(wav);
  expect([right.length, right.readUInt32LE(4), right.readUInt32LE(40)]).toEqual([100_044, 100_036, 100_000]);
  expect(await mended(Buffer.from('ID3'))).toEqual(Buffer.from('ID3'));
});

type Fields = Record<string, unknown>;
const read = (config: Fields = {}): any => adapter.config!.parse(config);
const requestOf = (type: string, model: string, input: Fields, config: Fields = {}): any => {
  const whole = builtInTaskTypes.find(({ name }) => name === type)!.input.parse(input);
  return adapter.transformers[type]!.toProvider(whole, model, { config: read(config), attemptKey: 'key', files: {} })
    .request;
};
/** A vendor whose answer has so many bytes, cut where the adapter wants no more. */
const startWith = (request: unknown, head: string, sizeBytes: number, tail: string, contentType: string) => {
  const fetch = async (_: string, { maxBytes = 0 }) => {
    const body = (async function* () {
      if (sizeBytes > maxBytes) throw new NetworkFailure(`larger than ${maxBytes}`, { sent: 'maybe' });
      yield Buffer.from(head);
      const piece = Buffer.alloc(1024 * 1024, 'A');
      for (let size = 0; size < sizeBytes; size += piece.length) yield piece;
      yield Buffer.from(tail);
    })();
    const json = async () => {
      const pieces: Uint8Array[] = [];
      for await (const piece of body) pieces.push(piece);
      return JSON.parse(Buffer.concat(pieces).toString());
    };
    return { headers: new Headers({ 'content-type': contentType }), body, json };
  };
  const context = { config: read(), secrets: {}, fetch, directory } as any;
  return adapter.start(request, context) as Promise<any>;
};
const mebibytes = (count: number) => count * 1024 * 1024;

describe('a large answer that was paid for is taken', () => {
  it('as eight pictures', async () => {
    const input = { prompt: 'x', count: 8, width: 1920, height: 1088 };
    const request = requestOf('generate_image', 'gpt-image-2', input, { limits: { megapixels: 2.1 } });
    const found = await startWith(request, '{"data":[{"b64_json":"', mebibytes(80), '"}]}', 'application/json');
    expect(found.answer.data).toHaveLength(1);
  });
  it('as a recording, which goes to a file', async () => {
    const input = { text: 'x'.repeat(4096), speed: 0.25, options: { format: 'wav' } };
    const request = requestOf('generate_character_voice', 'tts-1', input);
    const { answer } = await startWith(request, '', mebibytes(70), '', 'audio/wav');
    expect((await stat(answer.file)).size).toBe(mebibytes(70));
  });
  it('or is refused before it is bought', () => {
    const input = { prompt: 'x', count: 8, width: 3840, height: 2160 };
    expect(() => requestOf('generate_image', 'gpt-image-2', input, { limits: { megapixels: 9 } })).toThrow(
      'count: at most 6',
    );
  });
});

describe('what is dearer at the same quote', () => {
  const options = (limits: Fields = {}): z.ZodType =>
    imageOptions({ id: 'gpt-image-1', makes: 'image', fidelity: true }, true, read({ limits }));
  it.each([
    [{ quality: 'high' }, { quality: 'high' }],
    [{ quality: 'auto' }, undefined],
    [{ previews: 1 }, { previews: 1 }],
    [{ inputFidelity: 'high' }, { inputFidelity: 'high' }],
    [{ moderation: 'low' }, undefined],
  ])('%j is refused unless the operator allows it', (asked, limits) => {
    expect(options().safeParse(asked).success).toBe(false);
    if (limits) expect(options(limits).safeParse(asked).success).toBe(true);
  });
  it('is not what the model would choose by itself', () =>
    expect(requestOf('generate_image', 'gpt-image-2', { prompt: 'x' }).body).toMatchObject({ quality: 'medium' }));
  it.each(['gpt-image-2', 'some-model'])('has too many pixels, with %s', (model) => {
    const input = { prompt: 'x', width: 1920, height: 1088 };
    expect(() => requestOf('generate_image', model, input)).toThrow('width: 1920×1088 is 2.09 megapixels');
    const config = { limits: { megapixels: 2.1 } };
    expect(requestOf('generate_image', model, input, config).body.size).toBe('1920x1088');
  });
  it('is a long answer to test_prompt', () => {
    const tokens = (config?: Fields) =>
      requestOf('test_prompt', 'gpt-4.1', { template: 'x' }, config).body.max_completion_tokens;
    expect([tokens(), tokens({ limits: { testPromptTokens: 7 } })]).toEqual([1024, 7]);
  });
  it("moderation is the operator's", () => {
    const moderation = (config?: Fields) => requestOf('generate_image', 'gpt-image-1', { prompt: 'x' }, config).body;
    expect([moderation().moderation, moderation({ moderation: 'low' }).moderation]).toEqual([undefined, 'low']);
  });
});

it('does not take 0 tokens beside a text for a gift', () => {
  const answer = { text: 'Hi', refusal: '', finishReason: 'stop', kept: { json: false } };
  const usage = (tokens: number) =>
    adapter.transformers.generate_text!.fromProvider({ ...answer, tokens }, {} as any).usage;
  expect([usage(0), usage(2)]).toEqual([undefined, [{ unit: 'token', quantity: 2 }]]);
});

it('asks a compatible server which models it has', async () => {
  const config = adapter.config!.parse({ baseUrl: 'http://localhost:11434/v1/' });
  const asked: string[] = [];
  const fetch = async (url: string) => {
    asked.push(url);
    return { json: async () => ({ data: [{ id: 'llama3.2' }, { id: 'llama3.2' }, {}] }) };
  };
  const models = await (adapter.models as (context: unknown) => Promise<AdapterModel[]>)({
    config,
    secrets: {},
    fetch,
  });
  expect(asked).toEqual(['http://localhost:11434/v1/models']);
  expect(models).toMatchObject([{ id: 'llama3.2', taskTypes: ['generate_text', 'test_prompt'] }]);
  expect([adapter.hosts!(config), adapter.privateHosts!(config)]).toEqual([['localhost:11434'], ['localhost:11434']]);
});
