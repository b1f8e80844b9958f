import type { FailureClass, FailureFacts } from '../sdk/index.ts';
import type { FrozenTarget } from './plan.ts';

/** Where an attempt was: `preparing` and `starting` tell whether the paid call may have been made; the others come after it. */
export type Phase = 'preparing' | 'starting' | 'watching' | 'seeking' | 'collecting';

/** What is known of an attempt when it failed. */
export interface Situation {
  phase: Phase;
  hasHandle: boolean;
  resubmit: FrozenTarget['resubmit'];
  /** Whether the vendor can be asked for a job whose answer was lost. */
  canFind: boolean;
  /** It went under the key of an earlier attempt, which may have been bought. */
  resent: boolean;
  /** Which attempt of the task it was, from 1. */
  attempt: number;
  /** Failures of this task at this target so far. */
  failures: number;
  maxAttempts: number;
  /** Credentials of the adapter besides the one that was used. */
  otherCredentials: number;
  hasNextTarget: boolean;
}

export type Verdict =
  /** `resend`: under the same key, which the vendor honours. */
  | { next: 'again'; delayMs: number; counts: boolean; resend?: true }
  | { next: 'next target'; delayMs: 0; counts: false }
  | { next: 'look again'; delayMs: number }
  | { next: 'seek' }
  | { next: 'review' }
  | { next: 'end' };

/** What follows a failure of a class in a situation: the table of {@link FailureClass}, and nothing is ever bought twice. */
export function decide(facts: FailureFacts, situation: Situation, random: () => number = Math.random): Verdict {
  // What was charged is not tried again, here or elsewhere.
  if (Array.isArray(facts.billed) && facts.billed.some(({ quantity }) => quantity > 0)) return { next: 'end' };
  const verdict = decideUnbilled(facts, situation, random);
  const gone = situation.phase === 'preparing' && facts.class === 'ambiguous';
  const unknown = situation.resent && !situation.hasHandle && situation.phase !== 'collecting';
  return unknown && (gone || verdict.next === 'next target' || verdict.next === 'end') ? { next: 'review' } : verdict;
}

function decideUnbilled(facts: FailureFacts, situation: Situation, random: () => number): Verdict {
  const { phase, failures, maxAttempts } = situation;
  const asked = boundedMs(facts.retryAfterMs);
  const delayMs = Math.max(backoffMs(failures, random), asked);
  const harmless = phase === 'preparing' || situation.resubmit === 'safe';
  const mayRetry = failures + 1 < maxAttempts;
  if (phase === 'collecting') {
    // What was bought is still at the vendor: fetched again from there, never bought again.
    if (situation.hasHandle && refetched.includes(facts.class)) return { next: 'look again', delayMs: lookAgainMs };
    if (!harmless) return { next: 'end' };
  }
  if (facts.class === 'rate_limited') {
    // Not counted, so it must not come fast: a second more for each attempt, whatever the vendor says. Another key need not wait.
    const patienceMs = Math.min(situation.attempt, 30) * 1_000;
    return {
      next: 'again',
      delayMs: situation.otherCredentials > 0 ? patienceMs : Math.max(asked, patienceMs),
      counts: false,
    };
  }
  // Also where starting again buys nothing: found, the work need not be done twice.
  if (facts.class === 'ambiguous' && phase === 'starting' && situation.canFind) return { next: 'seek' };
  if (facts.class === 'ambiguous' && !harmless) {
    if (situation.resubmit === 'keyed' && mayRetry) return { next: 'again', delayMs, counts: true, resend: true };
    return { next: 'review' };
  }
  const ours = facts.class === 'authentication' || facts.class === 'quota';
  if (ours && failures < situation.otherCredentials && !situation.resent)
    return { next: 'again', delayMs: 0, counts: true };
  const budget = { retryable: maxAttempts, ambiguous: maxAttempts, bug: harmless ? 2 : 0 }[facts.class as string] ?? 0;
  if (failures + 1 < budget) return { next: 'again', delayMs, counts: true };
  const mayFallBack = fallsBack.includes(facts.class) && (harmless || facts.class !== 'bug');
  return situation.hasNextTarget && mayFallBack ? { next: 'next target', delayMs: 0, counts: false } : { next: 'end' };
}

/** Exponential with jitter: 0.25–0.75 s, then doubled each time, 90 s at most. */
export function backoffMs(failures: number, random: () => number = Math.random): number {
  return Math.min(firstBackoffMs * 2 ** failures, longestBackoffMs) * (0.5 + random());
}

/** What a vendor asks to be left alone for; more than an hour is no answer, and counts as a minute. */
export function boundedMs(ms: number | undefined): number {
  if (ms === undefined || !(ms > 0)) return 0;
  return ms > longestRetryAfterMs ? unreasonableMs : ms;
}

const firstBackoffMs = 500;
const longestBackoffMs = 60_000;
const longestRetryAfterMs = 3_600_000;
const unreasonableMs = 60_000;
/** Until a result is fetched again that could not be. */
const lookAgainMs = 2_000;

/** While a result is collected, a failure of these classes says nothing about the vendor's job. */
const refetched: FailureClass[] = ['retryable', 'rate_limited', 'expired'];
const fallsBack: FailureClass[] = ['retryable', 'authentication', 'quota', 'permanent', 'bug'];
