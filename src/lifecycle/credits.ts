import type { Core } from '../core.ts';
import type { LedgerEntry } from '../db.ts';
import { type FieldIssue, notFound, Refusal, validation } from '../errors.ts';
import { toId } from '../id.ts';
import { isStorable } from './storable.ts';

/** Codes that the database functions raise for expected refusals. */
export const raised = {
  tooFewCredits: 'AT402',
  noProject: 'AT404',
  keyUsed: 'AT409',
  balanceRange: 'AT422',
  runIsLive: 'AT423',
} as const;

/** The SQLSTATE and detail of an error that a database function raised, if it did. */
export function raisedBy(error: unknown): { code: string; detail: string } | undefined {
  const { code, detail } = error as { code?: unknown; detail?: unknown };
  return typeof code === 'string' && code.startsWith('AT') ? { code, detail: String(detail ?? '') } : undefined;
}

export const tooFewCredits = (required: number, available: number): Refusal =>
  new Refusal(
    'InsufficientCreditsError',
    'INSUFFICIENT_CREDITS',
    `This costs up to ${required} credits; ${available} are available. Ask the operator for a grant, or ask for less.`,
    { required, available },
  );

/** `change` in credits, below 0 to take away (ADJUST only); `taskId`: the task that an ADJUST is about. */
export interface CreditChange {
  accountId: string;
  leg: 'GRANT' | 'ADJUST';
  change: number;
  idempotencyKey: string;
  note?: string | null;
  taskId?: string | null;
}

/**
 * Gives credits to an account, or corrects its balance. The same key and change again give the first entry.
 * @throws Refusal: ValidationError, NotFoundError, IdempotencyMismatchError.
 */
export async function changeCredits(core: Core, change: CreditChange): Promise<LedgerEntry> {
  const issues: FieldIssue[] = [];
  const { leg, idempotencyKey, note } = change;
  const field = leg === 'GRANT' ? 'amount' : 'change';
  if (!Number.isSafeInteger(change.change))
    issues.push({ path: [field], message: 'must be a whole number within ±(2^53−1)' });
  if (leg === 'GRANT' && change.change < 1)
    issues.push({ path: [field], message: 'must be 1 or more; adjustCredits takes credits away' });
  if (leg === 'ADJUST' && change.change === 0) issues.push({ path: [field], message: 'must not be 0' });
  if (idempotencyKey.length < 1 || idempotencyKey.length > 255 || !isStorable(idempotencyKey))
    issues.push({ path: ['idempotencyKey'], message: 'must be 1 to 255 characters' });
  if (leg === 'ADJUST' && !note?.trim()) issues.push({ path: ['note'], message: 'must say why' });
  if (note != null && (note.length > 1_000 || !isStorable(note)))
    issues.push({ path: ['note'], message: 'must be at most 1,000 characters' });
  if (issues.length > 0) throw validation(issues);
  try {
    const [entry] = await core.db.sql<LedgerEntry>('select * from account_change($1)', [JSON.stringify(change)]);
    if (!entry) throw notFound('account');
    return entry;
  } catch (error) {
    const refusal = raisedBy(error);
    if (refusal?.code === raised.keyUsed) {
      const existingId = toId('LedgerEntry', refusal.detail);
      throw new Refusal(
        'IdempotencyMismatchError',
        'IDEMPOTENCY_MISMATCH',
        'This key was used for another change; use a new one.',
        { existingId },
      );
    }
    if (refusal?.code === raised.balanceRange) {
      throw validation([
        {
          path: [field],
          message: `the account has ${refusal.detail} available; a balance stays from 0 to 9007199254740991`,
        },
      ]);
    }
    throw error;
  }
}
