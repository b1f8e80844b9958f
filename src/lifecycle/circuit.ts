import type { Core } from '../core.ts';
import type { Task } from '../db.ts';
import type { FailureClass, FailureFacts } from '../sdk/index.ts';
import { boundedMs } from './verdict.ts';

/** Failures in a row after which a target rests, and the time until one task tries it again. `task_claim` lets at most one try per 10 s. */
const rules: { [Class in FailureClass]?: { after: number; restMs: number; wholeCredential: boolean } } = {
  retryable: { after: 5, restMs: 10_000, wholeCredential: false },
  ambiguous: { after: 5, restMs: 10_000, wholeCredential: false },
  // The vendor's word; nothing to be tried before the time is over.
  rate_limited: { after: 1, restMs: 1_000, wholeCredential: true },
  // The operator's to mend. Looked at again now and then, since he may have mended it at the vendor.
  authentication: { after: 1, restMs: 60_000, wholeCredential: true },
  quota: { after: 1, restMs: 60_000, wholeCredential: true },
};

/** Counts a paid call that failed against its target, which then may rest (see door_open in the migrations), or shows that it is well. */
export async function noteOutcome(core: Core, task: Task, facts: FailureFacts): Promise<void> {
  const rule = rules[facts.class];
  if (task.provider === null || task.credential === null || facts.code === 'RATE_LIMITED_HERE') return;
  if (!rule) {
    // It answered, if only to refuse the input.
    const isAnswer = facts.class !== 'bug' && facts.class !== 'deadline';
    const values = [task.provider, task.credential, task.model];
    if (isAnswer) await core.db.sql('select circuit_close($1, $2, $3)', values, 'circuit_close');
    return;
  }
  const restMs = Math.round(Math.max(boundedMs(facts.retryAfterMs), rule.restMs));
  const model = rule.wholeCredential ? '' : task.model;
  const [row] = await core.db.sql<{ rests: boolean }>(
    'select circuit_fail($1, $2, $3, $4, $5, $6, $7) as rests',
    [task.provider, task.credential, model, facts.class, facts.message.slice(0, 500), rule.after, restMs],
    'circuit_fail',
  );
  const { provider, credential } = task;
  if (facts.class === 'authentication' || facts.class === 'quota')
    core.log.error(
      { provider, credential, code: facts.code },
      `${provider} refuses a credential of ours: ${facts.message}`,
    );
  else if (row?.rests)
    core.log.warn({ provider, credential, model, restMs }, `${provider} rests after a failure (${facts.class})`);
}

/** The providers of which nothing can be called now. */
export async function restingProviders(core: Core): Promise<Set<string>> {
  const rows = await core.db.sql<{ provider: string; credential: string; model: string }>(
    'select provider, credential, model from circuit where open_until > now()',
  );
  const rests = (provider: string, credential: string, model: string) =>
    rows.some((row) => row.provider === provider && row.credential === credential && ['', model].includes(row.model));
  const resting = core.registry.adapters.filter(
    ({ adapter, credentials, models }) =>
      credentials.length > 0 &&
      models.length > 0 &&
      credentials.every(({ id }) => models.every((model) => rests(adapter.name, id, model.id))),
  );
  return new Set(resting.map(({ adapter }) => adapter.name));
}
