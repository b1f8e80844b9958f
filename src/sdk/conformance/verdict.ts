import type { Adapter, CallPhase } from '../adapter.ts';
import { type FailureFacts, isAdapterFailure } from '../failure.ts';
import { classifyExchange } from '../http.ts';
import { describe } from './check.ts';

const bug = (code: string, message: string): FailureFacts => ({ class: 'bug', code, message });

/** What Atelier makes of an error: what the adapter says of it, else what can be said of any exchange, else `bug`. */
export function classify(adapter: Adapter, error: unknown, phase: CallPhase): FailureFacts {
  if (isAdapterFailure(error)) return error.facts;
  try {
    return adapter.classify?.(error, phase) ?? classifyExchange(error, phase) ?? bug('ADAPTER_ERROR', describe(error));
  } catch (thrown) {
    return bug('ADAPTER_ERROR', `classify throws ${describe(thrown)}`);
  }
}

/** Of a call that takes too long, or a stream without end. */
export const hangs = (message: string): FailureFacts => bug('HANGS', message);

export const shapeless = bug('ADAPTER_ERROR', 'start returned neither answer, handle nor observations');
