import type { Core } from '../core.ts';
import type { Task } from '../db.ts';
import { conflict } from '../errors.ts';
import { finish, note, requeue } from './status.ts';

export type ReviewDecision = 'RESUBMIT' | 'FAIL_RELEASE' | 'FAIL_CHARGE';

/** Settles a task whose paid answer was lost. Throws a ConflictError for a task that is not in review. */
export async function reviewTask(
  core: Core,
  task: Task,
  decision: ReviewDecision,
  remark?: string | null,
): Promise<Task> {
  if (!task.needsReview)
    throw conflict(
      'NOT_IN_REVIEW',
      'The task is not in review; `tasks(filter: { needsReview: true })` lists those that are.',
    );
  if (remark) await note(core, task, 'logged', { level: 'INFO', message: `Reviewed: ${remark.slice(0, 1_000)}` });
  const error = { code: 'ANSWER_LOST', message: 'The answer of the provider was lost.', retryable: true };
  const settled =
    decision === 'RESUBMIT'
      ? await requeue(core, task, { error, anew: true })
      : await finish(core, task, {
          status: 'FAILED',
          error,
          charge: decision === 'FAIL_CHARGE' ? Number(task.held) : 0,
          basis: 'QUOTE',
        });
  if (!settled) throw conflict('NOT_IN_REVIEW', 'The task left its review meanwhile.');
  return settled;
}
