import {
  AdapterFailure,
  type Asked,
  type FailureFacts,
  inputPathOf,
  isHttpFailure,
  type MappedModel,
  type Observation,
} from 'atelier/adapter';

/** What is used of a prediction. @see https://replicate.com/docs/reference/http#predictions.get */
export interface Prediction {
  id: string;
  status: string;
  input?: Record<string, unknown>;
  output?: unknown;
  error?: unknown;
  logs?: string | null;
  started_at?: string | null;
  data_removed?: boolean;
  metrics?: { output_token_count?: number } | null;
}

/** What the transformers read. */
export interface Answer {
  prediction: Prediction;
  asked: Asked;
}

/** A job's state as a look or a callback tells it. */
export function observe(prediction: Partial<Prediction>, asked: Asked): Observation<Answer> {
  switch (prediction.status) {
    case 'starting':
      return { state: 'queued' };
    case 'succeeded':
      return { state: 'succeeded', answer: { prediction: prediction as Prediction, asked } };
    case 'failed':
      return { state: 'failed', failure: failureOf(prediction) };
    // Ended before it ran: Replicate charges nothing. What ran until it was cancelled is charged by time, which is no unit of ours.
    case 'aborted':
      return { state: 'cancelled', billed: [] };
    case 'canceled':
      return { state: 'cancelled' };
    default:
      return { state: 'running', progress: progressOf(prediction.logs) };
  }
}

/** Lines that were not told yet, without bars, and how much of the text that makes. The last line may still grow. */
export function newLines({ logs, status }: Partial<Prediction>, told: number): { lines: string[]; told: number } {
  const text = logs ?? '';
  const whole = status === 'processing' ? text.lastIndexOf('\n') + 1 : text.length;
  const lines = text.slice(told, whole).split(/[\r\n]+/);
  return { lines: lines.filter((line) => line.trim() !== '' && !/\d%\|/.test(line)), told: Math.max(whole, told) };
}

/** The last bar that tqdm drew, as most models have it in their logs: ` 43%|████▎     | 12/28 [00:02<00:03]`. */
function progressOf(logs: string | null | undefined): number | undefined {
  const percent = [...(logs ?? '').matchAll(/(?:^|[\r\n])[^\r\n]*?(\d{1,3})%\|/g)].at(-1)?.[1];
  return percent === undefined ? undefined : Math.min(Number(percent), 100) / 100;
}

function failureOf({ id, error, started_at }: Partial<Prediction>): FailureFacts {
  const message = String(error ?? 'it does not say why').slice(0, 1_000);
  // https://replicate.com/docs/reference/error-codes: E and four digits, told inside the text only. Models that others serve have codes of
  // three digits: "The input or output was flagged as sensitive. Please try again with different inputs. (E005)".
  const [code] = /\bE\d{3,4}\b/.exec(message) ?? [];
  const told = { message: `prediction ${id} failed: ${message}`, providerRequestId: id };
  if (code === 'E6716' && !started_at)
    return { class: 'retryable', code: 'PREDICTION_NOT_STARTED', billed: 'nothing', ...told };
  if (code === 'E005') return { class: 'content_policy', code: 'CONTENT_POLICY', billed: 'unknown', ...told };
  return { class: 'permanent', code: 'PREDICTION_FAILED', billed: 'unknown', ...told };
}

/**
 * A refusal in Replicate's own words, with its fields as those of the task type; undefined: it is none.
 * @see https://datatracker.ietf.org/doc/html/rfc7807, with `invalid_fields` beside it
 */
export function refusalOf(error: unknown, model: MappedModel): AdapterFailure | undefined {
  if (!isHttpFailure(error) || (error.status !== 422 && error.status !== 400)) return undefined;
  const { title, detail, invalid_fields: invalid } = error.json() ?? {};
  const message = [title, detail]
    .filter((each) => typeof each === 'string')
    .join(': ')
    .trim();
  if (!message) return undefined;
  const issues = (Array.isArray(invalid) ? invalid : []).map(({ field, description }) => ({
    path: pathOf(String(field), model),
    message: String(description),
  }));
  return new AdapterFailure(
    { class: 'invalid_input', code: 'PROVIDER_REFUSED_INPUT', message, issues, billed: 'nothing' },
    { cause: error },
  );
}

/** `input.num_outputs` → `count`. */
function pathOf(field: string, model: MappedModel): string[] {
  const name = field.replace(/^input\.?/, '');
  return inputPathOf(model, name ? [name] : []);
}

/** Every URL in an output, which may be one, a list of them or an object of them, in its order. */
export function urlsIn(output: unknown): string[] {
  if (typeof output === 'string') return /^https?:/.test(output) ? [output] : [];
  if (typeof output !== 'object' || output === null) return [];
  return Object.values(output).flatMap(urlsIn);
}
