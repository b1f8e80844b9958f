import { isDeepStrictEqual } from 'node:util';
import type { Produced } from '../adapter.ts';
import type { AssetKind } from '../task-type.ts';
import { configOf, inputOf, modelOf, transform, transformContext } from './case.ts';
import { describe, each, type Finding, type Rule, type Subject, succeeding } from './check.ts';
import type { FixtureCase } from './fixture.ts';
import { toSchema } from './manifest.ts';
import { replay } from './rehearsal.ts';
import { frozen, isRecord, leaves, mapped, show } from './value.ts';

const noFixtures = 'there are no fixtures';

/** Payload transformers are pure and lose nothing. */
export const transformerRules: Rule[] = [
  {
    group: 'transformers',
    name: 'the input and the answer are left as they are',
    fix: 'Make a new object instead of changing what you were given: both are used again.',
    test: (subject) =>
      each(subject.cases, noFixtures, async (one) => {
        const found = changes('toProvider', inputOf(subject, one), (input) => transform(subject, one, input));
        const { answer } = await replay(subject, one);
        if (answer === undefined) return found;
        return [...found, ...changes('fromProvider', answer, (value) => fromProvider(subject, one, value))];
      }),
  },
  {
    group: 'transformers',
    name: 'the same in gives the same out, without clock or chance',
    fix: 'Take what varies from the input or the context (attemptKey, seed); what needs a clock belongs into start.',
    test: (subject) =>
      each(subject.cases, noFixtures, async (one) => {
        const { answer } = await replay(subject, one);
        return [
          ...varies('toProvider', () => transform(subject, one)),
          ...(answer === undefined ? [] : varies('fromProvider', () => fromProvider(subject, one, answer))),
        ];
      }),
  },
  {
    group: 'transformers',
    name: 'falsy values stay: seed 0, temperature 0, false',
    fix: 'Write `input.seed ?? fallback` or `input.seed !== undefined`, never `input.seed || …` or `if (input.seed)`. An option whose 0 means the same as leaving it out has .default(0).',
    test: (subject) =>
      each(subject.cases, noFixtures, (one) => probes(subject, one).flatMap((probe) => lost(subject, one, probe))),
  },
  {
    group: 'transformers',
    name: 'the result fits its task type and names outputs that exist',
    fix: 'Give each output one source (url, file, bytes or text) and its kind, and let the result name outputs by their place from 0: a video where it says `video`.',
    test: (subject) =>
      each(subject.cases, noFixtures, async (one) => {
        const { produced } = await replay(subject, one);
        if (!produced) return [];
        // Left out, it is measured.
        const { durationSeconds = 1, ...rest } = produced.result;
        const parsed = subject.taskType(one.taskType)?.result.safeParse({ ...rest, durationSeconds });
        const issues = parsed?.success === false ? parsed.error.issues : [];
        return [
          ...misshapen(produced),
          ...issues.map(
            (issue: { path: PropertyKey[]; message: string }) => `result.${issue.path.join('.')}: ${issue.message}`,
          ),
        ];
      }),
  },
  {
    group: 'transformers',
    name: 'usage is in units that are quoted, and not 0 for what was made',
    fix: "Count in the units of the task type's prices, or of your own estimate: anything else has no price. Where the vendor does not say, leave usage undefined, and the quote is charged; where he gives it away, [].",
    test: (subject) =>
      each(succeeding(subject), 'no fixture is of a success', async (one) => {
        const usage = (await replay(subject, one)).produced?.usage;
        if (!usage) return [];
        const isZero = usage.length > 0 && usage.every(({ quantity }) => quantity === 0);
        const found = isZero ? ['what was made cost nothing'] : [];
        const known = unitsOf(subject, one);
        const odd = known ? usage.filter(({ unit }) => !known.has(unit)) : [];
        return [...found, ...odd.map(({ unit }) => `"${unit}" is none of ${[...known!].join(', ')}`)];
      }),
  },
  {
    group: 'transformers',
    name: 'the estimate is pure, and no less than what was used',
    fix: 'estimate is the upper bound of the quote: the client is never charged more. Count in the units of the task type.',
    test(subject): Promise<Finding> {
      const estimating = subject.cases.filter(({ taskType }) => subject.adapter.transformers[taskType]?.estimate);
      return each(estimating, 'no transformer has an estimate of its own', async (one) => {
        const transformer = subject.adapter.transformers[one.taskType]!;
        const config = configOf(subject.adapter, one);
        const estimateOf = (input: unknown) => transformer.estimate!(input, one.model, config);
        const estimate = () => estimateOf(inputOf(subject, one));
        const found = varies('estimate', estimate);
        found.push(...changes('estimate', inputOf(subject, one), estimateOf));
        const { produced } = await replay(subject, one);
        for (const { unit, quantity } of estimate()) {
          if (!(Number.isFinite(quantity) && quantity >= 0)) found.push(`estimates ${quantity} of ${unit}`);
          const used = produced?.usage?.find((usage) => usage.unit === unit)?.quantity ?? 0;
          if (used > quantity) found.push(`estimates ${quantity} of ${unit}, and ${used} were used`);
        }
        return found;
      });
    },
  },
];

