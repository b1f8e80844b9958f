import { ConfigError } from '../errors.ts';
import type { z } from '../sdk/index.ts';

/** One field of a zod object, in GraphQL's words. */
export interface Field {
  name: string;
  description: string;
  /** Name of the scalar, or of the enum or object that `words` or `fields` define. */
  type: string;
  list: boolean;
  required: boolean;
  /** What GraphQL fills in. Inputs only. */
  default?: unknown;
  /** The values of an enum. */
  words?: string[];
  /** The fields of an object. */
  fields?: Field[];
}

/** The parts of a zod schema that are read, the same in every copy of zod 4. */
interface Schema {
  def: {
    type: string;
    innerType?: Schema;
    in?: Schema;
    out?: Schema;
    element?: Schema;
    shape?: Record<string, Schema>;
    entries?: Record<string, string>;
    defaultValue?: unknown;
  };
  isInt?: boolean;
  meta(): { description?: string; graphql?: string; graphqlEnum?: string; graphqlType?: string } | undefined;
}

/**
 * Reads an object schema field by field.
 * @param side `input`: what a client gives, where defaults make a field optional; `output`: what is stored, where they make it certain.
 * @throws ConfigError that begins with `where` for what GraphQL cannot say, and for a field without a description.
 */
export function readFields(object: z.ZodObject, side: 'input' | 'output', where: string): Field[] {
  const shape = (object as unknown as Schema).def.shape ?? {};
  return Object.entries(shape).map(([name, schema]) => readField(name, schema, side, `${where}.${name}`));
}

/** A field's type as the schema prints it: `[Asset!]!`. */
export function spell(field: Field): string {
  return `${field.list ? `[${field.type}!]` : field.type}${field.required ? '!' : ''}`;
}

function readField(name: string, outer: Schema, side: 'input' | 'output', where: string): Field {
  let schema = outer;
  let description = schema.meta()?.description;
  let required = true;
  let fallback: unknown;
  for (; schema.def.innerType || schema.def.type === 'pipe'; description ??= schema.meta()?.description) {
    const { type, defaultValue, innerType } = schema.def;
    if (type === 'optional' || type === 'nullable') required = false;
    else if (type === 'default' || type === 'prefault') {
      if (side === 'input') required = false;
      fallback = defaultValue;
    }
    schema = innerType ?? (side === 'input' ? schema.def.in! : schema.def.out!);
  }
  if (!description)
    throw new ConfigError(`${where} has no description; add .describe('…') with its meaning, unit and limits`);
  const list = schema.def.type === 'array' && schema.meta()?.graphql === undefined;
  const field: Field = {
    name,
    description,
    list,
    required,
    ...readType(list ? schema.def.element! : schema, side, where),
  };
  if (side === 'input' && fallback !== undefined) field.default = fallback;
  return field;
}

function readType(schema: Schema, side: 'input' | 'output', where: string): Pick<Field, 'type' | 'words' | 'fields'> {
  const meta = schema.meta();
  if (meta?.graphql) return { type: meta.graphql };
  switch (schema.def.type) {
    case 'string':
      return { type: 'String' };
    case 'number':
      return { type: schema.isInt ? 'Int' : 'Float' };
    case 'boolean':
      return { type: 'Boolean' };
    case 'enum':
      if (!meta?.graphqlEnum)
        throw new ConfigError(`${where} is an enum without a name; use fields.enumeration('Name', […])`);
      return { type: meta.graphqlEnum, words: Object.values(schema.def.entries!) };
    case 'object':
      if (!meta?.graphqlType)
        throw new ConfigError(`${where} is an object without a name; use fields.object('Name', {…})`);
      return { type: meta.graphqlType, fields: readFields(schema as unknown as z.ZodObject, side, where) };
    default:
      throw new ConfigError(
        `${where} is a zod ${schema.def.type}, which has no GraphQL type; use a plain type, fields.object or fields.json`,
      );
  }
}
