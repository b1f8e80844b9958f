import { Ajv } from 'ajv';
import type { FieldIssue } from '../errors.ts';

/**
 * What says what is wrong with values, by a JSON Schema.
 * @param options.fills puts the schema's defaults into the value where it has nothing. @param options.isTrusted: it is no client's; its
 * expressions are run.
 */
export function openSchema(
  schema: object,
  options: { fills?: boolean; isTrusted?: boolean } = {},
): (value: unknown, path: string[]) => FieldIssue[] {
  const check = compile(schema, options);
  return (value, path) => {
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
  };
}

/** What is wrong with one value; see {@link openSchema}. */
export function schemaIssues(schema: object, value: unknown, path: string[]): FieldIssue[] {
  return openSchema(schema)(value, path);
}

/** Why something is no JSON Schema that values can be held against. Undefined: it is one. */
export function schemaProblem(schema: object, options: { isTrusted?: boolean } = {}): string | undefined {
  try {
    compile(schema, options);
    return undefined;
  } catch (error) {
    return `is no JSON Schema: ${(error as Error).message}`;
  }
}

const reader = new Ajv({ strict: false, logger: false });

/**
 * Why something is no JSON Schema, for others to hold values against: expressions in it are not run. By draft 7, whatever `$schema` says: what
 * newer ones added is let through. Undefined: it is one.
 */
export function schemaFlaw(schema: object): string | undefined {
  if (reader.validateSchema({ ...schema, $schema: undefined })) return undefined;
  return `is no JSON Schema: ${reader.errorsText(reader.errors?.slice(0, 1), { dataVar: 'it' })}`;
}

/** An expression of a client's could keep the process busy without end. */
const noPatterns = Object.assign(
  () => {
    throw new Error('`pattern` and `patternProperties` are not taken here');
  },
  { code: 'noPatterns' },
);

/** A new Ajv each time: one keeps every schema that it has seen, and refuses an $id that it knows. By draft 7, whatever `$schema` says. */
const compile = (schema: object, { fills = false, isTrusted = false }: { fills?: boolean; isTrusted?: boolean }) =>
  new Ajv({
    allErrors: true,
    strict: false,
    logger: false,
    useDefaults: fills,
    code: isTrusted ? {} : { regExp: noPatterns },
  }).compile({ ...schema, $schema: undefined });
