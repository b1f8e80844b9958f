import { describe, expect, it } from 'vitest';
import {
  type AdapterFailure,
  askedOf,
  checkMegapixels,
  type FailureFacts,
  fillModel,
  findMappedModel,
  type InputSource,
  inputPathOf,
  type MappedModel,
  mappedModels,
  namedModel,
  refuseInput,
  z,
} from '../src/sdk/index.ts';

const modelWith = (fields: Record<string, InputSource>, more: Partial<MappedModel> = {}): MappedModel => ({
  id: 'acme/one',
  taskTypes: ['generate_image'],
  fields,
  ...more,
});
const fill = (model: MappedModel, input: object, files: Record<string, any[]> = {}) =>
  fillModel(model, input, files, undefined);
const fieldsOf = (fields: Record<string, InputSource>, input: object, files?: Record<string, any[]>) =>
  fill(modelWith(fields), input, files).fields;

/** Of the failure that a function throws. */
function thrownBy(act: () => unknown): FailureFacts {
  try {
    act();
  } catch (error) {
    return (error as AdapterFailure).facts;
  }
  throw new Error('it throws nothing');
}

describe('fillModel', () => {
  const two = ['file:a', 'file:b'];
  it.each<[string, Record<string, InputSource>, object, Record<string, string[]>, object]>([
    ['a field under another name', { p: 'prompt' }, { prompt: 'a boat' }, {}, { p: 'a boat' }],
    [
      'what is falsy',
      { s: 'seed', t: 'temperature', p: 'system' },
      { seed: 0, temperature: 0, system: '' },
      {},
      { s: 0, t: 0, p: '' },
    ],
    ['nothing of what is not given', { p: 'prompt', n: 'negativePrompt' }, { prompt: 'a boat' }, {}, { p: 'a boat' }],
    ['a size', { s: 'size' }, { width: 640, height: 480 }, {}, { s: { width: 640, height: 480 } }],
    ['no size of an input without one', { s: 'size' }, { durationSeconds: 5 }, {}, {}],
    ['a ratio in lowest terms', { r: 'aspectRatio' }, { width: 1280, height: 720 }, {}, { r: '16:9' }],
    ['the given ratio', { r: 'aspectRatio' }, { aspectRatio: '2:1', width: 9, height: 9 }, {}, { r: '2:1' }],
    ['no ratio of an input without one', { r: 'aspectRatio' }, { prompt: 'a boat' }, {}, {}],
    [
      'a scene with its camera and light',
      { p: 'sceneDescription' },
      { sceneDescription: 'A lamp.', cameraAngle: 'low', lighting: 'dusk' },
      {},
      { p: 'A lamp. Camera: low. Lighting: dusk.' },
    ],
    ['no scene of an input without one', { p: 'sceneDescription' }, { prompt: 'a boat' }, {}, {}],
    ['the first file', { i: 'referenceImage' }, {}, { referenceImages: two }, { i: 'file:a' }],
    ['all files', { i: 'storyboardImages' }, {}, { storyboardImages: two }, { i: two }],
    ['no list where there is no file', { i: 'sources' }, {}, { sources: [] }, {}],
  ])('sends %s', (_, fields, input, files, expected) => {
    expect(fieldsOf(fields, input, files)).toEqual(expected);
  });

  it('lets a mapped field win over the shape, the shape over options, options over what is set', () => {
    const model = modelWith(
      { d: 'prompt' },
      {
        set: { a: 'set', b: 'set', c: 'set', d: 'set' },
        options: z.strictObject({ b: z.string(), c: z.string(), d: z.string() }),
        shape: () => ({ fields: { c: 'shape', d: 'shape' }, covers: [] }),
      },
    );
    const options = { b: 'option', c: 'option', d: 'option' };
    expect(fill(model, { prompt: 'input', options }).fields).toEqual({ a: 'set', b: 'option', c: 'shape', d: 'input' });
  });

  it('keeps what is set where the input says nothing', () => {
    expect(fill(modelWith({ n: 'negativePrompt' }, { set: { n: 'blur' } }), {}).fields).toEqual({ n: 'blur' });
  });

  it('gives options their defaults, before the shape sees them', () => {
    const model = modelWith(
      {},
      {
        options: z.strictObject({ steps: z.int().default(20) }),
        shape: ({ options }) => ({ fields: { doubled: options.steps * 2 }, covers: [] }),
      },
    );
    expect(fill(model, {}).fields).toEqual({ steps: 20, doubled: 40 });
    expect(fill(model, { options: { steps: 0 } }).fields).toEqual({ steps: 0, doubled: 0 });
    expect(() => fill(model, { options: { stepz: 1 } })).toThrow(z.ZodError);
  });

  it('hands the config to the shape, and changes neither input nor model', () => {
    const model = modelWith(
      { p: 'prompt' },
      {
        set: { a: 1 },
        shape: (_, config) => ({ fields: { quality: config.quality }, covers: [] }),
      },
    );
    const input = Object.freeze({ prompt: 'a boat' });
    Object.freeze(model.set);
    expect(fillModel(model, input, {}, { quality: 3 }).fields).toEqual({ a: 1, quality: 3, p: 'a boat' });
  });
});

