import { type CallPhase, classifyExchange, type FailureFacts, isHttpFailure } from 'atelier/adapter';

/**
 * `detail` of ElevenLabs' answers: https://elevenlabs.io/docs/eleven-api/resources/errors; `status` is the older name of `code`. Validation by its framework
 * answers with a list instead.
 */
interface Detail {
  code?: unknown;
  status?: unknown;
  message?: unknown;
  request_id?: unknown;
}

type Meaning = Pick<FailureFacts, 'class' | 'code'> & { field?: string };

const meanings: Record<string, Meaning> = {
  quota_exceeded: { class: 'quota', code: 'PROVIDER_QUOTA' },
  invalid_api_key: { class: 'authentication', code: 'PROVIDER_REFUSED_KEY' },
  missing_permissions: { class: 'authentication', code: 'PROVIDER_REFUSED_KEY' },
  detected_unusual_activity: { class: 'authentication', code: 'PROVIDER_REFUSED_KEY' },
  rate_limit_exceeded: { class: 'rate_limited', code: 'RATE_LIMITED' },
  concurrent_limit_exceeded: { class: 'rate_limited', code: 'RATE_LIMITED' },
  too_many_concurrent_requests: { class: 'rate_limited', code: 'RATE_LIMITED' },
  system_busy: { class: 'rate_limited', code: 'PROVIDER_BUSY' },
  voice_not_found: { class: 'invalid_input', code: 'VOICE_NOT_FOUND', field: 'voice' },
  max_character_limit_exceeded: { class: 'invalid_input', code: 'INPUT_TOO_LONG', field: 'text' },
  text_too_long: { class: 'invalid_input', code: 'INPUT_TOO_LONG', field: 'text' },
  model_not_found: { class: 'permanent', code: 'MODEL_NOT_FOUND' },
};

/** PURE. What an error means. A 5xx says nothing about whether the recording was made and billed. */
export function classify(error: unknown, phase: CallPhase): FailureFacts | undefined {
  const general = classifyExchange(error, phase);
  if (!general || !isHttpFailure(error) || error.status < 400 || error.status >= 500 || error.status === 408)
    return general;
  const answer = error.json()?.detail;
  const detail: Detail = (Array.isArray(answer) ? { message: answer[0]?.msg } : answer) ?? {};
  const word = [detail.code, detail.status].find((each) => typeof each === 'string' && Object.hasOwn(meanings, each));
  const { field, ...meant }: Meaning = meanings[word as string] ?? { class: general.class, code: general.code };
  const told = typeof detail.message === 'string' ? detail.message.slice(0, 500) : undefined;
  return {
    ...general,
    ...meant,
    message: meant.class === 'authentication' ? error.message : general.message,
    publicMessage: meant.class === 'invalid_input' ? told : undefined,
    issues: field ? [{ path: [field], message: told ?? 'the provider refuses it' }] : undefined,
    retryAfterMs: meant.class === 'rate_limited' ? general.retryAfterMs : undefined,
    providerRequestId:
      general.providerRequestId ?? (typeof detail.request_id === 'string' ? detail.request_id : undefined),
  };
}
