import { GraphQLError, Kind, type ValueNode, valueFromASTUntyped } from 'graphql';
import { Prisma } from '../db.ts';
import type { Builder } from './builder.ts';

const largest = Number.MAX_SAFE_INTEGER;
/** Far from where checking it further, or storing it, would overflow a stack. */
const deepest = 64;

/** The scalars beside GraphQL's own. All are strict: what does not fit is refused with a sentence that says what does. */
export function addScalars(builder: Builder): void {
  builder.scalarType('DateTime', {
    description:
      'A moment: RFC 3339 in UTC with milliseconds, as "2026-03-01T12:00:00.000Z". Other offsets are accepted and converted.',
    serialize: (value) => value.toISOString(),
    parseValue: readDateTime,
    parseLiteral: (node) => located(node, () => readDateTime(valueFromASTUntyped(node))),
  });
  builder.scalarType('JSON', {
    description: `Any JSON value. What is sent may be nested ${deepest} deep.`,
    serialize: (value) => value,
    parseValue: readJson,
    parseLiteral: (node, variables) => located(node, () => readJson(valueFromASTUntyped(node, variables))),
  });
  builder.scalarType('URL', {
    description: 'An absolute http or https URL of at most 8,192 characters.',
    serialize: (value) => value,
    parseValue: readUrl,
    parseLiteral: (node) => located(node, () => readUrl(valueFromASTUntyped(node))),
  });
  builder.scalarType('Credits', {
    description: 'Credits: a whole number, 0 to 9,007,199,254,740,991.',
    serialize: Number,
    parseValue: (value) => readWhole(value, 'Credits', 0),
    parseLiteral: (node) => located(node, () => readWhole(numberOf(node), 'Credits', 0)),
  });
  builder.scalarType('SafeInt', {
    description: 'A whole number, ±9,007,199,254,740,991: every one that a JSON number carries exactly.',
    serialize: Number,
    parseValue: (value) => readWhole(value, 'SafeInt', -largest),
    parseLiteral: (node) => located(node, () => readWhole(numberOf(node), 'SafeInt', -largest)),
  });
  builder.scalarType('Decimal', {
    description: 'A decimal number as a string, as "0.0025"; at most 18 digits before the point and 12 behind it.',
    serialize: (value) => new Prisma.Decimal(value).toFixed(),
    parseValue: readDecimal,
    parseLiteral: (node) => located(node, () => readDecimal(valueFromASTUntyped(node))),
  });
}

function readDateTime(value: unknown): Date {
  const match =
    typeof value === 'string' && /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)$/i.test(value);
  const date = match ? new Date(value) : null;
  // Date rolls 30 February over into March.
  const day = match ? Number(value.slice(8, 10)) : 0;
  const exists =
    match && day > 0 && day <= new Date(Date.UTC(Number(value.slice(0, 4)), Number(value.slice(5, 7)), 0)).getUTCDate();
  if (!date || !exists || Number.isNaN(date.getTime()))
    refuse('DateTime must be RFC 3339, as "2026-03-01T12:00:00.000Z"');
  // Postgres has no year 0, and ISO 8601 no fifth digit.
  const year = date.getUTCFullYear();
  if (year < 1 || year > 9999) refuse('DateTime must be in the years 0001 to 9999, in UTC');
  return date;
}

function readJson(value: unknown): unknown {
  if (isDeeper(value, deepest)) refuse(`JSON must not be nested more than ${deepest} deep`);
  return value;
}

function isDeeper(value: unknown, levels: number): boolean {
  if (typeof value !== 'object' || value === null) return false;
  return levels === 0 || Object.values(value).some((each) => isDeeper(each, levels - 1));
}

function readUrl(value: unknown): string {
  if (
    typeof value !== 'string' ||
    value.length > 8192 ||
    !URL.canParse(value) ||
    !/^https?:$/.test(new URL(value).protocol)
  ) {
    refuse('URL must be an absolute http or https URL of at most 8,192 characters');
  }
  return value;
}

function readWhole(value: unknown, name: string, smallest: number): number {
  if (typeof value !== 'number' || !Number.isSafeInteger(value) || value < smallest) {
    refuse(`${name} must be a whole number, ${smallest} to ${largest}`);
  }
  return value;
}

function readDecimal(value: unknown): string {
  if (typeof value !== 'string' || !/^-?\d{1,18}(\.\d{1,12})?$/.test(value)) {
    refuse('Decimal must be a string like "0.0025", at most 18 digits before the point and 12 behind it');
  }
  return value;
}

const numberOf = (node: ValueNode): unknown => (node.kind === Kind.INT ? Number(node.value) : undefined);

/** Reads a literal; what is refused then says where in the document it stands. */
function located<Value>(node: ValueNode, read: () => Value): Value {
  try {
    return read();
  } catch (error) {
    if (!(error instanceof GraphQLError)) throw error;
    throw new GraphQLError(error.message, { nodes: node, extensions: error.extensions });
  }
}

function refuse(message: string): never {
  throw new GraphQLError(message, { extensions: { code: 'BAD_REQUEST' } });
}
