import {
  AdapterFailure,
  type Asked,
  type FailureFacts,
  type HttpFailure,
  inputPathOf,
  isHttpFailure,
  type MappedModel,
  type Observation,
} from 'atelier/adapter';

/** What is used of a result; each model has a schema of its own. */
export type Result = Record<string, unknown>;

/** What the transformers read. */
export interface Answer {
  result: Result;
  asked: Asked;
  /** What fal charges, in the units of the model's price. Undefined: it does not say. */
  billableUnits?: string;
}

/** Success, unless the safety checker has blackened all that was made. */
export function succeeded(answer: Answer): Observation<Answer> {
  const flags = answer.result?.has_nsfw_concepts;
  if (!Array.isArray(flags) || flags.length === 0 || !flags.every((flag) => flag === true))
    return { state: 'succeeded', answer };
  return {
    state: 'failed',
    failure: {
      class: 'content_policy',
      code: 'CONTENT_POLICY',
      message: "fal's safety checker blackened every image",
      billed: [{ unit: 'image', quantity: flags.length }],
    },
  };
}

/** One of the errors in fal's format. @see https://docs.fal.ai/errors */
interface ErrorDetail {
  loc?: (string | number)[];
  msg?: string;
  type?: string;
}

/** Errors that lie with fal or with who serves the model. */
const transient = [
  'internal_server_error',
  'generation_timeout',
  'downstream_service_error',
  'downstream_service_unavailable',
];

/** What the queue says beside COMPLETED of a job that failed. */
export interface Ending {
  error?: unknown;
  error_type?: unknown;
}

/**
 * What became of a job whose result is an error; undefined when the error is not the job's: a gateway's page, a key that is refused, too many
 * requests. A job's own carries an error type or a list of details; `{"detail": "Internal Server Error"}` alone is what any server in Python says,
 * and is the job's only if the queue called it failed.
 * @see https://docs.fal.ai/errors, https://docs.fal.ai/documentation/model-apis/request-errors
 */
export function failureOf(
  error: unknown,
  model: MappedModel | undefined,
  ending: Ending = {},
): FailureFacts | undefined {
  if (!isHttpFailure(error) || [401, 402, 403, 404, 408, 410, 429].includes(error.status)) return undefined;
  const { detail, error_type: type = error.headers.get('x-fal-error-type') } = error.json() ?? {};
  const isFailed = Boolean(ending.error || ending.error_type) && detail !== undefined;
  if (typeof type !== 'string' && !Array.isArray(detail) && !isFailed) return undefined;
  const requestId = error.headers.get('x-fal-request-id') ?? undefined;
  const isFinal = error.headers.get('x-fal-retryable') === 'false';
  return meaningOf({ detail, type: type ?? ending.error_type, status: error.status, isFinal, requestId }, model);
}

/** What a webhook says of a job. @see https://docs.fal.ai/model-endpoints/webhooks */
export interface Called extends Ending {
  status?: unknown;
  request_id?: unknown;
  /** The result, or the body of the error. */
  payload?: any;
}

/** How a job ended of which nothing but its webhook is known; null when that says neither what it made nor that it failed. */
export function endingOf(called: Called, model: MappedModel | undefined): Observation<Answer> | null {
  const { status, payload, error, error_type: ownType, request_id: id } = called;
  if (status === 'OK' && typeof payload === 'object' && payload !== null)
    return succeeded({ result: payload, asked: {} });
  if (status !== 'ERROR') return null;
  const { detail = error, error_type: type = ownType } = payload ?? {};
  if (type === 'client_cancelled') return { state: 'cancelled' };
  const requestId = typeof id === 'string' ? id : undefined;
  return { state: 'failed', failure: meaningOf({ detail, type, requestId }, model) };
}

/** An error of a job's own. Without a status (webhooks leave it out) nothing says that it cost nothing, and it is not tried again. */
function meaningOf(
  told: { detail: unknown; type: unknown; status?: number; isFinal?: boolean; requestId?: string },
  model: MappedModel | undefined,
): FailureFacts {
  const { detail, status, requestId: providerRequestId } = told;
  const details: ErrorDetail[] = Array.isArray(detail) ? detail : [];
  const types = [told.type, ...details.map((each) => each.type)].filter((each) => typeof each === 'string');
  const message = `the job failed with ${[status ?? 'ERROR', ...types].join(', ')}: ${wordsOf(detail)}`;
  const facts = { billed: 'unknown', message, providerRequestId } as const;
  if (types.includes('content_policy_violation')) return { class: 'content_policy', code: 'CONTENT_POLICY', ...facts };
  if (types.includes('no_media_generated')) return { class: 'permanent', code: 'NO_OUTPUT', ...facts };
  const isServers = status !== undefined && status >= 500;
  // What ends with a 5xx costs nothing at fal: https://docs.fal.ai/model-apis/faq
  // Without a type it may be a gateway's 5xx, which says nothing about what the job cost.
  if (isServers && types.length > 0)
    return { ...facts, class: told.isFinal ? 'permanent' : 'retryable', code: 'PROVIDER_FAILED', billed: 'nothing' };
  const isInput = status === undefined ? details.length > 0 : status === 422 || status === 400;
  if (!isInput || types.some((each) => transient.includes(each)))
    return { class: 'permanent', code: 'PROVIDER_FAILED', ...facts };
  // Theirs begins with `body`.
  const pathOf = (loc: (string | number)[]) => inputPathOf(model, loc.filter((each) => each !== 'body').map(String));
  const issues = details.map(({ loc = [], msg = 'is refused' }) => ({ path: pathOf(loc), message: msg }));
  return { class: 'invalid_input', code: 'PROVIDER_REFUSED_INPUT', ...facts, issues };
}

/** A refusal of the submit itself, in fal's format; undefined: it is none. */
export function refusalOf(error: unknown, model: MappedModel): AdapterFailure | undefined {
  if (!isHttpFailure(error) || error.status >= 500) return undefined;
  const facts = failureOf(error, model);
  return facts && new AdapterFailure({ ...facts, billed: 'nothing' }, { cause: error });
}

function wordsOf(detail: unknown): string {
  const words = Array.isArray(detail) ? detail.map(({ msg }) => msg).join('; ') : detail;
  return String(words ?? '').slice(0, 500);
}

/** fal ended the job because it was told to. */
export const isCancelled = (error: HttpFailure, ending: Ending): boolean =>
  [error.json()?.error_type, error.headers.get('x-fal-error-type'), ending.error_type].includes('client_cancelled');

/** A file in a result. */
export interface FalFile {
  url: string;
  content_type?: string;
  /** Seconds, where the model tells. */
  duration?: number;
}

/** The files under the first of these names that holds any; else every file of the result. */
export function filesIn(result: Result, ...names: string[]): FalFile[] {
  for (const name of names) {
    const files = filesOf(result[name]);
    if (files.length > 0) return files;
  }
  return Object.values(result).flatMap(filesOf);
}

function filesOf(value: unknown): FalFile[] {
  if (typeof value === 'string') return /^https?:/.test(value) ? [{ url: value }] : [];
  if (Array.isArray(value)) return value.flatMap(filesOf);
  const url = (value as FalFile | null | undefined)?.url;
  return typeof url === 'string' && /^https?:/.test(url) ? [value as FalFile] : [];
}
