import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { closest, distance } from 'fastest-levenshtein';
import type { Config } from './config.ts';
import { readNumbers } from './config.ts';
import { ConfigError } from './errors.ts';
import { loadPlugin } from './plugins.ts';
import { type Adapter, type AdapterModel, checkModels, type PipelineTransform, type TaskType } from './sdk/index.ts';
import { builtInTaskTypes } from './task-types/index.ts';

/** One account at a vendor. */
export interface Credential {
  /** Tells credentials apart in the database; of the secrets' values, so that a handle finds the account that started it. */
  id: string;
  secrets: Record<string, string>;
}

/** An adapter with its configuration and secrets read. */
export interface LoadedAdapter {
  adapter: Adapter;
  config: unknown;
  /** At least one; an adapter without secrets has one that is empty. */
  credentials: Credential[];
  /** What it has now: a list that a vendor gave changes over time. */
  models: AdapterModel[];
  /** Who brought it, as `plugin "acme"`. Undefined: it is Atelier's own. */
  origin?: string;
  /** Why it is switched off, in words for the operator. Undefined: it is not. */
  disabled?: string;
}

/** The task types and adapters of this process: fixed at its start. */
export interface Registry {
  taskTypes: TaskType<any, any>[];
  taskType(name: string): TaskType<any, any> | undefined;
  adapters: LoadedAdapter[];
  adapter(name: string): LoadedAdapter | undefined;
  /** What plugins bring for pipelines, unchecked. */
  pipelines: { name: string }[];
  transforms: PipelineTransform[];
  /** Who brought a task type, as `plugin "acme"`. Undefined: it is Atelier's own. */
  origin(taskType: string): string | undefined;
  /** Longest run of a task type in milliseconds, the operator's or its own. */
  longestRunMs(type: TaskType<any, any>): number;
}

/** A week. */
const maxRunSeconds = 604_800;
/** In the order in which they are the default for a task type: what costs nothing comes first. */
const builtInAdapters = [
  'local',
  'openai',
  'replicate',
  'fal',
  'elevenlabs',
  'comfyui',
  'ai-sdk',
  'example',
  'scripted',
];

/**
 * Loads the adapters in `adapters/` and what the plugins bring.
 * @throws ConfigError that names the adapter or plugin and what to mend.
 */
export async function loadRegistry(
  config: Config,
  extra: { adapters: Adapter[]; taskTypes: TaskType<any, any>[] },
  environment: NodeJS.ProcessEnv,
): Promise<Registry> {
  const adapters: Brought<Adapter>[] = extra.adapters.map((value) => ({ value }));
  const pipelines: Registry['pipelines'] = [];
  const transforms: PipelineTransform[] = [];
  const taskTypes: Brought<AnyTaskType>[] = [...builtInTaskTypes, ...extra.taskTypes].map((value) => ({ value }));
  // One that is handed in comes instead of the built-in one of its name.
  const handedIn = new Set(extra.adapters.map(({ name }) => name));
  for (const name of builtInAdapters.filter((each) => !handedIn.has(each)))
    adapters.push({ value: (await import(`../adapters/${name}/adapter.ts`)).default });
  for (const name of new Set(config.ATELIER_PLUGINS)) {
    const plugin = await loadPlugin(name);
    const origin = `plugin "${name}"`;
    adapters.push(...plugin.adapters.map((value) => ({ value, origin })));
    taskTypes.push(...plugin.taskTypes.map((value) => ({ value, origin })));
    pipelines.push(...plugin.pipelines);
    transforms.push(...plugin.transforms);
  }

  const types = byName('task type', taskTypes);
  const loaded = new Map<string, LoadedAdapter>();
  for (const { value, origin } of byName('adapter', adapters).values()) {
    const one: LoadedAdapter = { ...load(value, environment), origin };
    checkTaskTypes(one, types, origin);
    loaded.set(value.name, one);
  }
  refuseUnknownConfig([...loaded.values()], environment);
  const longest = readNumbers(config.ATELIER_LONGEST_RUN_SECONDS);
  for (const [name, seconds] of Object.entries(longest)) {
    if (!types.has(name))
      throw new ConfigError(`ATELIER_LONGEST_RUN_SECONDS names ${name}, which is no task type here`);
    if (seconds < 1 || seconds > maxRunSeconds)
      throw new ConfigError(`ATELIER_LONGEST_RUN_SECONDS: ${name} must be from 1 to ${maxRunSeconds}`);
  }
  return {
    taskTypes: [...types.values()].map(({ value }) => value),
    taskType: (name) => types.get(name)?.value,
    adapters: [...loaded.values()],
    adapter: (name) => loaded.get(name),
    pipelines,
    transforms,
    origin: (taskType) => types.get(taskType)?.origin,
    longestRunMs: (type) => (longest[type.name] ?? type.longestRunSeconds) * 1000,
  };
}

/**
 * Takes over the models that a vendor gave.
 * @throws TypeError or ConfigError for models that do not fit; the old ones stay.
 */
export function setModels(registry: Registry, loaded: LoadedAdapter, models: AdapterModel[]): void {
  checkModels(loaded.adapter, models);
  checkTaskTypes({ ...loaded, models }, new Map(registry.taskTypes.map((type) => [type.name, type])));
  loaded.models = models;
}

type AnyTaskType = TaskType<any, any>;
interface Brought<Value> {
  value: Value;
  /** The plugin that brought it. Undefined: it came with Atelier. */
  origin?: string;
}

