import { AdapterFailure, type TaskType, z } from '../sdk/index.ts';

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
 * A result as it is kept: `{ output: 1 }` becomes `{ assetId: … }` where, and only where, the type's schema has a file.
 * @param assets ids by the outputs' places.
 * @throws AdapterFailure when the result names an output that is not there.
 */
export function placeAssets(type: TaskType<any, any>, result: unknown, assets: string[]): unknown {
  return place(schemaOf(type), result, assets);
}

const schemaOf = (type: TaskType<any, any>): Schema => z.toJSONSchema(type.result) as Schema;

function holdsFiles(schema: Schema): boolean {
  const inner = [
    ...Object.values(schema.properties ?? {}),
    ...(schema.items ? [schema.items] : []),
    ...(schema.anyOf ?? []),
  ];
  return schema.graphql === 'Asset' || inner.some(holdsFiles);
}

function place(schema: Schema, value: unknown, assets: string[]): unknown {
  if (value === null || typeof value !== 'object' || !holdsFiles(schema)) return value;
  if (schema.graphql === 'Asset') {
    const assetId = assets[(value as { output: number }).output];
    if (!assetId)
      throw new AdapterFailure({
        class: 'bug',
        code: 'NO_OUTPUT',
        message: 'the result names an output that is not there',
      });
    return { assetId };
  }
  const chosen = schema.anyOf?.find(holdsFiles);
  if (chosen) return place(chosen, value, assets);
  if (Array.isArray(value)) return value.map((each) => place(schema.items ?? {}, each, assets));
  return Object.fromEntries(
    Object.entries(value).map(([key, each]) => [key, place(schema.properties?.[key] ?? {}, each, assets)]),
  );
}