/** Undefined: nobody knows the task type. */
function unitsOf(subject: Subject, one: FixtureCase): Set<string> | undefined {
  const type = subject.taskType(one.taskType);
  if (!type) return undefined;
  const input = inputOf(subject, one);
  const own = subject.adapter.transformers[one.taskType]?.estimate;
  const quoted = own?.(input, one.model, configOf(subject.adapter, one)) ?? type.estimate(input);
  return new Set([...quoted, ...(type.prices ?? [])].map(({ unit }) => unit));
}

function fromProvider(subject: Subject, one: FixtureCase, answer: unknown): Produced<unknown> {
  return subject.adapter.transformers[one.taskType]!.fromProvider(answer, transformContext(subject, one));
}

function changes<Value>(name: string, value: Value, run: (value: Value) => unknown): string[] {
  try {
    run(structuredClone(value));
  } catch {
    // It does not take this value at all: not this rule's business.
    return [];
  }
  const given = frozen(structuredClone(value));
  try {
    run(given);
  } catch (error) {
    return [`${name} changes what it was given: ${describe(error)}`];
  }
  return isDeepStrictEqual(given, structuredClone(value)) ? [] : [`${name} changes what it was given`];
}

/** Runs it twice, and looks whether it asks for what it must not. */
function varies(name: string, run: () => unknown): string[] {
  const asked = new Set<string>();
  const real = { Date: globalThis.Date, random: Math.random, fetch: globalThis.fetch };
  const watch = <Target extends (...values: any[]) => unknown>(target: Target, what: string): Target =>
    new Proxy(target, {
      apply(called, self, values) {
        asked.add(what);
        return Reflect.apply(called, self, values);
      },
    });
  globalThis.Date = new Proxy(real.Date, {
    construct(target, values, newTarget) {
      if (values.length === 0) asked.add('the clock');
      return Reflect.construct(target, values, newTarget);
    },
    get: (target, key) => (key === 'now' ? watch(real.Date.now, 'the clock') : Reflect.get(target, key)),
  });
  Math.random = watch(real.random, 'chance');
  globalThis.fetch = watch(real.fetch, 'the network');
  try {
    const [first, second] = [run(), run()];
    const found = [...asked].map((what) => `${name} asks ${what}`);
    if (first instanceof Promise) found.push(`${name} gives a promise`);
    if (!isDeepStrictEqual(first, second)) found.push(`${name} gives something else the second time`);
    return found;
  } catch {
    return [...asked].map((what) => `${name} asks ${what}`);
  } finally {
    Object.assign(globalThis, { Date: real.Date, fetch: real.fetch });
    Math.random = real.random;
  }
}

/** A field that can be set to something falsy, and to two things that are not. */
interface Probe {
  name: string;
  set(value: unknown): Record<string, unknown>;
  falsy: 0 | false;
  others: [unknown, unknown];
}

function probes(subject: Subject, one: FixtureCase): Probe[] {
  const found: Probe[] = ['seed', 'temperature'].map((name) => ({
    name,
    set: (value) => ({ [name]: value }),
    falsy: 0,
    others: [1, 2],
  }));
  const options = modelOf(subject, one)?.options;
  const properties = options ? (toSchema(options).properties ?? {}) : {};
  for (const [name, raw] of Object.entries(properties)) {
    const property = raw as { type?: string; minimum?: number; maximum?: number; enum?: unknown[]; default?: unknown };
    const { [name]: _, ...others } = (one.input.options ?? {}) as Record<string, unknown>;
    const set = (value: unknown) => ({ options: value === undefined ? others : { ...others, [name]: value } });
    const { type, minimum = 0, maximum = 2 } = property;
    // What is the default anyway cannot be lost.
    if (property.default === 0 || property.default === false) continue;
    if (type === 'boolean') found.push({ name: `options.${name}`, set, falsy: false, others: [true, true] });
    if ((type === 'number' || type === 'integer') && !property.enum && minimum <= 0 && maximum >= 0)
      found.push({
        name: `options.${name}`,
        set,
        falsy: 0,
        others: [maximum, type === 'integer' ? minimum || 1 : maximum / 2],
      });
  }
  return found;
}

