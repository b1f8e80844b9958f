import type { Review } from '../../db.ts';
import { type Begun, type FullBatch, writeBegun } from '../batch.ts';
import type { ReviewStage } from '../definition.ts';
import { done, givenBack, type Outcome } from '../outcome.ts';
import type { StageKind, Turn } from './stage.ts';

/** A person decides on each item. */
export const reviewKind: StageKind<ReviewStage> = {
  // Nobody is spared a review because others are waiting for theirs.
  atOnce: 200,
  async begin({ core, run }, stage, batches) {
    const rows = await core.db.sql<{ batchId: string; expiresAt: Date | null }>(
      `insert into review (account_id, project_id, batch_id, item_id, form, expires_at)
       select $1, $2, b.id, b.item, $5, clock_timestamp() + $6::float8 * interval '1 second'
       from unnest($3::uuid[], $4::uuid[]) as b(id, item) where exists (select from run_held($7, $8)) order by b.id
       on conflict (batch_id) do update set batch_id = excluded.batch_id returning batch_id, expires_at`,
      [
        run.accountId,
        run.projectId,
        batches.map(({ id }) => id),
        batches.map(({ items }) => items[0]!.id),
        stage.form ? JSON.stringify(stage.form) : null,
        stage.timeoutSeconds ?? null,
        run.id,
        run.fence,
      ],
      'review_begin',
    );
    const begun = rows.map(({ batchId, expiresAt }): Begun => ({ batch: batchId, state: 'RUNNING', dueAt: expiresAt }));
    await writeBegun(core, run, begun);
    return { begun: begun.length, outcomes: [] };
  },

  async collect(turn, stage, batches) {
    // Whoever decides in this very moment comes first, or finds that the time is up.
    const reviews = await turn.core.db.sql<Review>(
      `update review set outcome = coalesce(outcome, $2), decided_at = coalesce(decided_at, clock_timestamp()),
         note = case when outcome is null then 'the time was up' else note end
       where batch_id = any($1) and (outcome is not null or expires_at <= clock_timestamp()) returning *`,
      [batches.map(({ id }) => id), stage.onTimeout],
      'review_collect',
    );
    const byBatch = new Map(reviews.map((review) => [review.batchId, review]));
    return batches.map((batch) => outcomeOf(turn, stage, batch, byBatch.get(batch.id)));
  },

  async giveUp({ core }, batches) {
    const ids = batches.map(({ id }) => id);
    // Due with it: whoever dies before they are given back leaves that to the next.
    await core.db.sql(
      `with abandoned as (
         update review set outcome = 'ABANDONED', decided_at = clock_timestamp() where batch_id = any($1) and outcome is null returning batch_id
       )
       update batch set due_at = clock_timestamp() from abandoned where batch.id = abandoned.batch_id and batch.state in ('STARTING', 'RUNNING')`,
      [ids],
      'review_abandon',
    );
    // What a person has decided counts: it is collected.
    const decided = await core.db.sql<{ batchId: string }>(
      `select batch_id from review where batch_id = any($1) and outcome <> 'ABANDONED'`,
      [ids],
      'review_decided',
    );
    return batches.filter(({ id }) => !decided.some(({ batchId }) => batchId === id)).map(givenBack);
  },
};

function outcomeOf({ definition }: Turn, stage: ReviewStage, batch: FullBatch, review?: Review): Outcome | null {
  if (!review) return null;
  if (review.outcome === 'ABANDONED') return givenBack(batch);
  const [item] = batch.items;
  const data = { ...(item!.data as object), ...(review.edits as object | null) };
  const made = review.outcome === 'REJECT' ? [] : [{ data, from: [item!.id] }];
  return done(definition, stage, batch, made);
}
