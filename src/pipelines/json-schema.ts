import { Ajv } from 'ajv';
import type { FieldIssue } from '../errors.ts';

/**
 * What is wrong with a value, by a JSON Schema.
 * @param options.fills puts the schema's defaults into the value where it has nothing.
 */
export function schemaIssues(
  schema: object,
  value: unknown,
  path: string[],
  options: { fills?: boolean } = {},
): FieldIssue[] {
  const check = compile(schema, options.fills);
  if (check(value)) return [];
  return (check.errors ?? []).map(({ instancePath, params, message = 'does not fit' }) => ({
    path: [
      ...path,
      ...instancePath.split('/').slice(1),
      ...('missingProperty' in params ? [params.missingProperty] : []),
      ...('additionalProperty' in params ? [params.additionalProperty] : []),
    ],
    message,
  }));
}

/** Why something is no JSON Schema that values can be held against. Undefined: it is one. */
export function schemaProblem(schema: object): string | undefined {
  try {
    compile(schema);
    return undefined;
  } catch (error) {
    return `is no JSON Schema: ${(error as Error).message}`;
  }
}

/** An expression of a client's could keep the process busy without end. */
const noPatterns = Object.assign(
  () => {
    throw new Error('`pattern` and `patternProperties` are not taken here');
  },
  { code: 'noPatterns' },
);

/** A new Ajv each time: one keeps every schema that it has seen, and refuses an $id that it knows. */
const compile = (schema: object, useDefaults = false) =>
  new Ajv({ allErrors: true, strict: false, logger: false, useDefaults, code: { regExp: noPatterns } }).compile(schema);
