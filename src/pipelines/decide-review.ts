import type { Core } from '../core.ts';
import type { Item, Review } from '../db.ts';
import { conflict, type FieldIssue, notFound, validation } from '../errors.ts';
import { isStorable, isStorableJson, notStorable } from '../lifecycle/storable.ts';
import { itemLimits, tooLarge } from './items.ts';
import { schemaIssues } from './json-schema.ts';
import { endedStatuses } from './status.ts';
import { runsChannel } from './wake.ts';

export interface Decision {
  outcome: 'APPROVE' | 'EDIT' | 'REJECT';
  /** With EDIT: the fields that take the place of the item's own. */
  edits?: unknown;
  note?: string | null;
}

const noteLength = 1_000;

/**
 * Decides what becomes of an item that waits for a person; the run goes on with it at once.
 * @throws Refusal: ValidationError; ConflictError when it is decided, its time is up, or its run has ended or given it up.
 */
export async function decideReview(core: Core, review: Review, decision: Decision): Promise<Review> {
  const issues = await checkDecision(core, review, decision);
  if (issues.length > 0) throw validation(issues);
  const { outcome, edits, note } = decision;
  const [decided] = await core.db.sql<Review & { runId: string }>(
    `with decided as (
       update review v set outcome = $2, edits = $3, note = $4, decided_at = clock_timestamp()
       from batch b join run r on r.id = b.run_id
       where v.id = $1 and v.outcome is null and (v.expires_at is null or v.expires_at > clock_timestamp())
         and b.id = v.batch_id and b.state in ('STARTING', 'RUNNING') and r.status <> all ($5)
       returning v.*, b.run_id
     ), due as (
       update batch set due_at = clock_timestamp() from decided where batch.id = decided.batch_id and batch.state in ('STARTING', 'RUNNING')
     )
     select * from decided`,
    [review.id, outcome, outcome === 'EDIT' ? JSON.stringify(edits) : null, note ?? null, endedStatuses],
    'review_decide',
  );
  if (!decided) throw await refusalOf(core, review);
  const { runId, ...row } = decided;
  core.bus.wake(runsChannel, { runId });
  return row;
}

async function refusalOf(core: Core, { id }: Review) {
  const [now] = await core.db.sql<Review>('select * from review where id = $1', [id]);
  if (!now) return notFound('review');
  if (now.outcome === null && now.expiresAt) return conflict('REVIEW_EXPIRED', 'The time of this review is up.');
  if (now.outcome === null || now.outcome === 'ABANDONED')
    return conflict(
      'REVIEW_ABANDONED',
      'The run of this review has ended or is being cancelled; its item waits for the next one.',
    );
  return conflict('REVIEW_DECIDED', `This review has been decided: ${now.outcome}.`);
}

async function checkDecision(
  core: Core,
  { form, itemId }: Review,
  { outcome, edits, note }: Decision,
): Promise<FieldIssue[]> {
  const issues: FieldIssue[] = [];
  const refuse = (condition: boolean, field: string, message: string) => {
    if (condition) issues.push({ path: [field], message });
  };
  refuse(
    note != null && (note.length > noteLength || !isStorable(note)),
    'note',
    `must be at most ${noteLength.toLocaleString('en')} characters`,
  );
  if (outcome !== 'EDIT') {
    refuse(edits != null, 'edits', 'only with the decision EDIT');
    return issues;
  }
  const isObject = typeof edits === 'object' && edits !== null && !Array.isArray(edits);
  if (!isObject) return [...issues, { path: ['edits'], message: 'must be a JSON object that fits the form' }];
  if (!isStorableJson(edits)) return [...issues, { path: ['edits'], message: notStorable }];
  refuse(Buffer.byteLength(JSON.stringify(edits)) > itemLimits.bytes, 'edits', tooLarge);
  if (form === null) return issues;
  const [item] = await core.db.sql<Item>('select * from item where id = $1', [itemId]);
  return [...issues, ...formIssues(form as object, item!.data as object, edits)];
}

/** A form that names fields shows those, and no other may be edited; one that names none shows all. What is not edited stays. */
function formIssues(form: { properties?: object }, data: object, edits: object): FieldIssue[] {
  const { properties } = form;
  if (!properties) return schemaIssues(form, { ...data, ...edits }, ['edits']);
  const shown = Object.entries(data).filter(([name]) => Object.hasOwn(properties, name));
  return schemaIssues({ additionalProperties: false, ...form }, { ...Object.fromEntries(shown), ...edits }, ['edits']);
}
