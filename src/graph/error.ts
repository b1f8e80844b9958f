import { GraphQLError } from 'graphql';
import { OutsideError, Refusal, type RefusalFacts } from '../errors.ts';
import type { Log } from '../log.ts';

/** How long a caller should wait after an outage, and after a fault that waiting alone will hardly cure. Milliseconds. */
const retryAfterMs = { UNAVAILABLE: 1_000, INTERNAL: 60_000 };

const codes: Record<keyof RefusalFacts, string> = {
  ValidationError: 'BAD_REQUEST',
  InsufficientCreditsError: 'BAD_REQUEST',
  IdempotencyMismatchError: 'BAD_REQUEST',
  RunAlreadyActiveError: 'BAD_REQUEST',
  ConflictError: 'BAD_REQUEST',
  ProviderUnavailableError: 'UNAVAILABLE',
  UnavailableError: 'UNAVAILABLE',
  NotFoundError: 'NOT_FOUND',
  LimitExceededError: 'RATE_LIMITED',
  ForbiddenError: 'FORBIDDEN',
};

/** A top-level error for what the caller sent: `message` says what is allowed. */
export const badRequest = (message: string): GraphQLError =>
  new GraphQLError(message, { extensions: { code: 'BAD_REQUEST' } });

/** What an unexpected error becomes inside a result union. It is logged whole; the caller learns only whether waiting helps. */
export function unavailable(error: unknown, log: Log): Refusal<'UnavailableError'> {
  const code = isOutage(error) ? 'UNAVAILABLE' : 'INTERNAL';
  log.error({ err: error, code }, 'a mutation failed unexpectedly');
  const message =
    code === 'UNAVAILABLE'
      ? 'A part of the server does not answer; nothing is lost. Send the same request again, with the same idempotencyKey.'
      : 'Something went wrong inside the server; it has been logged.';
  return new Refusal('UnavailableError', code, message, { retryAfterMs: retryAfterMs[code] });
}

/**
 * What a top-level error shows. Refusals keep their words and get one of the contract's codes; what GraphQL itself refuses is
 * BAD_REQUEST; anything else is masked, and logged whole.
 */
export function publicError(error: unknown, log: Log): GraphQLError {
  const located = error instanceof GraphQLError ? error : undefined;
  const original = located ? innermost(located) : error;
  if (original instanceof Refusal) {
    const { kind, message, facts } = original as Refusal;
    return rewrite(located, message, { code: codes[kind], ...facts });
  }
  if (original instanceof GraphQLError) {
    const code = hasCode(original) ? original.extensions.code : 'BAD_REQUEST';
    // The outer message says where in the variables it is.
    return rewrite(located, withoutPrefix(located?.message ?? original.message), { ...original.extensions, code });
  }
  if (isOutage(original)) {
    log.error({ err: original }, 'a query failed: something outside does not answer');
    return rewrite(located, 'A part of the server does not answer; try again.', {
      code: 'UNAVAILABLE',
      retryAfterMs: retryAfterMs.UNAVAILABLE,
    });
  }
  log.error({ err: original, path: located?.path }, 'a query failed unexpectedly');
  return rewrite(located, 'Something went wrong inside the server; it has been logged.', { code: 'INTERNAL' });
}

/** True when Postgres, or something else outside, did not answer, so that the same request may pass later. */
export function isOutage(error: unknown): boolean {
  for (let at = error as any, depth = 0; at && depth < 6; at = at.cause ?? at.originalError, depth++) {
    if (at instanceof OutsideError) return at.retryable;
    const code = at.meta?.driverAdapterError?.cause?.originalCode ?? at.code;
    if (
      typeof code === 'string' &&
      /^(08|53|57P|40001|40P01|P1001|P1002|P1008|P1017|P2024|P2034|ECONN|ETIMEDOUT|EPIPE|ENOTFOUND|EAI_AGAIN|EHOSTUNREACH|ENETUNREACH)/.test(
        code,
      )
    )
      return true;
    // The pool of pg gives these no code.
    if (
      typeof at.message === 'string' &&
      /^(timeout exceeded when trying to connect|Connection terminated|Query read timeout|Client has encountered a connection error)/.test(
        at.message,
      )
    )
      return true;
    const inner = at.meta?.driverAdapterError?.cause;
    if (
      inner &&
      inner !== at &&
      inner.kind &&
      /^(SocketTimeout|ConnectionClosed|DatabaseNotReachable|TooManyConnections)$/.test(inner.kind)
    )
      return true;
    if (Array.isArray(at.errors) && at.errors.some(isOutage)) return true;
  }
  return false;
}

const ours = new Set([
  'UNAUTHENTICATED',
  'FORBIDDEN',
  'NOT_FOUND',
  'RATE_LIMITED',
  'CURSOR_EXPIRED',
  'UNAVAILABLE',
  'BAD_REQUEST',
  'INTERNAL',
]);

/** True when it carries one of the contract's codes. */
export const hasCode = (error: GraphQLError): boolean => ours.has(String(error.extensions.code));

/** The limits of an operation, which are refused before it runs, call themselves errors of syntax. */
const withoutPrefix = (message: string): string => message.replace(/^Syntax Error: (?=.*\blimit of \d)/i, '');

function innermost(error: GraphQLError): unknown {
  let at: unknown = error;
  while (at instanceof GraphQLError && at.originalError) at = at.originalError;
  return at;
}

function rewrite(
  located: GraphQLError | undefined,
  message: string,
  extensions: Record<string, unknown>,
): GraphQLError {
  const { nodes, source, positions, path } = located ?? {};
  return new GraphQLError(message, { nodes, source, positions, path, extensions });
}
