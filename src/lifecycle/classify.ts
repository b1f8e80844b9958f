import { OutsideError } from '../errors.ts';
import {
  type Adapter,
  type CallPhase,
  type Cost,
  classifyExchange,
  type FailureClass,
  type FailureFacts,
  isAdapterFailure,
  type Usage,
} from '../sdk/index.ts';
import type { TaskError } from './status.ts';
import type { Phase } from './verdict.ts';

const callPhases: Record<Phase, CallPhase> = {
  preparing: 'upload',
  starting: 'start',
  watching: 'poll',
  seeking: 'find',
  collecting: 'download',
};

/** What an error means: what the adapter says of it, else what can be said of any exchange, else that the adapter is wrong. Never throws. */
export function classify(error: unknown, at: Phase, adapter: Adapter | undefined): FailureFacts {
  try {
    return wellFormed(meaningOf(error, at, adapter), error);
  } catch {
    return { class: 'bug', code: 'ADAPTER_ERROR', message: `a failure could not be read: ${messageOf(error)}` };
  }
}

function meaningOf(error: unknown, at: Phase, adapter: Adapter | undefined): FailureFacts {
  if (isAdapterFailure(error)) return error.facts;
  const message = messageOf(error);
  // Ours, not the adapter's to judge: inputs that cannot be fetched, storage that does not answer.
  if (error instanceof OutsideError)
    return { class: error.retryable ? 'retryable' : 'permanent', code: 'TRANSFER_FAILED', message };
  const phase = callPhases[at];
  const facts = adapter?.classify?.(error, phase) ?? classifyExchange(error, phase);
  if (facts) return facts;
  // A time limit of the adapter's own: what was sent may have arrived.
  const name = error instanceof Error ? error.name : '';
  if (at === 'starting' && (name === 'TimeoutError' || name === 'AbortError'))
    return { class: 'ambiguous', code: 'ANSWER_LOST', message };
  return { class: 'bug', code: 'ADAPTER_ERROR', message };
}

/** Adapters are others' code, and pass on what vendors say: what has another shape than it should must not stop the outcome. */
function wellFormed(facts: FailureFacts, error: unknown): FailureFacts {
  const text = (value: unknown) => (typeof value === 'string' && value !== '' ? value : undefined);
  const known = Object.hasOwn(publicMessages, facts.class);
  return {
    ...facts,
    class: known ? facts.class : 'bug',
    code: text(facts.code) ?? 'PROVIDER_FAILED',
    message: text(facts.message) ?? messageOf(error),
    publicMessage: text(facts.publicMessage),
    providerRequestId: text(facts.providerRequestId),
    issues: Array.isArray(facts.issues) ? facts.issues.map(wellFormedIssue) : undefined,
    billed: Array.isArray(facts.billed) ? knownUsage(facts.billed) : facts.billed,
  };
}

function wellFormedIssue(issue: { path?: unknown; message?: unknown } | null): { path: string[]; message: string } {
  const { path, message } = issue ?? {};
  return { path: Array.isArray(path) ? path.map(String) : [], message: String(message ?? 'is refused') };
}

/** What a vendor says was used, if it has the shape of it. Undefined: nobody knows. */
export function knownUsage(usage: unknown): Usage[] | undefined {
  const isUsage = (each: Partial<Usage> | null) =>
    typeof each?.unit === 'string' && typeof each.quantity === 'number' && Number.isFinite(each.quantity);
  return Array.isArray(usage) && usage.every(isUsage) ? usage : undefined;
}

/** What the vendor charges the operator, if it has the shape of it. */
export function knownCost(cost: unknown): Cost | undefined {
  const { amount, currency } = (cost ?? {}) as Partial<Cost>;
  const fits = typeof amount === 'string' && /^\d{1,15}(\.\d{1,20})?$/.test(amount) && typeof currency === 'string';
  return fits ? { amount, currency: currency.slice(0, 20) } : undefined;
}

function messageOf(error: unknown): string {
  try {
    return (error instanceof Error && error.message) || String(error);
  } catch {
    return 'what was thrown has no words';
  }
}

/** A failure as clients see it. */
export function toldOf(facts: FailureFacts): TaskError {
  return {
    code: facts.code,
    message: facts.publicMessage ?? (facts.class === 'invalid_input' ? facts.message : publicMessages[facts.class]),
    retryable: facts.class !== 'invalid_input' && facts.class !== 'content_policy',
    providerRequestId: facts.providerRequestId,
    issues: facts.issues,
  };
}

export const deadlineExceeded: TaskError = {
  code: 'DEADLINE_EXCEEDED',
  message: 'The task was not done within the longest run of its type.',
  retryable: true,
};

const publicMessages: Record<FailureClass, string> = {
  retryable: 'The provider could not be reached or failed, more than once.',
  rate_limited: 'The provider takes no more work for now.',
  invalid_input: 'The provider refuses this input.',
  content_policy: 'The provider refuses this content.',
  authentication: 'The operator has to look at this provider.',
  quota: 'The operator has to look at this provider.',
  permanent: 'The provider cannot do this.',
  expired: 'The result was gone before it could be fetched.',
  deadline: deadlineExceeded.message,
  ambiguous: 'The answer of the provider was lost.',
  bug: 'The adapter of this provider failed.',
};
