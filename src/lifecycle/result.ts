import { type TaskType, z } from '../sdk/index.ts';

/** The part of a JSON Schema that says where a result holds files. */
interface Schema {
  graphql?: string;
  properties?: { [name: string]: Schema };
  items?: Schema;
  anyOf?: Schema[];
}

/** True when a result of this type holds files, so that success without an output is a failure. */
export function givesFiles(type: TaskType<any, any>): boolean {
  return holdsFiles(schemaOf(type));
}

/**
 * A result with its files replaced, where, and only where, the type's schema has one: JSON that a model wrote may look like
 * a file and is none. Adapters give `{ output: 1 }`, kept is `{ assetId: … }`, clients see an asset.
 */
export function mapFiles<File>(type: TaskType<any, any>, result: unknown, map: (file: File) => unknown): unknown {
  return mapBy(schemaOf(type), result, map);
}

const schemas = new WeakMap<TaskType<any, any>, Schema>();

function schemaOf(type: TaskType<any, any>): Schema {
  const schema = schemas.get(type) ?? (z.toJSONSchema(type.result) as Schema);
  schemas.set(type, schema);
  return schema;
}

function holdsFiles(schema: Schema): boolean {
  const inner = [...Object.values(schema.properties ?? {}), schema.items ?? {}, ...(schema.anyOf ?? [])];
  return schema.graphql === 'Asset' || (Object.keys(schema).length > 0 && inner.some(holdsFiles));
}

function mapBy<File>(schema: Schema, value: unknown, map: (file: File) => unknown): unknown {
  if (value === null || typeof value !== 'object' || !holdsFiles(schema)) return value;
  if (schema.graphql === 'Asset') return map(value as File);
  const chosen = schema.anyOf?.find(holdsFiles);
  if (chosen) return mapBy(chosen, value, map);
  if (Array.isArray(value)) return value.map((each) => mapBy(schema.items ?? {}, each, map));
  const entries = Object.entries(value).map(([key, each]) => [key, mapBy(schema.properties?.[key] ?? {}, each, map)]);
  return Object.fromEntries(entries);
}