describe('what was left out', () => {
  const warningsOf = (model: MappedModel, input: object, files?: Record<string, any[]>) =>
    fill(model, input, files).warnings;
  const leftOut = (...names: string[]) => names.map((name) => `${name} is not supported by acme/one and was left out`);

  it('is warned of, each field that was asked for, also when it is falsy', () => {
    const input = { prompt: 'a boat', negativePrompt: 'people', temperature: 0, lighting: 'dusk' };
    expect(warningsOf(modelWith({ p: 'prompt' }), input)).toEqual(leftOut('negativePrompt', 'temperature', 'lighting'));
  });

  it.each([
    ['has the default of its task type', { width: 1024, height: 1024, count: 1, durationSeconds: 7, speed: 1 }],
    ['was not given', { negativePrompt: undefined, referenceImages: [] }],
    ['is chosen by Atelier or checked apart', { seed: 5, operation: 'NORMALIZE', options: {} }],
  ])('is not warned of when it %s', (_, input) => {
    expect(warningsOf(modelWith({}), input)).toEqual([]);
  });

  it('leaves out nothing that a source is made of, or that the shape covers', () => {
    const model = modelWith(
      { r: 'aspectRatio', p: 'sceneDescription', i: 'referenceImages' },
      { shape: () => ({ fields: {}, covers: ['durationSeconds'] }) },
    );
    const given = { width: 640, height: 480, sceneDescription: 'A lamp.', cameraAngle: 'low', lighting: 'dusk' };
    const files = { referenceImages: ['https://x.example/a.png'], referenceAssetIds: ['a'] };
    expect(warningsOf(model, { ...given, ...files, durationSeconds: 3 }, { referenceImages: ['a', 'b'] })).toEqual([]);
  });

  it('is every file but the first where a model takes one', () => {
    const model = modelWith({ i: 'referenceImage' });
    const input = { referenceImages: ['a', 'b'] };
    expect(warningsOf(model, input, { referenceImages: ['a', 'b'] })).toEqual([
      'acme/one takes one of referenceImages; the first was used',
    ]);
    expect(warningsOf(model, input, { referenceImages: ['a'] })).toEqual([]);
    // All of it: once.
    expect(warningsOf(modelWith({}), input, { referenceImages: ['a', 'b'] })).toEqual(leftOut('referenceImages'));
  });

  it('comes after what the shape warns of', () => {
    const shape = () => ({ fields: {}, covers: [], warnings: ['10 seconds rather than 7'] });
    expect(warningsOf(modelWith({}, { shape }), { system: 'x' })).toEqual([
      '10 seconds rather than 7',
      ...leftOut('system'),
    ]);
  });
});

describe('askedOf', () => {
  const seconds = modelWith({}, { shape: () => ({ fields: {}, covers: [], asked: { seconds: 10 } }) });
  const twice = modelWith(
    {},
    {
      options: z.strictObject({ times: z.int().default(2) }),
      shape: ({ text, options }) => ({ fields: {}, covers: [], asked: { characters: text.length * options.times } }),
    },
  );
  it.each<[string, MappedModel, object, object]>([
    ['the seconds of the shape', seconds, { durationSeconds: 7 }, { seconds: 10 }],
    ['the characters of the text, as people count', modelWith({ t: 'text' }), { text: 'añ🙂' }, { characters: 3 }],
    ['no characters of an empty text', modelWith({ t: 'text' }), { text: '' }, { characters: 0 }],
    ['both', seconds, { text: 'ab' }, { characters: 2, seconds: 10 }],
    ['the characters of the shape in place of those', twice, { text: 'ab' }, { characters: 4 }],
    ['nothing', modelWith({ p: 'prompt' }), { prompt: 'a boat' }, {}],
  ])('gives %s, as fillModel does', (_, model, input, expected) => {
    expect(askedOf(model, input, undefined)).toEqual(expected);
    expect(fill(model, input).asked).toEqual(expected);
  });

  it('refuses what the shape refuses', () => {
    const model = modelWith({}, { shape: () => refuseInput('durationSeconds', 'at most 8') });
    expect(thrownBy(() => askedOf(model, {}, undefined))).toMatchObject({ class: 'invalid_input' });
  });
});

describe('inputPathOf', () => {
  const model = modelWith({ num_images: 'count', first: 'storyboardImage', size: 'size', scene: 'sceneDescription' });
  it.each([
    [['num_images'], ['count']],
    [['first', '0'], ['storyboardImages']],
    [['size', 'height'], ['width']],
    [['scene'], ['sceneDescription']],
    [
      ['steps', 'max'],
      ['options', 'steps', 'max'],
    ],
    [[], []],
    [['constructor'], ['options', 'constructor']],
    [['__proto__'], ['options', '__proto__']],
  ])('%j is %j', (place, path) => {
    expect(inputPathOf(model, place)).toEqual(path);
  });

  it('takes every field for an option of a model that is gone', () => {
    expect(inputPathOf(undefined, ['num_images'])).toEqual(['options', 'num_images']);
  });
});

