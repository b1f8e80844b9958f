import { HttpFailure, z } from 'atelier/adapter';
import { checkAdapter, readFixtures, requirePassed } from 'atelier/adapter/testing';
import { describe, expect, it } from 'vitest';
import { builtInTaskTypes } from '../../src/task-types/index.ts';
import adapter from './adapter.ts';
import { config } from './config.ts';
import { fill, modelsOf } from './models.ts';
import { failureOf, filesIn, succeeded } from './result.ts';
import { transformers } from './transformers.ts';

const checks = await checkAdapter(adapter, {
  fixtures: readFixtures(new URL('./fixtures/', import.meta.url)),
  taskTypes: builtInTaskTypes,
});

describe('conformance', () => {
  it.each(checks)('$name', (check) => requirePassed(check));
});

describe('models', () => {
  const fresh = config.parse({});
  it.each(modelsOf(fresh).map((model) => [model.id, model] as const))(
    '%s has strict, described options',
    (_, model) => {
      const { additionalProperties, properties = {} } = z.toJSONSchema(model.options!, { io: 'input' });
      expect(additionalProperties).toBe(false);
      for (const property of Object.values(properties))
        expect(property).toMatchObject({ description: expect.any(String) });
    },
  );

  it('asks for an image where a model needs one', () => {
    const model = modelsOf(fresh).find(({ id }) => id === 'fal-ai/flux/dev/image-to-image')!;
    expect(() => fill(model, { prompt: 'a boat', count: 1 }, {}, fresh)).toThrow('this model needs an image');
  });

  it('takes no larger image than the operator allows', () => {
    const input = { prompt: 'a boat', width: 2048, height: 1024, count: 1 };
    const request = (settings: object) =>
      transformers.generate_image.toProvider(input as any, 'fal-ai/flux/dev', {
        config: config.parse(settings),
        attemptKey: 'key',
        files: {},
      }).request;
    expect(() => request({})).toThrow('2048 × 1024 is more than the 1 × 1024 × 1024 pixels');
    expect(request({ maxMegapixels: 2 }).body.image_size).toEqual({ width: 2048, height: 1024 });
  });

  it("prices the operator's own model by what it makes, whatever id it has", () => {
    const id = 'fal-ai/kling-video/v2.5-turbo/pro/text-to-video';
    const fields = { prompt: 'sceneDescription', duration: 'durationSeconds' };
    const own = config.parse({ models: [{ id, taskTypes: ['generate_video'], fields }] });
    const input = { sceneDescription: 'a harbour', durationSeconds: 30 } as any;
    const { estimate } = transformers.generate_video;
    expect(estimate!(input, id, fresh)).toEqual([{ unit: 'second', quantity: 10 }]);
    expect(estimate!(input, id, own)).toEqual([{ unit: 'second', quantity: 30 }]);
  });
});

describe('the key', () => {
  const handle = {
    v: 1,
    requestId: 'r',
    asked: {},
    statusUrl: 'https://elsewhere.example/fal-ai/flux/requests/r/status',
    responseUrl: 'https://elsewhere.example/fal-ai/flux/requests/r',
    cancelUrl: 'https://elsewhere.example/fal-ai/flux/requests/r/cancel',
  };
  it.each([
    ['https://queue.fal.run', handle],
    ['https://proxy.example/fal', handle],
    ['https://proxy.example/fal', { ...handle, statusUrl: 'https://proxy.example/fal/fal-ai/flux/requests/r/status' }],
  ])('goes to %s alone, whatever host fal names', async (baseUrl, known) => {
    const asked: string[] = [];
    const context: any = {
      config: config.parse({ baseUrl }),
      secrets: { FAL_KEY: 'x' },
      log: () => {},
      fetch: async (url: string) => {
        asked.push(url);
        return { headers: new Headers(), json: async () => ({ status: 'COMPLETED' }) };
      },
    };
    await adapter.poll!(known, context);
    await adapter.cancel!(known, context);
    const at = `${baseUrl}/fal-ai/flux/requests/r`;
    expect(asked).toEqual([`${at}/status?logs=1`, at, `${at}/cancel`]);
  });
});

describe('an error in place of a result', () => {
  const failed = (status: number, json: object, headers = {}) =>
    new HttpFailure('fetching', { status, headers: new Headers(headers), body: JSON.stringify(json) });

  it.each([
    ['without a type', failed(500, { detail: 'Internal Server Error' })],
    ['while the job goes on', failed(400, { detail: 'Request is still in progress' })],
    ['of another make', failed(422, { message: 'no' })],
  ])('says nothing about the job %s', (_, error) => {
    expect(failureOf(error, undefined)).toBeUndefined();
  });

  it('is the job’s own with a type in its body or headers, a list of details, or a queue that calls it failed', () => {
    const text = { detail: 'it broke' };
    const own = [
      failureOf(failed(503, { ...text, error_type: 'runner_disconnected' }), undefined),
      failureOf(failed(503, text, { 'x-fal-error-type': 'runner_disconnected' }), undefined),
      failureOf(failed(503, text), undefined, { error: 'it broke', error_type: 'runner_disconnected' }),
    ];
    for (const failure of own) expect(failure).toMatchObject({ class: 'retryable', billed: 'nothing' });
    expect(failureOf(failed(422, { detail: [{ type: 'value_error' }] }), undefined)?.class).toBe('invalid_input');
    // Nothing says what it cost: it is not bought again.
    expect(failureOf(failed(500, text), undefined, { error: 'it broke' })).toMatchObject({ class: 'permanent' });
  });
});

describe('a result', () => {
  const flagged = { images: [{ url: 'https://v3.fal.media/0.png' }, { url: 'https://v3.fal.media/1.png' }] };

  it('leaves out the images that the safety checker blackened, which are charged all the same', () => {
    const answer = { result: { ...flagged, has_nsfw_concepts: [true, false] }, asked: {} };
    expect(succeeded(answer).state).toBe('succeeded');
    const produced = transformers.generate_image.fromProvider(answer, { config: config.parse({}), attemptKey: 'key' });
    expect(produced).toMatchObject({
      outputs: [{ from: { url: 'https://v3.fal.media/1.png' } }],
      usage: [{ unit: 'image', quantity: 2 }],
    });
  });

  it('is found under whatever name a model gives it', () => {
    expect(filesIn({ mask: { url: 'https://v3.fal.media/mask.png' } }, 'images', 'image')).toHaveLength(1);
    expect(filesIn({ images: null, seed: 7 }, 'images')).toEqual([]);
  });
});
