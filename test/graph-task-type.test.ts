import { defineAdapter, defineTaskType, fields, type TaskType, z } from 'atelier/adapter';
import { printType } from 'graphql';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ConfigError } from '../src/errors.ts';
import { buildSchema } from '../src/graph/schema.ts';
import { builtInTaskTypes } from '../src/task-types/index.ts';
import { createTestBed, type TestBed } from './kit.ts';

const restorePhoto = defineTaskType({
  name: 'acme_restore_photo',
  description: 'Mends an old photograph.',
  lane: 'acme_lane',
  longestRunSeconds: 60,
  input: z.object({
    photos: fields.urls(4).optional().describe('Photographs.'),
    photoAssetIds: fields.assetIds(4).optional().describe('Photographs that were uploaded.'),
    strength: z.number().min(0).max(1).default(0.5).describe('0 to 1.'),
    mode: fields.enumeration('AcmeMode', ['GENTLE', 'BOLD']).default('GENTLE').describe('How bold.'),
    regions: z
      .array(
        fields.object('AcmeRegion', {
          x: z.int().describe('Pixels.'),
          y: z.int().default(0).describe('Pixels.'),
          label: z.string().optional().describe('A name.'),
        }),
      )
      .max(10)
      .optional()
      .describe('Where.'),
    options: fields.options().optional().describe('Options.'),
  }),
  result: z.object({
    before: z.array(fields.asset()).describe('As it was.'),
    scores: z.array(z.number()).optional().describe('How well.'),
    regions: z
      .array(
        fields.object('AcmeFound', {
          label: z.string().describe('A name.'),
          cut: fields.asset().describe('The part.'),
        }),
      )
      .describe('What was found.'),
  }),
  files: [{ urls: 'photos', assetIds: 'photoAssetIds', kinds: ['IMAGE'], maxCount: 4 }],
  estimate: () => [{ unit: 'photo', quantity: 1 }],
  prices: [{ unit: 'photo', creditsPerUnit: '3' }],
});
const acme = defineAdapter({
  name: 'acme',
  contract: 1,
  version: '1.0.0',
  title: 'Acme',
  runs: 'here',
  resubmit: 'safe',
  models: [
    {
      id: 'acme-1',
      taskTypes: ['acme_restore_photo'],
      options: z.strictObject({ grain: z.int().default(2) }),
      typicalMs: 10,
    },
  ],
  transformers: {
    acme_restore_photo: {
      toProvider: (input) => ({ request: input, warnings: ['colour is left out'] }),
      fromProvider: () => ({
        outputs: [
          { kind: 'TEXT', from: { text: 'one' } },
          { kind: 'TEXT', from: { text: 'two' } },
        ],
        result: { before: [{ output: 1 }], scores: [0.5, 0], regions: [{ label: 'face', cut: { output: 0 } }] },
      }),
    },
  },
  start: async () => ({ answer: {} }),
});

describe('a task type from outside of src/', () => {
  let bed: TestBed;
  beforeAll(async () => {
    bed = await createTestBed({ adapters: [acme], taskTypes: [restorePhoto], storage: 'directory' });
  });
  afterAll(() => bed.close());

  it('can be created, watched and read like a built-in one', async () => {
    const { data, errors } = await bed.graphql(
      `mutation ($input: CreateTaskInput!) { createTask(input: $input) { ... on CreateTaskSuccess { warnings task { ... on BaseTask { id } } } ... on ValidationError { issues { path message } } } }`,
      {
        input: {
          task: {
            acmeRestorePhoto: { mode: 'BOLD', strength: 0, regions: [{ x: 1, label: null }], options: { grain: 0 } },
          },
        },
      },
    );
    expect(errors).toBeUndefined();
    expect(data.createTask.warnings).toEqual(['colour is left out']);
    const { id } = data.createTask.task;
    for await (const _ of bed.subscribe('subscription ($id: ID!) { taskEvents(id: $id) { seq } }', { id }));
    const shown = await bed.graphql(
      `query ($id: ID!) { task(id: $id) { __typename ... on BaseTask { type status error { code message } cost { quoted charged } }
        ... on AcmeRestorePhotoTask { input { mode strength photos regions { x y label } options } result { before { id url } scores regions { label cut { id } } } } } }`,
      { id },
    );
    expect(shown.errors).toBeUndefined();
    expect(shown.data.task).toMatchObject({
      __typename: 'AcmeRestorePhotoTask',
      type: 'ACME_RESTORE_PHOTO',
      status: 'COMPLETED',
      error: null,
      cost: { quoted: 3, charged: 3 },
      input: { mode: 'BOLD', strength: 0, photos: null, regions: [{ x: 1, y: 0, label: null }], options: { grain: 0 } },
      result: { scores: [0.5, 0], regions: [{ label: 'face' }] },
    });
    expect(await (await fetch(shown.data.task.result.before[0].url)).text()).toBe('two');
    expect(shown.data.task.result.regions[0].cut.id).not.toBe(shown.data.task.result.before[0].id);
    const list = await bed.graphql(
      'query { tasks(filter: { type: [ACME_RESTORE_PHOTO] }) { nodes { __typename ... on GenerateImageTask { result { images { id } } } ... on AcmeRestorePhotoTask { input { options } } } } }',
    );
    expect(list.data.tasks.nodes).toHaveLength(1);
    const { data: listed } = await bed.graphql('{ providers { name models { id options typicalMs } capabilities } }');
    expect(listed.providers.find((provider: { name: string }) => provider.name === 'acme')).toMatchObject({
      models: [
        {
          id: 'acme-1',
          typicalMs: expect.any(Number),
          options: { type: 'object', properties: { grain: { type: 'integer', default: 2 } } },
        },
      ],
      capabilities: expect.arrayContaining(['IDEMPOTENT']),
    });
  });

  it('is refused field by field, with the path from the root of the mutation', async () => {
    const { data } = await bed.graphql(
      `mutation ($input: CreateTaskInput!) { createTask(input: $input) { ... on ValidationError { issues { path } } } }`,
      { input: { task: { acmeRestorePhoto: { strength: 2, options: { grain: 'x' } } } } },
    );
    expect(data.createTask.issues).toEqual([{ path: ['task', 'acmeRestorePhoto', 'strength'] }]);
  });
});

