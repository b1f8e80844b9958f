import {
  type CallPhase,
  classifyExchange,
  type FailureClass,
  type FailureFacts,
  isHttpFailure,
  retryAfterMs,
} from 'atelier/adapter';

/** `error` of OpenAI's answers: https://platform.openai.com/docs/guides/error-codes */
interface OpenAiError {
  message?: unknown;
  type?: unknown;
  code?: unknown;
}

/** By `code`, else by `type`: codes are finer. */
const meanings: Record<string, [FailureClass, string]> = {
  insufficient_quota: ['quota', 'PROVIDER_QUOTA'],
  credit_balance_exhausted: ['quota', 'PROVIDER_QUOTA'],
  organization_spend_limit_exceeded: ['quota', 'PROVIDER_QUOTA'],
  organization_usage_limit_exceeded: ['quota', 'PROVIDER_QUOTA'],
  project_spend_limit_exceeded: ['quota', 'PROVIDER_QUOTA'],
  billing_hard_limit_reached: ['quota', 'PROVIDER_QUOTA'],
  billing_not_active: ['quota', 'PROVIDER_QUOTA'],
  rate_limit_exceeded: ['rate_limited', 'RATE_LIMITED'],
  slow_down: ['rate_limited', 'RATE_LIMITED'],
  invalid_api_key: ['authentication', 'PROVIDER_REFUSED_KEY'],
  content_policy_violation: ['content_policy', 'CONTENT_POLICY'],
  moderation_blocked: ['content_policy', 'CONTENT_POLICY'],
  content_filter: ['content_policy', 'CONTENT_POLICY'],
  context_length_exceeded: ['invalid_input', 'INPUT_TOO_LONG'],
  model_not_found: ['permanent', 'MODEL_NOT_FOUND'],
};

/**
 * PURE. What an error means. Of the 5xx only `server_is_overloaded` says that nothing was begun: "The requested model does not have
 * enough capacity to process your request at the moment"; each other may have been paid for.
 */
export function classify(error: unknown, phase: CallPhase): FailureFacts | undefined {
  const general = classifyExchange(error, phase);
  if (!general || !isHttpFailure(error)) return general;
  // Whatever their bodies say, they do not say that nothing was begun.
  if (error.status === 408 || error.status < 400) return general;
  const told = error.json()?.error as OpenAiError | undefined;
  const later = error.status === 429 || error.status === 503 ? wishedPauseMs(error.headers) : undefined;
  if (error.status >= 500) {
    if (error.status !== 503 || told?.code !== 'server_is_overloaded') return general;
    return { ...general, class: 'retryable', code: 'PROVIDER_BUSY', retryAfterMs: later, billed: 'nothing' };
  }
  const [className, code] = meaningOf(told) ?? [general.class, general.code];
  return {
    ...general,
    class: className,
    code,
    // OpenAI's answer to a wrong key quotes parts of it.
    message: className === 'authentication' ? error.message : general.message,
    publicMessage: className === 'invalid_input' ? messageOf(told) : undefined,
    retryAfterMs: className === 'rate_limited' ? later : undefined,
  };
}

/**
 * PURE. What an `error` object inside a stream means. The work was begun by then, so nothing there says that it may be bought again; what is
 * left is whose fault it was.
 */
export function failureInside(error: unknown): FailureFacts {
  const told = (typeof error === 'object' ? error : { message: error }) as OpenAiError;
  const meant = meaningOf(told);
  const [className, code] =
    meant?.[0] === 'content_policy' || meant?.[0] === 'invalid_input'
      ? meant
      : ['permanent' as const, 'PROVIDER_FAILED'];
  const word = [told.code, told.type].find((each) => typeof each === 'string') ?? 'no code';
  const message = `the stream ended with an error (${word}): ${messageOf(told) ?? 'no reason given'}`;
  return {
    class: className,
    code,
    message,
    publicMessage: className === 'invalid_input' ? messageOf(told) : undefined,
  };
}

function meaningOf(told: OpenAiError | undefined): [FailureClass, string] | undefined {
  const known = (word: unknown) =>
    typeof word === 'string' && Object.hasOwn(meanings, word) ? meanings[word] : undefined;
  return known(told?.code) ?? known(told?.type);
}

const messageOf = (told: OpenAiError | undefined): string | undefined =>
  typeof told?.message === 'string' && told.message ? told.message.slice(0, 500) : undefined;

/** Retry-After, or when the limits that are used up are full again: https://platform.openai.com/docs/guides/rate-limits */
function wishedPauseMs(headers: Headers): number | undefined {
  const asked = retryAfterMs(headers);
  if (asked !== undefined) return asked;
  const resets = ['requests', 'tokens']
    .filter((what) => headers.get(`x-ratelimit-remaining-${what}`) === '0')
    .map((what) => durationMs(headers.get(`x-ratelimit-reset-${what}`) ?? ''))
    .filter((each) => each !== undefined);
  return resets.length > 0 ? Math.max(...resets) : undefined;
}

const unitsMs: Record<string, number> = { d: 86_400_000, h: 3_600_000, m: 60_000, s: 1_000, ms: 1 };

/** `6m0s`, `1.5s`, `20ms`. */
function durationMs(written: string): number | undefined {
  if (!/^(\d+(\.\d+)?(ms|[dhms]))+$/.test(written)) return undefined;
  const parts = [...written.matchAll(/(\d+(?:\.\d+)?)(ms|[dhms])/g)];
  return Math.round(parts.reduce((sum, [, count, unit]) => sum + Number(count) * unitsMs[unit!]!, 0));
}
