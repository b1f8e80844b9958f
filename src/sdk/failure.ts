import type { Usage } from './task-type.ts';

/**
 * What went wrong, in the ten classes that decide what Atelier does next:
 *
 * | class | retried | other providers | credits |
 * |---|---|---|---|
 * | `retryable`: known to have bought nothing | with backoff | after its attempts | held |
 * | `rate_limited` | after `retryAfterMs` | if the route allows | held |
 * | `invalid_input` | no | no | released |
 * | `content_policy` | no | no | released unless billed |
 * | `authentication`, `quota`: the operator's | no | yes | held |
 * | `permanent` | no | yes | released unless billed |
 * | `expired`: a URL or job is gone | the result is fetched again | no | by what was billed |
 * | `deadline` | no | no | by what was billed |
 * | `ambiguous`: a paid call whose answer was lost | no | no | held until reviewed |
 * | `bug`: anything else that was thrown | once, unless a paid call may have been made | likewise | released |
 */
export const failureClasses = [
  'retryable',
  'rate_limited',
  'invalid_input',
  'content_policy',
  'authentication',
  'quota',
  'permanent',
  'expired',
  'deadline',
  'ambiguous',
  'bug',
] as const;

/** One of {@link failureClasses}. */
export type FailureClass = (typeof failureClasses)[number];

export interface FailureFacts {
  class: FailureClass;
  /** Stable, UPPER_SNAKE: `CONTENT_POLICY`. Clients see it. */
  code: string;
  /** For the operator's log. Must hold no secret. */
  message: string;
  /** What clients see. Default: `message` for `invalid_input`, else a neutral sentence. */
  publicMessage?: string;
  /** For `invalid_input`: which fields, as paths in the task type's input. */
  issues?: { path: string[]; message: string }[];
  /** The vendor's own wish, in milliseconds from now. */
  retryAfterMs?: number;
  providerRequestId?: string;
  /** What the vendor charged for this attempt. Default and `'unknown'`: nothing. */
  billed?: Usage[] | 'nothing' | 'unknown';
}

const marker = Symbol.for('atelier.adapter-failure');

/** Throw it from any adapter method. Recognised by a marker, so two copies of this module agree. */
export class AdapterFailure extends Error {
  readonly facts: FailureFacts;
  constructor(facts: FailureFacts, options?: { cause?: unknown }) {
    super(facts.message, options);
    this.name = 'AdapterFailure';
    this.facts = facts;
    Object.defineProperty(this, marker, { value: true });
  }
}

/** True for an {@link AdapterFailure}, also of another copy of this module. */
export function isAdapterFailure(value: unknown): value is AdapterFailure {
  return typeof value === 'object' && value !== null && marker in value;
}
