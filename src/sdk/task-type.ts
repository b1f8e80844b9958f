import { z } from 'zod';

/** A quantity of something that is paid for, as `{ unit: 'second', quantity: 7 }`. Units are the task type's own words. */
export interface Usage {
  unit: string;
  quantity: number;
}

/** What a stored file is, told from its first bytes, never from its name. */
export type AssetKind = 'IMAGE' | 'VIDEO' | 'AUDIO' | 'TEXT' | 'OTHER';

/** An input that is a list of files: one field with URLs and, beside it, one with the ids of assets uploaded before. */
export interface FileInput {
  /** Name of the input field that holds URLs. Also the key under which the files stand in {@link RequestContext.files}. */
  urls: string;
  /** Name of the input field that holds asset ids. Files of both follow each other: URLs first. */
  assetIds: string;
  /** Kinds that are accepted. */
  kinds: AssetKind[];
  /** The most files, URLs and assets together. */
  maxCount: number;
}

/**
 * A kind of work: one schema for its input and one for its result. From them Atelier makes the GraphQL input, the GraphQL
 * objects, the validation and the TypeScript types, so that a task type is one file.
 */
export interface TaskType<Input extends z.ZodObject = z.ZodObject, Result extends z.ZodObject = z.ZodObject> {
  /** snake_case: `generate_image`. A plugin's begins with its vendor: `acme_restore_photo`. */
  name: string;
  /** One sentence for the schema: what a task of this type makes. */
  description: string;
  /** The queue it waits in: `gpu_heavy`, `gpu_medium`, `cpu_intensive`, or a lane of your own. */
  lane: string;
  /** From the first start to the deadline, over all attempts. Operators can change it. */
  longestRunSeconds: number;
  /** Every field described and limited: both show in the GraphQL schema. Build special fields with {@link fields}. */
  input: Input;
  /** What the task gives when it is COMPLETED. Files are `fields.asset()`. */
  result: Result;
  /** Which inputs are files. Default: none. */
  files?: FileInput[];
  /** Checks across fields that the schema alone cannot say. Default: none. */
  check?(input: z.output<Input>): { path: string[]; message: string }[];
  /** The most that this input can use, for the quote. PURE. An adapter's own `estimate` wins over it. */
  estimate(input: z.output<Input>): Usage[];
  /** Prices that a new installation starts with, as decimal strings; operators set their own with `setPrice`. Default: none. */
  prices?: { unit: string; creditsPerUnit: string }[];
}

export type TaskInput<Type> = Type extends TaskType<infer Input, any> ? z.output<Input> : never;
export type TaskResult<Type> = Type extends TaskType<any, infer Result> ? z.output<Result> : never;

/** Marks a value as a task type across copies of this module, where `instanceof` would fail. */
const marker = Symbol.for('atelier.task-type');

/**
 * Declares a task type.
 * @throws TypeError when the name, the lane or the files do not fit; the message says what to change.
 */
export function defineTaskType<Input extends z.ZodObject, Result extends z.ZodObject>(
  type: TaskType<Input, Result>,
): TaskType<Input, Result> {
  const fail = (message: string): never => {
    throw new TypeError(`task type "${type.name}": ${message}`);
  };
  if (!/^[a-z][a-z0-9]*(_[a-z0-9]+)+$/.test(type.name))
    fail('its name must be snake_case with at least two words, as acme_restore_photo');
  if (!/^[a-z][a-z0-9_]*$/.test(type.lane)) fail('its lane must be snake_case');
  if (!(type.longestRunSeconds > 0)) fail('longestRunSeconds must be above 0');
  for (const file of type.files ?? []) {
    for (const field of [file.urls, file.assetIds])
      if (!type.input.shape[field]) fail(`files names "${field}", which the input lacks`);
  }
  // A field that nobody reads is a mistake, also where no GraphQL has refused it before.
  return Object.freeze(Object.assign({}, type, { input: type.input.strict() as unknown as Input, [marker]: true }));
}

/** True for what {@link defineTaskType} made, also by another copy of this module. */
export function isTaskType(value: unknown): value is TaskType<any, any> {
  return typeof value === 'object' && value !== null && marker in value;
}

/** Zod fields whose meaning GraphQL needs to know. Chain `.describe(...)`, `.optional()`, `.default(...)` as usual. */
export const fields = {
  /** A whole number within ±(2^53−1): GraphQL `SafeInt`. */
  safeInt: () => z.int().meta({ graphql: 'SafeInt' }),
  /** Any JSON value: GraphQL `JSON`. */
  json: () => z.json().meta({ graphql: 'JSON' }),
  /** A JSON object of provider options, checked by the adapter against the model's own schema: GraphQL `JSON`. */
  options: () =>
    z
      .record(z.string(), z.json())
      .meta({ graphql: 'JSON' })
      .optional()
      .describe("The model's own options, checked against its schema in `providers`."),
  /** http(s) URLs of files, at most `max`: GraphQL `[URL!]`. */
  urls: (max: number) =>
    z
      .array(
        z
          .url({ protocol: /^https?$/ })
          .max(8192)
          .meta({ graphql: 'URL' }),
      )
      .max(max),
  /** Ids of assets that were uploaded or made before, at most `max`: GraphQL `[ID!]`. */
  assetIds: (max: number) => z.array(z.string().max(64).meta({ graphql: 'ID' })).max(max),
  /** In a result: the place of a file among the adapter's outputs, 0 = the first. Clients see the stored `Asset`. */
  asset: () => z.object({ output: z.int().min(0) }).meta({ graphql: 'Asset' }),
  /** A closed set of words: a GraphQL enum of this name. Values are UPPER_SNAKE. */
  enumeration: <const Values extends [string, ...string[]]>(name: string, values: Values) =>
    z.enum(values).meta({ graphqlEnum: name }),
  /** A nested object: a GraphQL type of this name. */
  object: <Shape extends z.ZodRawShape>(name: string, shape: Shape) => z.object(shape).meta({ graphqlType: name }),
};
