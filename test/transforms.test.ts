import { describe, expect, it } from 'vitest';
import { schemaIssues } from '../src/pipelines/json-schema.ts';
import { clusterByMeaning } from '../src/pipelines/transforms/cluster-by-meaning.ts';
import { uniqueTexts } from '../src/pipelines/transforms/unique-texts.ts';
import type { PipelineTransform } from '../src/sdk/index.ts';

/** Texts with the same first character mean the same. */
const embed = async (texts: string[]) =>
  texts.map((text) => Array.from({ length: 128 }, (_, place) => (text.charCodeAt(0) % 128 === place ? 1 : 0)));
const apply = (transform: PipelineTransform, values: unknown[], parameters: Record<string, unknown> = {}) => {
  const field = String(parameters.field ?? 'text');
  const items = values.map((value, index) => ({
    id: `i${index}`,
    kind: 'word',
    data: { [field]: value, kept: index },
  }));
  return transform.apply(items, { parameters, input: {}, embed, signal: new AbortController().signal });
};

const noTexts = [{ a: 1 }, ['a', 'b'], true, null, undefined, ' '];
const leftOut = (field: string) => [
  ...['i0', 'i1', 'i2'].map((id) => ({ id, reason: `its ${field} is no text` })),
  ...['i3', 'i4', 'i5'].map((id) => ({ id, reason: `it has no ${field}` })),
];

describe('unique_texts', () => {
  it('lets each text pass once, and no value that is none', async () => {
    expect(await apply(uniqueTexts, [...noTexts, ' Red  fox ', 'RED fox', 7, '7', 0])).toEqual({
      items: [
        { data: { text: 'Red fox', kept: 6 }, from: ['i6'] },
        { data: { text: '7', kept: 8 }, from: ['i8'] },
        { data: { text: '0', kept: 10 }, from: ['i10'] },
      ],
      rejected: [
        ...leftOut('text'),
        { id: 'i7', reason: '"RED fox" is there already' },
        { id: 'i9', reason: '"7" is there already' },
      ],
    });
    const { rejected } = await apply(uniqueTexts, ['x'.repeat(100_000), 'x'.repeat(100_000)], { field: 'name' });
    expect(rejected).toEqual([{ id: 'i1', reason: `"${'x'.repeat(100)}…" is there already` }]);
  });
});

describe('cluster_by_meaning', () => {
  it('puts what means the same together; a value that is no text joins no cluster', async () => {
    expect(await apply(clusterByMeaning, [...noTexts, 'red', 7, 'rose'], { field: 'name' })).toEqual({
      items: [
        { data: { name: 'red', keywords: ['red', 'rose'] }, from: ['i6', 'i8'] },
        { data: { name: '7', keywords: ['7'] }, from: ['i7'] },
      ],
      rejected: leftOut('name'),
    });
    expect(await apply(clusterByMeaning, noTexts)).toEqual({ items: [], rejected: leftOut('text') });
  });
});

describe('the parameters', () => {
  it.each([
    { transform: uniqueTexts, given: {}, wrong: [] },
    { transform: uniqueTexts, given: { field: 'name' }, wrong: [] },
    { transform: uniqueTexts, given: { field: 1 }, wrong: ['field'] },
    { transform: uniqueTexts, given: { fields: 'name' }, wrong: ['fields'] },
    { transform: clusterByMeaning, given: { field: 'name', similarity: 0, size: 1 }, wrong: [] },
    { transform: clusterByMeaning, given: { similarity: 1.1, size: 0 }, wrong: ['similarity', 'size'] },
    { transform: clusterByMeaning, given: { size: 1.5, sizes: 2 }, wrong: ['sizes', 'size'] },
  ])('of $transform.name: $given', ({ transform: { parameters }, given, wrong }) => {
    expect(schemaIssues(parameters!, given, []).map(({ path }) => path.join('.'))).toEqual(wrong);
  });
});
