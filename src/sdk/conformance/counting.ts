import { isDeepStrictEqual } from 'node:util';
import type { AssetKind, TaskType } from '../task-type.ts';
import { inputOf, transform } from './case.ts';
import { describe, type Rule, type Subject } from './check.ts';
import type { FixtureCase } from './fixture.ts';
import { classify } from './verdict.ts';

/** A field of the input is never passed over in silence. */
export const countingRule: Rule = {
  group: 'transformers',
  name: 'a field that is given counts, or a warning says that it does not',
  fix: 'Put the field into the request; where the model has no place for it, say so in `warnings`, or refuse it with refuseInput. One that counts only beside others needs a fixture with those.',
  test(subject) {
    const known = subject.cases.filter((one) => subject.taskType(one.taskType) && isTaken(subject, one));
    if (known.length === 0) return { skipped: 'no fixture is of a task type that is known here' };
    const found: string[] = [];
    const counted = new Map<string, boolean>();
    for (const one of known) {
      for (const field of optionalFields(subject.taskType(one.taskType)!)) {
        const name = `${one.model}: ${field} of ${one.taskType}`;
        try {
          const isCounted = counts(subject, one, field);
          if (isCounted !== undefined) counted.set(name, counted.get(name) || isCounted);
        } catch (error) {
          found.push(`${name}: toProvider throws ${describe(error)}`);
        }
      }
    }
    const passedOver = [...counted].filter(([, isCounted]) => !isCounted);
    return [...found, ...passedOver.map(([name]) => `${name} changes neither the request nor the warnings`)];
  },
};

/** Every task has a seed, and none is warned about; options have rules of their own; asset ids come as the files of their URLs. */
function optionalFields({ input, files = [] }: TaskType<any, any>): string[] {
  const others = ['seed', 'options', ...files.map(({ assetIds }) => assetIds)];
  return Object.keys(input.shape).filter(
    (name) => !others.includes(name) && input.shape[name].safeParse(undefined).success,
  );
}

/** Undefined: nothing can be told, as no second value is valid. */
function counts(subject: Subject, one: FixtureCase, field: string): boolean | undefined {
  const type = subject.taskType(one.taskType)!;
  // The case names the files of this field itself.
  if (one.files?.[field]) return undefined;
  // Of files only the number counts: a request refers to them by their places.
  const own = type.files?.some(({ urls }) => urls === field) ? [] : [one.input[field]];
  const values = [...own, undefined, ...valuesFor(type, field)];
  const outcomes = values.flatMap((value) => outcomeOf(subject, one, { [field]: value }));
  if (outcomes.length < 2) return undefined;
  return outcomes.some((outcome) => !isDeepStrictEqual(outcome, outcomes[0]));
}

/** What toProvider makes of a changed input; nothing where the task type refuses it. */
function outcomeOf(subject: Subject, one: FixtureCase, change: Record<string, unknown>): unknown[] {
  const type = subject.taskType(one.taskType)!;
  if (!type.input.safeParse({ ...one.input, ...change }).success) return [];
  const input = inputOf(subject, one, change);
  if (type.check?.(input).length) return [];
  try {
    return [transform(subject, one, input)];
  } catch (error) {
    const { class: found } = classify(subject.adapter, error, 'start');
    if (found === 'bug') throw error;
    return [found];
  }
}

function isTaken(subject: Subject, one: FixtureCase): boolean {
  try {
    transform(subject, one);
    return true;
  } catch {
    return false;
  }
}

/** Of all sorts: JSON first, as a field that takes JSON takes everything. */
const samples = [
  { type: 'object' },
  { type: 'array' },
  ['conformance'],
  2,
  3,
  0.5,
  64,
  640,
  -20,
  true,
  false,
  'conformance',
  'de',
  '1:1',
  '9:16',
];
const mostSamples = 2;
const extensions: Partial<Record<AssetKind, string>> = { IMAGE: 'png', VIDEO: 'mp4', AUDIO: 'wav' };

/** Two values that the field can have, at most. */
function valuesFor({ input, files }: TaskType<any, any>, field: string): unknown[] {
  const list = files?.find(({ urls }) => urls === field);
  const schema = input.shape[field];
  const urls = ['1', '2'].map(
    (name) => `https://files.atelier.example/${name}.${extensions[list?.kinds[0] ?? 'OTHER']}`,
  );
  const values = list ? [urls.slice(0, 1), urls] : [...(schema.unwrap?.().options ?? []), ...samples];
  return values.filter((value) => schema.safeParse(value).success).slice(0, mostSamples);
}
