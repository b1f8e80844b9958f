import { z } from 'zod';
import { type AdapterModel, isAdapter } from '../adapter.ts';
import { configOf, modelOf } from './case.ts';
import { each, type Rule, succeeding } from './check.ts';
import type { FixtureCase } from './fixture.ts';

interface Schema {
  type?: string;
  description?: string;
  properties?: { [name: string]: Schema };
  additionalProperties?: unknown;
  items?: Schema;
  anyOf?: Schema[];
}

/** What an adapter says of itself. */
export const manifestRules: Rule[] = [
  {
    group: 'manifest',
    name: 'made by defineAdapter, with a version and a title',
    fix: 'Default-export defineAdapter({ … }) with a version as "1.0.0" and a title for people.',
    test({ adapter }) {
      const found: string[] = [];
      if (!isAdapter(adapter)) found.push('it was not made by defineAdapter');
      if (!/^\d+\.\d+\.\d+/.test(adapter.version)) found.push(`the version "${adapter.version}" is not as 1.0.0`);
      if (!adapter.title?.trim()) found.push('the title is empty');
      for (const [name, { title }] of Object.entries(adapter.secrets ?? {}))
        if (!title?.trim()) found.push(`the secret ${name} has no title`);
      return found;
    },
  },
  {
    group: 'manifest',
    name: 'options are strict, and each is described',
    fix: 'Use z.strictObject, and .describe() every option: what it does, its unit, its default.',
    test({ adapter, models }) {
      const known = [Array.isArray(adapter.models) ? adapter.models : [], ...models.values()].flat();
      if (known.length === 0) return { skipped: 'models are asked of the vendor' };
      if (!known.some(({ options }) => options)) return { skipped: 'no model has options' };
      const problems = ({ id, options }: AdapterModel) =>
        options ? problemsOf(toSchema(options), 'options').map((line) => `${id}: ${line}`) : [];
      return known.flatMap(problems);
    },
  },
  {
    group: 'manifest',
    name: 'the configuration is strict',
    fix: 'Use z.strictObject for config: a setting that is spelled wrong must stop the start, not be ignored.',
    test({ adapter }) {
      if (!adapter.config) return { skipped: 'the adapter has no config' };
      const parsed = adapter.config.safeParse({ noSuchSetting: true });
      const isStrict = !parsed.success && parsed.error.issues.some(({ code }) => code === 'unrecognized_keys');
      return isStrict ? [] : ['a setting that does not exist is taken'];
    },
  },
  {
    group: 'manifest',
    name: 'hosts are names of hosts',
    fix: 'hosts, assetHosts and privateHosts give `api.acme.example`, `*.acme.example` or `127.0.0.1:8080`: no scheme, no path, not `*`, nothing that others can register a name in.',
    test: (subject) =>
      each(subject.cases, 'there are no fixtures', (one) => {
        const { adapter } = subject;
        const config = configOf(adapter, one);
        const hosts = adapter.hosts?.(config) ?? [];
        const all = [...hosts, ...(adapter.assetHosts?.(config) ?? []), ...(adapter.privateHosts?.(config) ?? [])];
        const wrong = all.filter((host) => !/^(\*\.)?[a-z0-9_[\]:.-]+(:\d+)?$/i.test(host) || !/[a-z0-9]/i.test(host));
        const foreign = (adapter.privateHosts?.(config) ?? []).filter(
          (host) => ![...hosts, ...(adapter.assetHosts?.(config) ?? [])].includes(host),
        );
        const wide = all.filter((host) => /^\*\.[^.]+$/.test(host));
        return [
          ...wrong.map((host) => `"${host}" is no host`),
          ...wide.map((host) => `"${host}" is a whole top-level domain`),
          ...foreign.map((host) => `privateHosts names ${host}, which is in neither hosts nor assetHosts`),
        ];
      }),
  },
  {
    group: 'fixtures',
    name: 'fixtures fit, and every task type has one',
    fix: 'Put a recorded success for each task type into fixtures/*.json, and say what comes of it: see Fixture in atelier/adapter/testing.',
    test(subject) {
      const { adapter, cases, unfit } = subject;
      const found = [...unfit];
      const good = succeeding(subject);
      const has = (list: FixtureCase[], type: string) => list.some(({ taskType }) => taskType === type);
      const missing = Object.keys(adapter.transformers).filter((type) => !has(good, type));
      const needsNone = adapter.runs === 'here' && !adapter.hosts;
      if (cases.length === 0 && unfit.length === 0 && needsNone) return { skipped: 'it runs here, without a network' };
      // A fixture that does not fit may be the one that is missing.
      if (!needsNone && unfit.length === 0)
        found.push(...missing.map((type) => `no fixture ${has(cases, type) ? 'of a success ' : ''}for ${type}`));
      for (const { name, expect } of good) {
        if (!expect.outputs && !expect.result)
          found.push(`${name}: expect says nothing of what comes of it: give outputs, or the result`);
        if (expect.usage === undefined)
          found.push(`${name}: expect says nothing of usage: give it, or null where the vendor does not say`);
      }
      for (const one of cases)
        if (!modelOf(subject, one)?.taskTypes.includes(one.taskType))
          found.push(`${one.name}: no model "${one.model}" for ${one.taskType}`);
      return found;
    },
  },
];

/** @throws Error for a schema that cannot be shown to clients. */
export function toSchema(options: z.ZodType): Schema {
  return z.toJSONSchema(options, { io: 'input' }) as Schema;
}

function problemsOf(schema: Schema, path: string): string[] {
  const found: string[] = [];
  if (schema.properties && schema.additionalProperties !== false) found.push(`${path} takes what it does not know`);
  for (const [name, property] of Object.entries(schema.properties ?? {})) {
    const inner = `${path}.${name}`;
    if (!property.description?.trim()) found.push(`${inner} has no description`);
    found.push(...problemsOf(property, inner));
  }
  if (schema.items) found.push(...problemsOf(schema.items, `${path}[]`));
  for (const one of schema.anyOf ?? []) found.push(...problemsOf(one, path));
  return found;
}
