import type { EnumRef, InputRef, ObjectRef } from '@pothos/core';
import { ConfigError } from '../errors.ts';
import { memberName } from '../lifecycle/plan.ts';
import type { Registry } from '../registry.ts';
import type { TaskType } from '../sdk/index.ts';
import type { Builder } from './builder.ts';
import { type Field, readFields, spell } from './zod-fields.ts';

/** generate_image → GenerateImage: what the names of its GraphQL types begin with. */
export const typeName = (taskType: string): string =>
  memberName(taskType).replace(/^./, (letter) => letter.toUpperCase());

/** Of one task type: the member of `TaskInput`, the mirror of it on a task, and the result. */
export interface TaskTypeRefs {
  type: TaskType<any, any>;
  name: string;
  member: string;
  input: InputRef<Record<string, unknown>>;
  parameters: ObjectRef<any, Record<string, unknown>>;
  result: ObjectRef<any, Record<string, unknown>>;
  /** What a stored input lacks that an older release wrote. */
  defaults: Record<string, unknown>;
  /** Drops explicit nulls, which mean "not given", but those inside of JSON values. */
  dropNulls(input: Record<string, unknown>): Record<string, unknown>;
}

/**
 * The GraphQL types that follow from the registry: `TaskType`, and for each task type `<Name>Input`, `<Name>Parameters`
 * and `<Name>Result`.
 * @throws ConfigError for a schema that GraphQL cannot say, and for a field whose type differs from that of the same name in
 *   another task type: one query over both would be refused.
 */
export function createTaskTypeGraph(builder: Builder, registry: Registry) {
  const TaskTypeEnum = builder.enumType('TaskType', {
    description: 'The kinds of work that this installation knows. It grows: accept unknown members.',
    values: Object.fromEntries(
      registry.taskTypes.map(({ name, description }) => [name.toUpperCase(), { value: name, description }]),
    ),
  });
  const named = new Map<string, { shape: string; ref: unknown }>();
  const seen = { Parameters: new Map<string, [string, string]>(), Result: new Map<string, [string, string]>() };

  const taskTypes = registry.taskTypes.map((type): TaskTypeRefs => {
    const name = typeName(type.name);
    const where = `task type "${type.name}"`;
    const given = readFields(type.input, 'input', `${where}: input`);
    const stored = readFields(type.input, 'output', `${where}: input`);
    const made = readFields(type.result, 'output', `${where}: result`);
    agree(seen.Parameters, `${name}Parameters`, stored);
    agree(seen.Result, `${name}Result`, made);
    return {
      type,
      name,
      member: memberName(type.name),
      input: inputType(builder, named, `${name}Input`, type.description, given),
      parameters: outputType(
        builder,
        named,
        `${name}Parameters`,
        `What a task of type ${type.name} was asked for, defaults filled in.`,
        stored,
      ),
      result: outputType(builder, named, `${name}Result`, `What a task of type ${type.name} gave.`, made),
      defaults: Object.fromEntries(
        given.filter((field) => field.default !== undefined).map((field) => [field.name, field.default]),
      ),
      dropNulls: (input) => dropNulls(given, input),
    };
  });
  return { TaskType: TaskTypeEnum, taskTypes };
}

/** Members of a union conflict in one query when a field of the same name has another type, or only another nullability. */
function agree(seen: Map<string, [string, string]>, owner: string, fields: Field[]): void {
  for (const field of fields) {
    const spelt = spell(field);
    const [other, otherSpelt] = seen.get(field.name) ?? [owner, spelt];
    if (otherSpelt !== spelt) {
      throw new ConfigError(
        `${owner}.${field.name} is ${spelt}, but ${other}.${field.name} is ${otherSpelt}: the same field name must have the same type in all task types; rename one`,
      );
    }
    seen.set(field.name, [other, otherSpelt]);
  }
}

type Named = Map<string, { shape: string; ref: unknown }>;

function inputType(
  builder: Builder,
  named: Named,
  name: string,
  description: string,
  fields: Field[],
): InputRef<Record<string, unknown>> {
  return builder.inputType(name, {
    description,
    fields: (t) =>
      Object.fromEntries(
        fields.map((field) => [
          field.name,
          t.field({
            type: (field.list ? [inputOf(builder, named, field)] : inputOf(builder, named, field)) as never,
            required: field.list ? { list: field.required, items: true } : field.required,
            defaultValue: field.default as never,
            description: field.description,
          } as never),
        ]),
      ),
  }) as unknown as InputRef<Record<string, unknown>>;
}

function outputType(
  builder: Builder,
  named: Named,
  name: string,
  description: string,
  fields: Field[],
): ObjectRef<any, Record<string, unknown>> {
  return builder.objectRef<Record<string, unknown>>(name).implement({
    description,
    fields: (t) =>
      Object.fromEntries(
        fields.map((field) => [
          field.name,
          t.field({
            type: (field.list ? [outputOf(builder, named, field)] : outputOf(builder, named, field)) as never,
            nullable: !field.required,
            description: field.description,
            resolve: (value: Record<string, unknown>) => value[field.name] as never,
          } as never),
        ]),
      ) as never,
  });
}

function inputOf(builder: Builder, named: Named, field: Field): unknown {
  if (field.words) return enumOf(builder, named, field);
  if (!field.fields) return field.type;
  const { type, description, fields } = field;
  return once(named, `${type}Input`, fields.map(spell).join(), () =>
    inputType(builder, named, `${type}Input`, description, fields),
  );
}

function outputOf(builder: Builder, named: Named, field: Field): unknown {
  if (field.words) return enumOf(builder, named, field);
  if (!field.fields) return field.type;
  const { type, description, fields } = field;
  return once(named, type, fields.map((each) => `${each.name}: ${spell(each)}`).join(), () =>
    outputType(builder, named, type, description, fields),
  );
}

function enumOf(builder: Builder, named: Named, { type, words = [] }: Field): EnumRef<any, any> {
  return once(named, type, words.join(), () =>
    builder.enumType(type, {
      description: `One of ${words.join(', ')}. It grows: accept unknown members.`,
      values: words,
    }),
  ) as EnumRef<any, any>;
}

/** Two task types may share a named type, if they mean the same by it. */
function once(named: Named, name: string, shape: string, make: () => unknown): unknown {
  const known = named.get(name);
  if (known && known.shape !== shape)
    throw new ConfigError(`two task types define the GraphQL type ${name} differently; rename one`);
  if (known) return known.ref;
  const ref = make();
  named.set(name, { shape, ref });
  return ref;
}

function dropNulls(fields: Field[], input: Record<string, unknown>): Record<string, unknown> {
  const entries = fields.flatMap((field): [string, unknown][] => {
    const value = input[field.name];
    if (value === null || value === undefined) return [];
    if (!field.fields) return [[field.name, value]];
    const inside = (each: unknown) => dropNulls(field.fields!, each as Record<string, unknown>);
    return [[field.name, field.list ? (value as unknown[]).map(inside) : inside(value)]];
  });
  return Object.fromEntries(entries);
}