describe('checkMegapixels', () => {
  const sized = modelWith({ w: 'width', h: 'height' });
  it.each<[string, MappedModel, object]>([
    ['of just the allowed size', sized, { width: 2048, height: 512 }],
    ['without a size', sized, {}],
    ['of any size where the model takes none', modelWith({ r: 'aspectRatio' }), { width: 4096, height: 4096 }],
  ])('lets an image %s through', (_, model, input) => {
    expect(() => checkMegapixels(model, input, 1)).not.toThrow();
  });

  it.each<[string, Record<string, InputSource>]>([
    ['width', { w: 'width' }],
    ['size', { s: 'size' }],
  ])('refuses one pixel more where the model takes a %s', (_, fields) => {
    const refused = thrownBy(() => checkMegapixels(modelWith(fields), { width: 1_048_577, height: 1 }, 1));
    expect(refused).toMatchObject({ class: 'invalid_input', issues: [{ path: ['width'] }] });
  });
});

describe('namedModel', () => {
  const schema = namedModel({ id: z.string(), taskTypes: ['generate_image', 'generate_video'] });
  const given = { id: 'acme/two', taskTypes: ['generate_video'], fields: { p: 'sceneDescription' } };
  const issueOf = (more: object) => schema.safeParse({ ...given, ...more }).error?.issues[0];

  it.each([
    ['a source that there is not', { fields: { p: 'promt' } }, ['fields', 'p']],
    ['a task type without a transformer', { taskTypes: ['generate_text'] }, ['taskTypes', 0]],
    ['no task type', { taskTypes: [] }, ['taskTypes']],
    ['an option that is mapped', { options: ['p'] }, ['options']],
    ['an option that is set', { set: { q: 1 }, options: ['q'] }, ['options']],
    ['an option that every object has', { options: ['constructor'] }, ['options']],
    ['an option that is the prototype', { options: ['__proto__'] }, ['options']],
    ['no time', { typicalMs: 0 }, ['typicalMs']],
  ])('refuses %s', (_, more, path) => {
    expect(issueOf(more)).toMatchObject({ path });
  });

  it('refuses what is misspelt', () => {
    expect(issueOf({ optoins: [] })).toMatchObject({ code: 'unrecognized_keys', keys: ['optoins'] });
  });

  it('is a model that takes its options as they are, and no others', () => {
    const named = schema.parse({ ...given, options: ['steps'], set: { format: 'mp4' }, concurrency: 2 });
    const [model] = mappedModels([named], []);
    expect(model).toMatchObject({ id: 'acme/two', taskTypes: ['generate_video'], concurrency: 2 });
    const filled = fill(model!, { sceneDescription: 'A lamp.', options: { steps: 0 } });
    expect(filled).toEqual({ fields: { format: 'mp4', steps: 0, p: 'A lamp.' }, warnings: [], asked: {} });
    expect(model!.options!.safeParse({ size: 1 }).success).toBe(false);
  });

  it('asks for the seconds where it maps them', () => {
    const [model] = mappedModels([schema.parse({ ...given, fields: { length: 'durationSeconds' } })], []);
    expect(askedOf(model!, { durationSeconds: 4 }, undefined)).toEqual({ seconds: 4 });
    const [other] = mappedModels([schema.parse(given)], []);
    expect(askedOf(other!, { durationSeconds: 4 }, undefined)).toEqual({});
  });

  it('comes before the known models, and in place of the one of its id', () => {
    const known = [modelWith({}), modelWith({ known: 'prompt' }, { id: 'acme/two' })];
    const named = [schema.parse(given)];
    expect(mappedModels(named, known).map(({ id, fields }) => [id, fields])).toEqual([
      ['acme/two', given.fields],
      ['acme/one', {}],
    ]);
    expect(findMappedModel(named, known, 'acme/two').fields).toEqual(given.fields);
    expect(findMappedModel(named, known, 'acme/one')).toBe(known[0]);
    expect(thrownBy(() => findMappedModel(named, known, 'constructor'))).toMatchObject({
      class: 'permanent',
      code: 'MODEL_NOT_FOUND',
    });
  });
});

describe('names that every object has', () => {
  it('are fields like others in a mapping', () => {
    const fields = { constructor: 'prompt', toString: 'seed' } as Record<string, InputSource>;
    expect(Object.entries(fieldsOf(fields, { prompt: 'a boat', seed: 0 }))).toEqual([
      ['constructor', 'a boat'],
      ['toString', 0],
    ]);
  });

  it('are left out like others in an input', () => {
    expect(fill(modelWith({}), JSON.parse('{"valueOf": 1}')).warnings).toHaveLength(1);
  });

  it('make no prototype of what an operator sets', () => {
    const { fields } = namedModel({ id: z.string(), taskTypes: ['generate_image'] }).parse({
      id: 'acme/two',
      taskTypes: ['generate_image'],
      fields: JSON.parse('{"__proto__": "size"}'),
    });
    const filled = fieldsOf(fields, { width: 640, height: 480 });
    expect(Object.getPrototypeOf(filled)).toBe(Object.prototype);
    expect(filled).not.toHaveProperty('width');
  });
});