function lost(subject: Subject, one: FixtureCase, { name, set, falsy, others }: Probe): string[] {
  const requestFor = (value: unknown): Map<string, unknown> | undefined => {
    try {
      return leaves(transform(subject, one, inputOf(subject, one, set(value))).request);
    } catch {
      // A value that does not fit here, or not with the others.
      return undefined;
    }
  };
  const [absent, zero, first, second] = [undefined, falsy, ...others].map(requestFor);
  if (!absent || !zero || !first || !second) return [];
  // Where the request carries it: there it changes when the value does.
  const carrying = [...first.keys()].filter((path) =>
    falsy === false
      ? first.get(path) === true && absent.get(path) !== true
      : !Object.is(first.get(path), second.get(path)),
  );
  const kept = (path: string) =>
    zero.get(path) === falsy ||
    zero.get(path) === String(falsy) ||
    (!Object.is(zero.get(path), absent.get(path)) && !Object.is(zero.get(path), first.get(path)));
  if (falsy === false) {
    // Also where true is the default: `x || true` would always be true.
    const stuck = [...first.keys()].filter(
      (path) => first.get(path) === true && absent.get(path) === true && leafName(path) === leafName(name),
    );
    return [...carrying, ...stuck]
      .filter((path) => zero.get(path) === true)
      .map((path) => `${name} false becomes true at ${path}`);
  }
  return carrying
    .filter((path) => !kept(path))
    .map((path) => `${name} ${show(falsy)} becomes ${show(zero.get(path))} at ${path} of the request`);
}

/** `guidance_scale` and `guidanceScale` are the same word. */
const leafName = (path: string): string => path.split('.').at(-1)!.replaceAll('_', '').toLowerCase();

const kinds = ['IMAGE', 'VIDEO', 'AUDIO', 'TEXT', 'OTHER'];

/** What is wrong with the files that fromProvider names. */
export function misshapenOutputs({ outputs }: Produced<unknown>): string[] {
  if (!Array.isArray(outputs)) return ['outputs is no list'];
  return outputs.flatMap(({ kind, from }, index) => {
    const sources = ['url', 'file', 'bytes', 'text'].filter((source) => source in (from ?? {}));
    const value = (from as Record<string, unknown> | undefined)?.[sources[0]!];
    const isGood = sources[0] === 'bytes' ? value instanceof Uint8Array : typeof value === 'string';
    return [
      ...(kinds.includes(kind) ? [] : [`output ${index} has the kind ${show(kind)}`]),
      ...(sources.length === 1 && isGood ? [] : [`output ${index} comes from ${show(from)}`]),
    ];
  });
}

const kindByField = new Map<string, AssetKind>([
  ['image', 'IMAGE'],
  ['images', 'IMAGE'],
  ['video', 'VIDEO'],
  ['videos', 'VIDEO'],
  ['audio', 'AUDIO'],
]);

function misshapen(produced: Produced<unknown>): string[] {
  const found = misshapenOutputs(produced);
  mapped(produced.result, (value, name) => {
    const place = isRecord(value) && Object.keys(value).length === 1 ? value.output : undefined;
    if (typeof place === 'number' && !(place in produced.outputs))
      found.push(`the result names output ${place}, and there are ${produced.outputs.length}`);
    const kind = typeof place === 'number' ? produced.outputs[place]?.kind : undefined;
    const wanted = kindByField.get(name);
    if (wanted && kind && kind !== wanted && kind !== 'OTHER')
      found.push(`output ${place} is of the kind ${kind}, and stands in \`${name}\` of the result`);
    return value;
  });
  for (const { unit, quantity } of produced.usage ?? [])
    if (typeof unit !== 'string' || !(Number.isFinite(quantity) && quantity >= 0))
      found.push(`the usage holds ${show({ unit, quantity })}`);
  if (produced.cost && !/^\d+(\.\d+)?$/.test(produced.cost.amount))
    found.push(`the cost ${show(produced.cost.amount)} is no decimal string`);
  return found;
}
