import { createHmac } from 'node:crypto';
import { z } from 'atelier/adapter';
import { checkAdapter, readFixtures, requirePassed } from 'atelier/adapter/testing';
import { describe, expect, it } from 'vitest';
import { builtInTaskTypes } from '../../src/task-types/index.ts';
import adapter from './adapter.ts';
import { config } from './config.ts';
import { fill, modelsOf } from './models.ts';
import { newLines } from './prediction.ts';
import { transformers } from './transformers.ts';
import { verify } from './webhook.ts';

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

  it("puts the operator's own first, and lets him replace a known one", () => {
    const named = { taskTypes: ['generate_image'], fields: { text: 'prompt' } };
    const own = config.parse({
      models: [
        { id: 'acme/paint', ...named },
        { id: 'black-forest-labs/flux-dev', ...named },
      ],
    });
    const ids = modelsOf(own).map(({ id }) => id);
    expect(ids.slice(0, 2)).toEqual(['acme/paint', 'black-forest-labs/flux-dev']);
    expect(new Set(ids).size).toBe(ids.length);
  });

  it('lets no option take the place of what the input says', () => {
    const model = { id: 'acme/paint', taskTypes: ['generate_image'], fields: { n: 'count' }, options: ['n'] };
    expect(config.safeParse({ models: [model] }).success).toBe(false);
  });

  it('warns of files that a model does not look at', () => {
    const own = config.parse({
      models: [{ id: 'acme/paint', taskTypes: ['generate_image'], fields: { image: 'referenceImage' } }],
    });
    const input = { prompt: 'a boat', referenceImages: ['https://a.example', 'https://b.example'] };
    const files = { referenceImages: [0, 1].map((assetReference) => ({ assetReference, kind: 'IMAGE' as const })) };
    const { fields, warnings } = fill(modelsOf(own)[0]!, input, files, own);
    expect(fields).toEqual({ image: files.referenceImages[0] });
    expect(warnings).toEqual([
      'prompt is not supported by acme/paint and was left out',
      'acme/paint takes one of referenceImages; the first was used',
    ]);
  });
});

describe('limits', () => {
  const request = (type: 'generate_video' | 'generate_text' | 'generate_image', id: string, input: any, given = {}) => {
    const context = { config: config.parse(given), attemptKey: 'key', files: {} };
    return transformers[type].toProvider(input, id, context).request.input;
  };

  it('refuses 720p until the operator allows it', () => {
    const id = 'wan-video/wan-2.2-t2v-fast';
    const input = { sceneDescription: 'a harbour', durationSeconds: 5, options: { resolution: '720p' } };
    expect(() => request('generate_video', id, input)).toThrow('at most 480p');
    expect(request('generate_video', id, input, { maxResolution: '720p' })).toMatchObject({ resolution: '720p' });
  });

  it('refuses a prompt that is longer than the operator allows: only what is written is charged', () => {
    const id = 'meta/meta-llama-3-8b-instruct';
    const input = { prompt: 'x'.repeat(30_000), system: 'y'.repeat(3_000) };
    expect(() => request('generate_text', id, input)).toThrow('more than the 32000 characters');
    expect(request('generate_text', id, input, { maxInputCharacters: 33_000 })).toMatchObject({ prompt: input.prompt });
  });

  it("refuses a larger image from the operator's own model than he allows", () => {
    const models = [{ id: 'acme/paint', taskTypes: ['generate_image'], fields: { w: 'width', h: 'height' } }];
    const input = { prompt: 'a boat', width: 2048, height: 1024, count: 1 };
    expect(() => request('generate_image', 'acme/paint', input, { models })).toThrow('2048 × 1024 is more than');
    expect(request('generate_image', 'acme/paint', input, { models, maxMegapixels: 2 })).toEqual({ w: 2048, h: 1024 });
  });
});

it("prices the operator's own model by what it makes, whatever id it has", () => {
  const id = 'kwaivgi/kling-v2.5-turbo-pro';
  const fields = { prompt: 'sceneDescription', duration: 'durationSeconds' };
  const own = config.parse({ models: [{ id, taskTypes: ['generate_video'], fields }] });
  const input = { sceneDescription: 'a harbour', durationSeconds: 30 } as any;
  const { estimate } = transformers.generate_video;
  expect(estimate!(input, id, config.parse({}))).toEqual([{ unit: 'second', quantity: 10 }]);
  expect(estimate!(input, id, own)).toEqual([{ unit: 'second', quantity: 30 }]);
});

describe('a webhook', () => {
  const now = new Date('2026-01-01T00:00:00Z');
  const timestamp = String(now.getTime() / 1000);
  const body = Buffer.from('{"id":"p","status":"succeeded"}');
  const signedWith = (key: Buffer) => {
    const signature = createHmac('sha256', key).update(`m.${timestamp}.`).update(body).digest('base64');
    const headers = { 'webhook-id': 'm', 'webhook-timestamp': timestamp, 'webhook-signature': `v1,${signature}` };
    return { headers, query: {}, body };
  };
  const contextOf = (secrets: object, answer: unknown, kept: unknown[] = []): any => ({
    config: config.parse({}),
    secrets: { REPLICATE_API_TOKEN: 'x', ...secrets },
    now: () => now,
    fetch: async () => ({ json: async () => answer }),
    async cached(_key: string, _ttlMs: number, make: () => Promise<unknown>) {
      const made = await make();
      kept.push(made);
      return made;
    },
  });

  it.each([
    ['has no key', {}, Buffer.from('undefined', 'base64')],
    ['is null', null, Buffer.from('undefined', 'base64')],
    ['has an empty key', { key: 'whsec_' }, Buffer.alloc(0)],
  ])('is not taken, and no secret is kept, when the answer about the secret %s', async (_, answer, key) => {
    const kept: unknown[] = [];
    await expect(verify(signedWith(key), contextOf({}, answer, kept))).rejects.toThrow('no callback can be verified');
    expect(kept).toEqual([]);
  });

  it('is not taken with an empty secret of the operator’s own', async () => {
    const context = contextOf({ REPLICATE_WEBHOOK_SECRET: 'whsec_' }, {});
    await expect(verify(signedWith(Buffer.alloc(0)), context)).rejects.toThrow('no callback can be verified');
  });

  it('is taken with the right secret', async () => {
    const key = Buffer.from('a secret of some length');
    await verify(signedWith(key), contextOf({}, { key: `whsec_${key.toString('base64')}` }));
  });
});

describe('the log of a prediction', () => {
  it('is told once, in whole lines, without bars', () => {
    const processing = (logs: string) => ({ status: 'processing', logs });
    const first = newLines(processing('Using seed: 7\n 10%|█  | 1/10\r 20%|██ '), 0);
    expect(first.lines).toEqual(['Using seed: 7']);
    const second = newLines(processing('Using seed: 7\n 10%|█  | 1/10\r 20%|██ | 2/10\nDone\n'), first.told);
    expect(second.lines).toEqual(['Done']);
    expect(newLines({ status: 'succeeded', logs: 'Using seed: 7\nBye' }, 14).lines).toEqual(['Bye']);
    expect(newLines(processing(''), 14)).toEqual({ lines: [], told: 14 });
  });
});
