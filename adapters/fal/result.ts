import { AdapterFailure, type FailureFacts, type HttpFailure, isHttpFailure, type Observation } from 'atelier/adapter';
import { fieldsOf } from './fields.ts';
import type { Asked, Model } from './models.ts';

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
export function failureOf(error: unknown, model: Model | undefined, ending: Ending = {}): FailureFacts | undefined {
  if (!isHttpFailure(error) || [401, 402, 403, 404, 408, 410, 429].includes(error.status)) return undefined;
  const { detail, error_type: type = error.headers.get('x-fal-error-type') } = error.json() ?? {};
  const isFailed = Boolean(ending.error || ending.error_type) && detail !== undefined;
  if (typeof type !== 'string' && !Array.isArray(detail) && !isFailed) return undefined;
  const details: ErrorDetail[] = Array.isArray(detail) ? detail : [];
  const types = [type ?? ending.error_type, ...details.map((each) => each.type)].filter(
    (each) => typeof each === 'string',
  );
  const told = {
    message: `the job failed with ${error.status} ${types.join(', ')}: ${wordsOf(detail)}`,
    providerRequestId: error.headers.get('x-fal-request-id') ?? undefined,
  };
  if (types.includes('content_policy_violation'))
    return { class: 'content_policy', code: 'CONTENT_POLICY', billed: 'unknown', ...told };
  if (types.includes('no_media_generated'))
    return { class: 'permanent', code: 'NO_OUTPUT', billed: 'unknown', ...told };
  // What ends with a 5xx costs nothing at fal: https://docs.fal.ai/model-apis/faq
  if (error.status >= 500 || types.some((each) => transient.includes(each))) {
    // Without a type it may be a gateway's 5xx, which says nothing about what the job cost.
    const free = error.status >= 500 && types.length > 0;
    const again = free && error.headers.get('x-fal-retryable') !== 'false';
    const billed = free ? 'nothing' : 'unknown';
    return { class: again ? 'retryable' : 'permanent', code: 'PROVIDER_FAILED', billed, ...told };
  }
  if (error.status !== 422 && error.status !== 400)
    return { class: 'permanent', code: 'PROVIDER_FAILED', billed: 'unknown', ...told };
  const issues = details.map(({ loc = [], msg = 'is refused' }) => ({ path: pathOf(loc, model), message: msg }));
  return { class: 'invalid_input', code: 'PROVIDER_REFUSED_INPUT', billed: 'unknown', ...told, issues };
}

/** A refusal of the submit itself, in fal's format; undefined: it is none. */
export function refusalOf(error: unknown, model: Model): AdapterFailure | undefined {
  if (!isHttpFailure(error) || error.status >= 500) return undefined;
  const facts = failureOf(error, model);
  return facts && new AdapterFailure({ ...facts, billed: 'nothing' }, { cause: error });
}

/** ['body', 'num_images'] → `count`. */
function pathOf(loc: (string | number)[], model: Model | undefined): string[] {
  const [field, ...below] = loc.filter((each) => each !== 'body').map(String);
  if (field === undefined) return [];
  const source = model?.fields[field];
  return source ? [fieldsOf(source)[0]!] : ['options', field, ...below];
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
