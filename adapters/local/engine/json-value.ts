import { Ajv2020 } from 'ajv/dist/2020.js';
import { InputRefusal } from './refusal.ts';
import { capitalise } from './topic.ts';

/** Where strings come from. */
export interface Source {
  topic: string;
  words: string[];
  /** What the prompt names beside its topic: the elements of a list are about one each. */
  subjects: string[];
}

interface Making extends Source {
  root: any;
  depth: number;
  /** Shared by the whole value: schemas that hold themselves several times grow without end. */
  budget: { values: number };
}

const deepest = 24;
const mostValues = 20_000;

/**
 * A JSON value that is valid for the JSON Schema: the first choice everywhere, the smallest list and number that is
 * allowed, strings from the source. Knows type, properties, required, enum, const, default, examples, items, prefixItems,
 * anyOf, oneOf, allOf, local $ref, format, and the limits on lengths and numbers.
 * @throws InputRefusal at `responseSchema` when it is no schema, or none that a value can be made for.
 */
export async function makeValue(schema: unknown, source: Source): Promise<unknown> {
  if (typeof schema !== 'boolean' && (typeof schema !== 'object' || schema === null || Array.isArray(schema))) {
    throw new InputRefusal(['responseSchema'], 'must be a JSON Schema: an object, or true or false');
  }
  const ajv = new Ajv2020({ strict: false, validateFormats: false, logger: false });
  let validate: ReturnType<typeof ajv.compile>;
  try {
    // Drafts differ little in what is used here; their own meta-schema is not needed.
    const { $schema: _, ...rest } = Object(schema);
    validate = ajv.compile(typeof schema === 'boolean' ? schema : rest);
  } catch (error) {
    throw new InputRefusal(['responseSchema'], `is not a JSON Schema that can be used: ${(error as Error).message}`);
  }
  const value = valueFor(schema, 'value', { ...source, root: schema, depth: 0, budget: { values: mostValues } });
  if (validate(value)) return value;
  const problem = validate.errors?.[0];
  throw new InputRefusal(
    ['responseSchema'],
    `the local engine cannot make a value for it: at ${problem?.instancePath || '/'} it ${problem?.message}`,
  );
}

function valueFor(schema: any, name: string, making: Making): unknown {
  if (making.depth > deepest) return null;
  making.budget.values -= 1;
  if (making.budget.values < 0)
    throw new InputRefusal(['responseSchema'], `asks for more than ${mostValues.toLocaleString('en')} values`);
  if (typeof schema !== 'object' || schema === null) return null;
  const inner = { ...making, depth: making.depth + 1 };
  if (typeof schema.$ref === 'string') {
    const { $ref, ...beside } = schema;
    return valueFor({ ...resolve($ref, making.root), ...beside }, name, inner);
  }
  if ('const' in schema) return schema.const;
  if ('default' in schema) return schema.default;
  if (Array.isArray(schema.examples) && schema.examples.length > 0) return schema.examples[0];
  if (Array.isArray(schema.enum)) return schema.enum[0];
  if (Array.isArray(schema.allOf)) {
    const { allOf, ...rest } = schema;
    return valueFor(
      allOf.reduce(
        (merged: any, part: any) => merge(merged, part?.$ref ? resolve(part.$ref, making.root) : part),
        rest,
      ),
      name,
      inner,
    );
  }
  for (const choice of ['anyOf', 'oneOf']) {
    const { [choice]: options, ...rest } = schema;
    if (Array.isArray(options) && options.length > 0)
      return valueFor(merge(rest, options.find((option) => option?.type !== 'null') ?? options[0]), name, inner);
  }
  switch (typeOf(schema)) {
    case 'object':
      return objectFor(schema, inner);
    case 'array':
      return arrayFor(schema, name, inner);
    case 'string':
      return stringFor(schema, name, making);
    case 'number':
      return numberFor(schema, false);
    case 'integer':
      return numberFor(schema, true);
    case 'boolean':
      return true;
    default:
      return null;
  }
}

function typeOf(schema: any): string {
  const types = [schema.type].flat().filter((type) => typeof type === 'string' && type !== 'null');
  if (types.length > 0) return types[0];
  if (schema.type) return 'null';
  if (schema.properties || schema.required) return 'object';
  if (schema.items || schema.prefixItems) return 'array';
  if (schema.minimum !== undefined || schema.maximum !== undefined) return 'number';
  return 'string';
}

function objectFor(schema: any, making: Making): Record<string, unknown> {
  const required: string[] = Array.isArray(schema.required) ? schema.required : [];
  const properties = schema.properties ?? {};
  // A schema that holds itself would never end: far down, only what must be there.
  const optional = making.depth > 6 ? [] : Object.keys(properties).slice(0, schema.maxProperties ?? undefined);
  const names = new Set([...required, ...optional]);
  for (let extra = 1; names.size < (schema.minProperties ?? 0); extra++) names.add(`property${extra}`);
  return Object.fromEntries(
    [...names].map((name) => [
      name,
      valueFor(properties[name] ?? schema.additionalProperties ?? { type: 'string' }, name, making),
    ]),
  );
}

