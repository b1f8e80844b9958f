/** Bad configuration: stops the start with a message that says what to change. */
export class ConfigError extends Error {
  override name = 'ConfigError';
}

/**
 * An expected refusal, the caller's to mend. The GraphQL layer turns it into the member of a result union named `kind`.
 * `code` is stable; `facts` holds the numbers he needs.
 */
export class Refusal<Kind extends keyof RefusalFacts = keyof RefusalFacts> extends Error {
  override name = 'Refusal';
  readonly kind: Kind;
  readonly code: string;
  readonly facts: RefusalFacts[Kind];
  constructor(kind: Kind, code: string, message: string, facts: RefusalFacts[Kind]) {
    super(message);
    this.kind = kind;
    this.code = code;
    this.facts = facts;
  }
}

export interface FieldIssue {
  /** From the mutation's `input` down, or its argument's name, as `['task', 'generateImage', 'width']`. */
  path: string[];
  message: string;
}

export interface RefusalFacts {
  ValidationError: { issues: FieldIssue[] };
  InsufficientCreditsError: { required: number; available: number };
  IdempotencyMismatchError: { existingId: string };
  RunAlreadyActiveError: { runId: string };
  ProviderUnavailableError: { provider?: string; retryAfterMs?: number };
  NotFoundError: Record<string, never>;
  LimitExceededError: { limit: number; retryAfterMs?: number };
  ConflictError: Record<string, never>;
  ForbiddenError: { requiredScope: string };
  UnavailableError: { retryAfterMs: number };
}

export const validation = (issues: FieldIssue[]): Refusal =>
  new Refusal(
    'ValidationError',
    'VALIDATION',
    issues.map((issue) => `${issue.path.join('.')}: ${issue.message}`).join('; '),
    { issues },
  );

/** What a caller sent, as a refusal repeats it: in quotation marks, at most 100 characters of it. */
export function quoted(value: string): string {
  const [beginning] = /^.{0,100}/su.exec(value)!;
  return `"${beginning}${beginning === value ? '' : '…'}"`;
}

/** One answer for a missing id, an id of another type and one of another account: nobody learns which. */
export const notFound = (what: string): Refusal => new Refusal('NotFoundError', 'NOT_FOUND', `No such ${what}.`, {});

export const conflict = (code: string, message: string): Refusal => new Refusal('ConflictError', code, message, {});

export const forbidden = (requiredScope: string): Refusal =>
  new Refusal('ForbiddenError', 'FORBIDDEN', `This needs a key with the scope ${requiredScope}.`, { requiredScope });

/** Something outside answered badly or not at all. Begins with what was tried; `retryable` says whether trying again can help. */
export class OutsideError extends Error {
  override name = 'OutsideError';
  readonly retryable: boolean;
  constructor(message: string, options: { retryable: boolean; cause?: unknown }) {
    super(message, { cause: options.cause });
    this.retryable = options.retryable;
  }
}
