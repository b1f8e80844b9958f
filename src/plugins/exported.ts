import { ConfigError } from '../errors.ts';
import {
  type Adapter,
  isAdapter,
  isPipeline,
  isTaskType,
  isTransform,
  type PipelineTransform,
  type TaskType,
  type z,
} from '../sdk/index.ts';

/** What a plugin brings. */
export interface Exported {
  adapters: Adapter[];
  taskTypes: TaskType<any, any>[];
  pipelines: { name: string }[];
  transforms: PipelineTransform[];
}

const contract = 1;

/**
 * The adapters, task types, pipelines and transforms among the exports of a module, each once; lists of them, and the object that CommonJS exports, are looked into.
 * @param where begins each message: names the plugin.
 * @throws ConfigError for none, and for one that Atelier cannot use; the message says what to change.
 */
export function readExports(module: object, where: string): Exported {
  const values = new Map<unknown, string>();
  for (const [name, value] of Object.entries(module).flatMap((entry) => unfold(entry)))
    if (!values.has(value)) values.set(value, name);
  const exported: Exported = { adapters: [], taskTypes: [], pipelines: [], transforms: [] };
  for (const [value, name] of values) {
    if (isAdapter(value)) exported.adapters.push(checkAdapter(value, where));
    else if (isTaskType(value)) exported.taskTypes.push(checkTaskType(value, where));
    else if (isPipeline(value)) exported.pipelines.push(value);
    else if (isTransform(value)) exported.transforms.push(value);
    else refuseUnmade(value, `${where}: its export ${name}`);
  }
  if (Object.values(exported).every((list) => list.length === 0)) {
    const names = Object.keys(module);
    const shown = names.length > 5 ? [...names.slice(0, 5), '…'] : names;
    const has = names.length > 0 ? `only ${shown.join(', ')}` : 'nothing';
    throw new ConfigError(
      `${where} brings no adapter, task type, pipeline or transform: it exports ${has}; export what defineAdapter, defineTaskType, definePipeline or defineTransform returns`,
    );
  }
  return exported;
}

/** A value; for a list or a plain object, what is in it beside it. Two levels: `export default { adapters: […] }`. */
function unfold([name, value]: [string, unknown], levels = 2): [string, unknown][] {
  const isMade = isAdapter(value) || isTaskType(value) || isPipeline(value) || isTransform(value);
  if (isMade || levels === 0 || typeof value !== 'object' || value === null) return [[name, value]];
  if (!Array.isArray(value) && Object.getPrototypeOf(value) !== Object.prototype) return [[name, value]];
  const members = Object.entries(value).flatMap(([key, each]) => unfold([`${name}.${key}`, each], levels - 1));
  return [[name, value], ...members];
}

/** A TypeError of defineAdapter has refused more already, while the plugin was loaded; this is for one of another copy of it. */
function checkAdapter(adapter: Adapter, where: string): Adapter {
  const subject = `${where}: its adapter "${adapter.name}"`;
  const speaks: number = adapter.contract;
  if (speaks !== contract) {
    const cure = speaks > contract ? 'update Atelier' : 'update the plugin';
    throw new ConfigError(
      `${subject} speaks contract ${speaks}; this Atelier speaks ${contract}: ${cure}, or take a release of the plugin that speaks ${contract}`,
    );
  }
  if (adapter.config) checkSchema(adapter.config, `${subject}: config`);
  if (Array.isArray(adapter.models)) {
    for (const { id, options } of adapter.models)
      if (options) checkSchema(options, `${subject}: the options of model "${id}"`);
  }
  return adapter;
}

function checkTaskType(type: TaskType<any, any>, where: string): TaskType<any, any> {
  for (const side of ['input', 'result'] as const)
    checkSchema(type[side], `${where}: its task type "${type.name}": ${side}`);
  return type;
}

function checkSchema(schema: unknown, subject: string): void {
  const version = zodVersion(schema);
  if (version !== 4)
    throw new ConfigError(`${subject} is ${version ? 'a schema of zod 3' : 'no zod schema'}; ${ourZod}`);
  const { shape = {} } = (schema as z.ZodObject).def;
  for (const [name, field] of Object.entries(shape))
    if (zodVersion(field) !== 4) throw new ConfigError(`${subject}.${name} is no schema of zod 4; ${ourZod}`);
}

const ourZod = "take `z` from 'atelier/adapter'";

/** Every schema of zod 4 has `_zod`, whichever copy made it; one of zod 3, also of `zod/v3`, has only `_def`. */
function zodVersion(schema: unknown): 3 | 4 | undefined {
  const { _zod, _def } = Object(schema);
  return _zod ? 4 : _def ? 3 : undefined;
}

function refuseUnmade(value: unknown, subject: string): void {
  if (typeof value !== 'object' || value === null) return;
  const cure = (maker: string) => `was not made by ${maker}; export ${maker}({ … }) of 'atelier/adapter'`;
  if ('transformers' in value && 'start' in value)
    throw new ConfigError(`${subject} looks like an adapter and ${cure('defineAdapter')}`);
  if ('lane' in value && 'input' in value && 'result' in value)
    throw new ConfigError(`${subject} looks like a task type and ${cure('defineTaskType')}`);
  if ('name' in value && 'apply' in value)
    throw new ConfigError(`${subject} looks like a transform and ${cure('defineTransform')}`);
  if ('name' in value && 'stages' in value)
    throw new ConfigError(`${subject} looks like a pipeline and ${cure('definePipeline')}`);
}