function arrayFor(schema: any, name: string, making: Making): unknown[] {
  const first: any[] = Array.isArray(schema.prefixItems) ? schema.prefixItems : [];
  const usual = making.depth > 6 ? 0 : 2;
  const count = Math.min(
    1_000,
    Math.max(schema.minItems ?? 0, first.length, Math.min(usual, schema.maxItems ?? usual)),
  );
  return Array.from({ length: count }, (_, index) => {
    const item = first[index] ?? schema.items ?? { type: 'string' };
    // Different where they can be, for uniqueItems.
    const choices = item.enum as unknown[] | undefined;
    if (choices) return choices[index % choices.length];
    const value = valueFor(item, `${name} ${index + 1}`, aboutElement(making, index));
    return typeof value === 'number' && schema.uniqueItems ? value + index * (item.multipleOf ?? 1) : value;
  });
}

/** What there is to say of anything. */
const aspects = ['first steps', 'a closer look', 'common mistakes', 'what it takes', 'in practice', 'what comes next'];

/** Lists are of different things: each element is about a subject of its own, and when there are no more, about an aspect. */
function aboutElement(making: Making, index: number): Making {
  const { topic, words, subjects } = making;
  const theme = nth([...subjects, ...words], index);
  return {
    ...making,
    topic: subjects[index] ?? `${topic}: ${nth(aspects, index - subjects.length)}`,
    words: theme ? [theme, ...words.filter((word) => word !== theme)] : [],
    subjects: [],
  };
}

/** Round and round, numbered from the second time on. Undefined: the list is empty. */
function nth(list: string[], index: number): string | undefined {
  const round = Math.floor(index / list.length) + 1;
  const value = list[index % list.length];
  return value && round > 1 ? `${value} ${round}` : value;
}

const formats: Record<string, string> = {
  'date-time': '2024-01-01T12:00:00Z',
  date: '2024-01-01',
  time: '12:00:00Z',
  email: 'someone@example.com',
  uri: 'https://example.com/',
  url: 'https://example.com/',
  hostname: 'example.com',
  ipv4: '192.0.2.1',
  ipv6: '2001:db8::1',
  uuid: '00000000-0000-4000-8000-000000000000',
};

function stringFor(schema: any, name: string, making: Making): string {
  const fixed = formats[schema.format];
  if (fixed) return fixed;
  let value = wordingFor(name, schema.description ?? '', making);
  const [least, most] = [schema.minLength ?? 0, schema.maxLength ?? 10_000];
  while ([...value].length < least && value.length < 100_000) value += ` ${making.words[0] ?? making.topic}`;
  return [...value].slice(0, most).join('');
}

/** A sentence, a word, a heading or the bare topic: as the name, or what is said of it, asks for. */
function wordingFor(name: string, description: string, { topic, words }: Making): string {
  const isLong = /text|body|summary|description|content|paragraph|story|answer|reason/i;
  if (isLong.test(name) || /sentence|paragraph/i.test(description))
    return `${capitalise(topic)}, in short: ${words.slice(0, 4).join(', ') || topic}.`;
  if (/title|headline/i.test(name)) return capitalise(topic);
  if (/audience/i.test(name)) return `people who ask about ${topic}`;
  if (/name|label|tag|word|keyword|category|key|id/i.test(name) || / \d+$/.test(name)) return words[0] ?? topic;
  return topic;
}

function numberFor(schema: any, whole: boolean): number {
  const step = schema.multipleOf ?? (whole ? 1 : undefined);
  const tiny = step ?? 0.5;
  const low = Math.max(
    schema.minimum ?? Number.NEGATIVE_INFINITY,
    (schema.exclusiveMinimum ?? Number.NEGATIVE_INFINITY) + tiny,
  );
  const high = Math.min(
    schema.maximum ?? Number.POSITIVE_INFINITY,
    (schema.exclusiveMaximum ?? Number.POSITIVE_INFINITY) - tiny,
  );
  let value = Math.min(high, Math.max(low, 1));
  // Between bounds closer than half a unit.
  if (low > high)
    value = ((schema.exclusiveMinimum ?? schema.minimum) + (schema.exclusiveMaximum ?? schema.maximum)) / 2;
  if (step === undefined) return value;
  const up = Math.ceil(value / step) * step;
  return up <= high ? up : Math.floor(value / step) * step;
}

function resolve(reference: string, root: any): any {
  if (!reference.startsWith('#'))
    throw new InputRefusal(
      ['responseSchema'],
      `$ref ${reference} points outside the schema; only # references are followed`,
    );
  const parts = reference.slice(1).split('/').filter(Boolean);
  return (
    parts.reduce((at, part) => at?.[decodeURIComponent(part).replaceAll('~1', '/').replaceAll('~0', '~')], root) ?? {}
  );
}

function merge(into: any, part: any): any {
  if (typeof part !== 'object' || part === null) return into;
  return {
    ...into,
    ...part,
    ...(into.properties || part.properties ? { properties: { ...into.properties, ...part.properties } } : {}),
    ...(into.required || part.required
      ? { required: [...new Set([...(into.required ?? []), ...(part.required ?? [])])] }
      : {}),
  };
}
