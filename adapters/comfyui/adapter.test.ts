import { type AdapterModel, z } from 'atelier/adapter';
import { checkAdapter, readFixtures, requirePassed } from 'atelier/adapter/testing';
import { describe, expect, it } from 'vitest';
import { builtInTaskTypes } from '../../src/task-types/index.ts';
import adapter from './adapter.ts';
import { config } from './config.ts';
import { modelsOf } from './models.ts';
import { jobIdOf } from './server.ts';
import { image, video } from './transform.ts';

const checks = await checkAdapter(adapter, {
  fixtures: readFixtures(new URL('./fixtures/', import.meta.url)),
  taskTypes: builtInTaskTypes,
});

describe('the contract', () => {
  it.each(checks)('$name', (check) => requirePassed(check));
});

const workflow = {
  '3': { class_type: 'KSampler', inputs: { seed: 1, steps: 20, sampler_name: 'euler', latent_image: ['5', 0] } },
  '5': { class_type: 'EmptyLatentVideo', inputs: { width: 512, height: 512, length: 81 } },
  '6': { class_type: 'CLIPTextEncode', inputs: { text: 'a cat' } },
  '9': { class_type: 'SaveVideo', inputs: { filename_prefix: 'film' } },
};
const given = (fields: object = {}, server: object = {}) => ({
  baseUrl: 'http://gpu-1:8188/',
  workflows: [
    { id: 'one', taskTypes: ['generate_video'], workflow, inputs: { prompt: '6.text' }, durationSeconds: 5, ...fields },
  ],
  ...server,
});
const read = (fields: object = {}) => config.parse(given(fields));
const issues = (fields: object) =>
  config
    .safeParse(given(fields))
    .error?.issues.map(({ message }) => message)
    .join('; ');

describe('the configuration', () => {
  it('is missing as a whole: the adapter is switched off', () => expect(config.safeParse({}).success).toBe(false));
  it('names a place that the graph lacks', () =>
    expect(issues({ inputs: { prompt: '66.text' } })).toContain('the workflow has no input 66.text'));
  it('names a node that the graph lacks', () => expect(issues({ outputs: ['77'] })).toContain('no node 77'));
  it('tells the format of the editor from that of the API', () =>
    expect(issues({ workflow: { nodes: [], links: [] } })).toContain('Export (API)'));
  it('names a file that cannot be read', () =>
    expect(issues({ workflow: '/nowhere/graph.json' })).toContain('/nowhere'));
  it('wants to know how long a film is', () => expect(issues({ durationSeconds: undefined })).toContain('how long'));
  it('has no slash at the end of its URL', () => expect(read().baseUrl).toBe('http://gpu-1:8188'));
});

describe('options', () => {
  const options = (named: object): z.ZodType => (modelsOf(read({ options: named }))[0] as AdapterModel).options!;
  it("default to the graph's own values and are strict", () => {
    const schema = options({
      steps: { input: '3.steps', type: 'integer', min: 1, max: 60 },
      sampler: { input: '3.sampler_name', values: ['euler', 'ddim'] },
    });
    expect(schema.parse({})).toEqual({ steps: 20, sampler: 'euler' });
    for (const wrong of [{ steps: 61 }, { steps: 1.5 }, { sampler: 'other' }, { cfg: 1 }])
      expect(schema.safeParse(wrong).success).toBe(false);
    expect(z.toJSONSchema(schema)).toMatchObject({
      properties: { steps: { description: 'steps of KSampler. 1 to 60. Default: 20.' } },
    });
  });
});

describe('frames', () => {
  it.each([
    [5, 81],
    [1, 17],
    [2.1, 33],
  ])('%d seconds are %i frames of 16 a second in steps of 4 and 1', (durationSeconds, length) => {
    const frames = { input: '5.length', perSecond: 16, step: 4, plus: 1 };
    const { request } = video.toProvider({ sceneDescription: 'waves', durationSeconds }, 'one', {
      config: read({ inputs: { prompt: '6.text', frames } }),
      attemptKey: 'key',
      files: {},
    });
    expect(request.graph['5']!.inputs.length).toBe(length);
  });
});

describe('warnings', () => {
  it('name what the workflow has no place for', () => {
    const { warnings } = image.toProvider(
      { prompt: 'a', negativePrompt: 'b', width: 64, height: 64, count: 2, seed: 0 },
      'one',
      { config: read(), attemptKey: 'key', files: { referenceImages: [{ assetReference: 0, kind: 'IMAGE' }] } },
    );
    expect(warnings.map((warning) => warning.split(/[ :]/)[0])).toEqual([
      'negativePrompt',
      'width',
      'height',
      'count',
      'referenceImages',
    ]);
  });
});

describe('a film of which nobody told the length', () => {
  it('is measured and charged by the quote', () => {
    const answer = { files: [{ filename: 'a.mp4' }], authorized: false };
    const { result, usage } = video.fromProvider(answer, { config: read(), attemptKey: 'key' });
    expect([result.durationSeconds, usage]).toEqual([undefined, undefined]);
    const told = video.fromProvider({ ...answer, durationSeconds: 2 }, { config: read(), attemptKey: 'key' });
    expect(told.usage).toEqual([{ unit: 'second', quantity: 2 }]);
  });
});

describe('a handle of another version', () => {
  const handle = { v: 2, promptId: 'p', clientId: 'p', told: {} };
  const unknown = expect.objectContaining({ code: 'UNKNOWN_HANDLE' });
  it.each(['poll', 'follow', 'cancel'] as const)('is not read by %s', async (method) => {
    const call = async () => adapter[method]!(handle, {} as never);
    await expect(call()).rejects.toMatchObject({ facts: unknown });
  });
});

describe('the id of a job', () => {
  it('is the UUID that ComfyUI asks for, the same for the same attempt', () => {
    expect(jobIdOf('a')).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-8[0-9a-f]{3}-[0-9a-f]{12}$/);
    expect(jobIdOf('a')).toBe(jobIdOf('a'));
    expect(jobIdOf('a')).not.toBe(jobIdOf('b'));
  });
});