describe('the schema of a task type', () => {
  const schemaOf = (...types: TaskType<any, any>[]) => {
    const taskTypes = [...builtInTaskTypes, ...types];
    return buildSchema({
      taskTypes,
      taskType: (name) => taskTypes.find((type) => type.name === name),
      adapters: [],
      adapter: () => undefined,
      origin: () => undefined,
      pipelines: [],
      transforms: [],
      longestRunMs: () => 0,
    });
  };
  const withFields = (input: z.ZodRawShape, result: z.ZodRawShape = {}, name = 'acme_test') =>
    defineTaskType({
      name,
      description: 'A test.',
      lane: 'acme',
      longestRunSeconds: 1,
      input: z.object(input),
      result: z.object({ ok: z.boolean().describe('Ok.'), ...result }),
      estimate: () => [],
    });

  it('follows from zod: names, defaults, lists, enums, nested objects', () => {
    const schema = schemaOf(restorePhoto);
    const text = (name: string) =>
      printType(schema.getType(name)!)
        .replaceAll(/"""[^"]*"""\s*/g, '')
        .replaceAll(/\n\s+/g, '\n');
    expect(text('AcmeRestorePhotoInput')).toBe(
      'input AcmeRestorePhotoInput {\nmode: AcmeMode = GENTLE\noptions: JSON\nphotoAssetIds: [ID!]\nphotos: [URL!]\nregions: [AcmeRegionInput!]\nstrength: Float = 0.5\n}',
    );
    expect(text('AcmeRegionInput')).toBe('input AcmeRegionInput {\nlabel: String\nx: Int!\ny: Int = 0\n}');
    expect(text('AcmeRestorePhotoParameters')).toBe(
      'type AcmeRestorePhotoParameters {\nmode: AcmeMode!\noptions: JSON\nphotoAssetIds: [ID!]\nphotos: [URL!]\nregions: [AcmeRegion!]\nstrength: Float!\n}',
    );
    expect(text('AcmeRestorePhotoResult')).toBe(
      'type AcmeRestorePhotoResult {\nbefore: [Asset!]!\nregions: [AcmeFound!]!\nscores: [Float!]\n}',
    );
  });

  const bad: [string, () => TaskType<any, any>[], RegExp][] = [
    [
      'a parameter whose name has another type elsewhere',
      () => [withFields({ width: z.string().describe('Wide.') })],
      /AcmeTestParameters\.width is String!, but GenerateImageParameters\.width is Int!/,
    ],
    [
      'one with another nullability',
      () => [withFields({ prompt: z.string().optional().describe('Words.') })],
      /AcmeTestParameters\.prompt is String, but GenerateImageParameters\.prompt is String!/,
    ],
    [
      'a result whose name has another type elsewhere',
      () => [withFields({}, { images: fields.asset().describe('One.') })],
      /AcmeTestResult\.images is Asset!, but GenerateImageResult\.images is \[Asset!\]!/,
    ],
    [
      'a field without a description',
      () => [withFields({ x: z.string() })],
      /task type "acme_test": input\.x has no description/,
    ],
    [
      'a type that GraphQL cannot say',
      () => [withFields({ x: z.union([z.string(), z.number()]).describe('X.') })],
      /input\.x is a zod union/,
    ],
    ['an enum without a name', () => [withFields({ x: z.enum(['A', 'B']).describe('X.') })], /fields\.enumeration/],
    [
      'an object without a name',
      () => [withFields({ x: z.object({ y: z.string().describe('Y.') }).describe('X.') })],
      /fields\.object/,
    ],
    [
      'two that define one name differently',
      () => [
        withFields({ x: fields.enumeration('AcmeX', ['A']).describe('X.') }),
        withFields({ y: fields.enumeration('AcmeX', ['B']).describe('Y.') }, {}, 'acme_other'),
      ],
      /GraphQL type AcmeX differently/,
    ],
  ];
  it.each(bad)('stops the start for %s', (_name, types, message) => {
    expect(() => schemaOf(...types())).toThrow(ConfigError);
    expect(() => schemaOf(...types())).toThrow(message);
  });
});
