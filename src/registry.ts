import { resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import type { Config } from './config.ts';
import { readNumbers } from './config.ts';
import { ConfigError } from './errors.ts';
import { type Adapter, isAdapter, isTaskType, type TaskType } from './sdk/index.ts';
import { builtInTaskTypes } from './task-types/index.ts';

/** An adapter with its configuration and secrets read. */
export interface LoadedAdapter {
  adapter: Adapter;
  config: unknown;
  secrets: Record<string, string>;
}

/** The task types and adapters of this process: fixed at its start. */
export interface Registry {
  taskTypes: TaskType<any, any>[];
  taskType(name: string): TaskType<any, any> | undefined;
  adapters: LoadedAdapter[];
  adapter(name: string): LoadedAdapter | undefined;
  /** Longest run of a task type in milliseconds, the operator's or its own. */
  longestRunMs(type: TaskType<any, any>): number;
}

/** A week. */
const maxRunSeconds = 604_800;
const builtInAdapters = ['local'];

/**
 * Loads the adapters in `adapters/` and what the plugins bring.
 * @throws ConfigError that names the adapter or plugin and what to mend.
 */
export async function loadRegistry(
  config: Config,
  extra: { adapters: Adapter[]; taskTypes: TaskType<any, any>[] },
): Promise<Registry> {
  const adapters: Adapter[] = [...extra.adapters];
  const taskTypes: TaskType<any, any>[] = [...builtInTaskTypes, ...extra.taskTypes];
  for (const name of builtInAdapters) adapters.push((await import(`../adapters/${name}/adapter.ts`)).default);
  for (const plugin of config.ATELIER_PLUGINS) {
    // A path is the operator's: it counts from where he starts Atelier, not from this file.
    const specifier = /^[./]/.test(plugin) ? pathToFileURL(resolve(plugin)).href : plugin;
    const module = await import(specifier).catch((cause) => {
      throw new ConfigError(`plugin "${plugin}" cannot be loaded: ${cause.message}`, { cause });
    });
    const exported = Object.values(module).flat();
    adapters.push(...exported.filter(isAdapter));
    taskTypes.push(...exported.filter(isTaskType));
  }

  const types = new Map<string, TaskType<any, any>>();
  for (const type of taskTypes) {
    if (types.has(type.name)) throw new ConfigError(`two task types are called "${type.name}"; rename one`);
    types.set(type.name, type);
  }
  const loaded = new Map<string, LoadedAdapter>();
  for (const adapter of adapters) {
    if (loaded.has(adapter.name)) throw new ConfigError(`two adapters are called "${adapter.name}"; rename one`);
    for (const type of adapter.models.flatMap((model) => model.taskTypes)) {
      if (!types.has(type))
        throw new ConfigError(`adapter "${adapter.name}" names the task type ${type}, which nothing here defines`);
    }
    loaded.set(adapter.name, load(adapter));
  }
  const longest = readNumbers(config.ATELIER_LONGEST_RUN_SECONDS);
  for (const [name, seconds] of Object.entries(longest)) {
    if (!types.has(name))
      throw new ConfigError(`ATELIER_LONGEST_RUN_SECONDS names ${name}, which is no task type here`);
    if (seconds < 1 || seconds > maxRunSeconds)
      throw new ConfigError(`ATELIER_LONGEST_RUN_SECONDS: ${name} must be from 1 to ${maxRunSeconds}`);
  }
  return {
    taskTypes: [...types.values()],
    taskType: (name) => types.get(name),
    adapters: [...loaded.values()],
    adapter: (name) => loaded.get(name),
    longestRunMs: (type) => (longest[type.name] ?? type.longestRunSeconds) * 1000,
  };
}

function load(adapter: Adapter): LoadedAdapter {
  const variable = `ATELIER_ADAPTER_${adapter.name.toUpperCase().replaceAll('-', '_')}`;
  const secrets: Record<string, string> = {};
  for (const [name, { required }] of Object.entries(adapter.secrets ?? {})) {
    const value = process.env[name];
    if (value) secrets[name] = value;
    else if (required) throw new ConfigError(`adapter "${adapter.name}" needs ${name} in the environment`);
  }
  if (!adapter.config) return { adapter, config: undefined, secrets };
  let given: unknown;
  try {
    given = JSON.parse(process.env[variable] ?? '{}');
  } catch {
    throw new ConfigError(`${variable} must be JSON`);
  }
  const parsed = adapter.config.safeParse(given);
  if (!parsed.success)
    throw new ConfigError(
      `${variable}: ${parsed.error.issues.map((issue) => `${issue.path.join('.')}: ${issue.message}`).join('; ')}`,
    );
  return { adapter, config: parsed.data, secrets };
}