function byName<Value extends { name: string }>(what: string, all: Brought<Value>[]): Map<string, Brought<Value>> {
  const known = new Map<string, Brought<Value>>();
  for (const one of all) {
    const { name } = one.value;
    const other = known.get(name);
    if (other) {
      const [first, second] = [other, one].map(({ origin = 'Atelier itself' }) => origin);
      throw new ConfigError(`two ${what}s are called "${name}", of ${first} and of ${second}; rename one`);
    }
    known.set(name, one);
  }
  return known;
}

function checkTaskTypes({ adapter, models }: LoadedAdapter, types: Map<string, unknown>, origin?: string): void {
  const subject = `${origin ? `${origin}: ` : ''}adapter "${adapter.name}"`;
  for (const type of models.flatMap((model) => model.taskTypes))
    if (!types.has(type)) throw new ConfigError(`${subject} names the task type ${type}, which nothing here defines`);
}

/** A setting that nobody reads is a mistake, found at the start and not at the thousandth task. */
function refuseUnknownConfig(adapters: LoadedAdapter[], environment: NodeJS.ProcessEnv): void {
  const known = adapters.map(({ adapter }) => configVariable(adapter));
  for (const variable of Object.keys(environment)) {
    if (!variable.startsWith('ATELIER_ADAPTER_') || !environment[variable] || known.includes(variable)) continue;
    const nearest = closest(variable, known);
    const meant =
      distance(variable, nearest) <= 3 ? `; did you mean ${nearest}?` : '; is its plugin in ATELIER_PLUGINS?';
    throw new ConfigError(`${variable}: no adapter here is called so${meant}`);
  }
}

function load(adapter: Adapter, environment: NodeJS.ProcessEnv): LoadedAdapter {
  const { config, unset } = readAdapterConfig(adapter, environment);
  const { credentials, missing } = readCredentials(adapter, config, environment);
  const models = Array.isArray(adapter.models) ? adapter.models : [];
  return { adapter, config, credentials, models, disabled: unset ?? missing };
}

const maxCredentials = 100;

/** NAME, NAME_2, NAME_3 …, each from the environment or from the file that NAME_FILE names. */
function readCredentials(
  adapter: Adapter,
  config: unknown,
  environment: NodeJS.ProcessEnv,
): { credentials: Credential[]; missing?: string } {
  const declared = Object.entries(adapter.secrets ?? {}).map(([name, { required }]) => ({
    name,
    required: typeof required === 'function' ? config !== undefined && required(config) : required,
  }));
  const credentials: Credential[] = [];
  for (let number = 1; number <= maxCredentials; number++) {
    const suffix = number === 1 ? '' : `_${number}`;
    const secrets: Record<string, string> = {};
    for (const { name } of declared) {
      const value = readSecret(environment, `${name}${suffix}`);
      if (value) secrets[name] = value;
    }
    if (number > 1 && Object.keys(secrets).length === 0) {
      for (const { name } of declared)
        if (environment[`${name}_${number + 1}`] || environment[`${name}_${number + 1}_FILE`])
          throw new ConfigError(
            `${name}_${number + 1} is set, and ${name}_${number} is not; number them without a gap`,
          );
      break;
    }
    const lacking = declared.filter(({ name, required }) => required && !secrets[name]).map(({ name }) => name);
    if (number === 1 && lacking.length > 0)
      return { credentials: [{ id: identify({}), secrets: {} }], missing: `set ${lacking.join(' and ')}` };
    if (lacking.length > 0)
      throw new ConfigError(`adapter "${adapter.name}": credential ${number} lacks ${lacking.join(' and ')}`);
    credentials.push({ id: identify(secrets), secrets });
  }
  return { credentials };
}

function readSecret(environment: NodeJS.ProcessEnv, name: string): string | undefined {
  const file = environment[`${name}_FILE`];
  if (!file) return environment[name];
  if (environment[name]) throw new ConfigError(`${name} and ${name}_FILE are both set; set one of the two`);
  let value: string;
  try {
    value = readFileSync(file, 'utf8').trim();
  } catch (cause) {
    throw new ConfigError(`${name}_FILE: ${(cause as Error).message}`, { cause });
  }
  if (!value) throw new ConfigError(`${name}_FILE: ${file} is empty`);
  return value;
}

/** No secret can be told from it. */
function identify(secrets: Record<string, string>): string {
  return createHash('sha256').update(JSON.stringify(secrets)).digest('hex').slice(0, 12);
}

function readAdapterConfig(adapter: Adapter, environment: NodeJS.ProcessEnv): { config: unknown; unset?: string } {
  const variable = configVariable(adapter);
  const text = environment[variable];
  if (!adapter.config) {
    if (text) throw new ConfigError(`${variable} is set, and the adapter "${adapter.name}" takes no configuration`);
    return { config: undefined };
  }
  let given: unknown;
  try {
    given = JSON.parse(text || '{}');
  } catch {
    throw new ConfigError(`${variable} must be JSON`);
  }
  const parsed = adapter.config.safeParse(given);
  if (parsed.success) return { config: parsed.data };
  const issues = parsed.error.issues.map((issue) => [issue.path.join('.'), issue.message].filter(Boolean).join(': '));
  if (!text) return { config: undefined, unset: `set ${variable}: ${issues.join('; ')}` };
  throw new ConfigError(`${variable}: ${issues.join('; ')}`);
}

/** The name of the setting that holds an adapter's configuration. */
export function configVariable(adapter: Pick<Adapter, 'name'>): string {
  return `ATELIER_ADAPTER_${adapter.name.toUpperCase().replaceAll('-', '_')}`;
}
