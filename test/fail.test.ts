import { describe, expect, it } from 'vitest';
import { backoffMs, decide, type Situation } from '../src/lifecycle/verdict.ts';
import type { FailureClass } from '../src/sdk/index.ts';

const paid: Situation = {
  phase: 'starting',
  hasHandle: false,
  resubmit: 'never',
  canFind: false,
  resent: false,
  otherCredentials: 0,
  failures: 0,
  attempt: 1,
  maxAttempts: 4,
  hasNextTarget: false,
};
const next = (failure: FailureClass, situation: Partial<Situation> = {}) =>
  decide({ class: failure, code: 'X', message: 'x' }, { ...paid, ...situation }, () => 0.5).next;

describe('what follows a failure', () => {
  it.each<[FailureClass, Partial<Situation>, string]>([
    ['retryable', {}, 'again'],
    ['retryable', { failures: 3 }, 'end'],
    ['retryable', { failures: 3, hasNextTarget: true }, 'next target'],
    ['rate_limited', { failures: 9 }, 'again'],
    ['invalid_input', { hasNextTarget: true }, 'end'],
    ['content_policy', { hasNextTarget: true }, 'end'],
    ['authentication', { hasNextTarget: true }, 'next target'],
    ['permanent', {}, 'end'],
    ['permanent', { hasNextTarget: true }, 'next target'],
    ['deadline', { hasNextTarget: true }, 'end'],
    ['ambiguous', {}, 'review'],
    ['ambiguous', { resubmit: 'safe' }, 'again'],
    ['ambiguous', { hasNextTarget: true }, 'review'],
    ['ambiguous', { canFind: true }, 'seek'],
    ['ambiguous', { canFind: true, resubmit: 'keyed' }, 'seek'],
    ['ambiguous', { resubmit: 'keyed' }, 'again'],
    ['ambiguous', { resubmit: 'keyed', failures: 3 }, 'review'],
    ['authentication', { otherCredentials: 1 }, 'again'],
    ['quota', { otherCredentials: 1, failures: 1 }, 'end'],
    ['permanent', { resent: true, hasNextTarget: true }, 'review'],
    ['invalid_input', { resent: true }, 'review'],
    ['ambiguous', { resent: true, phase: 'preparing' }, 'review'],
    ['permanent', { resent: true, hasHandle: true, hasNextTarget: true }, 'next target'],
    ['bug', {}, 'end'],
    ['bug', { hasNextTarget: true }, 'end'],
    ['bug', { phase: 'preparing' }, 'again'],
    ['bug', { resubmit: 'safe', failures: 1 }, 'end'],
    ['bug', { resubmit: 'safe', failures: 1, hasNextTarget: true }, 'next target'],
  ])('%s in %o: %s', (failure, situation, expected) => expect(next(failure, situation)).toBe(expected));

  it.each<[FailureClass, Partial<Situation>, string]>([
    ['retryable', { hasHandle: true }, 'look again'],
    ['expired', { hasHandle: true }, 'look again'],
    ['retryable', {}, 'end'],
    ['retryable', { hasNextTarget: true }, 'end'],
    ['permanent', { hasHandle: true, hasNextTarget: true }, 'end'],
    ['retryable', { resubmit: 'safe' }, 'again'],
  ])('while a paid result is collected, %s in %o: %s, and nothing is bought again', (failure, situation, expected) =>
    expect(next(failure, { phase: 'collecting', ...situation })).toBe(expected),
  );
});

it('ends what was charged, though it might be tried again', () => {
  const billed = [{ unit: 'image', quantity: 1 }];
  expect(decide({ class: 'retryable', code: 'X', message: 'x', billed }, { ...paid, hasNextTarget: true }).next).toBe(
    'end',
  );
});

it('backs off twice as long each time, up to a minute and a half, with jitter', () => {
  expect([0, 1, 2, 3].map((failures) => backoffMs(failures, () => 0.5))).toEqual([500, 1_000, 2_000, 4_000]);
  expect(backoffMs(50, () => 1)).toBe(90_000);
  expect(backoffMs(0, () => 0)).toBe(250);
});
