import type { Core } from '../core.ts';
import { toId } from '../id.ts';
import type { Handle } from '../sdk/index.ts';
import { deadlineExceeded } from './classify.ts';
import { isResent, seekTimes } from './fail.ts';
import {
  type Ending,
  finish,
  finishDue,
  flagForReview,
  leaveInReview,
  park,
  releaseScheduled,
  requeue,
  seek,
} from './status.ts';
import { backoffMs } from './verdict.ts';

const batch = 200;
/** The holder of a lease and the poller see a deadline first; this long after it nobody does. */
const deadlineGrace = "interval '5 seconds'";
const cancelGrace = "interval '30 seconds'";

/**
 * Does what is due and nobody else will do: starts what was scheduled, ends what has run out, takes over what a dead worker
 * left. Every worker sweeps; each row is locked, or written under its fence, so two see to it once.
 */
export async function sweep(core: Core): Promise<void> {
  const steps = [
    () => recoverLost(core),
    () => releaseScheduled(core, batch),
    () => reviewUnseen(core),
    ...endings.map(
      ([due, order, ending]) =>
        () =>
          finishDue(core, due, order, ending, batch),
    ),
  ];
  for (const step of steps) {
    await step().catch((error) =>
      core.log.warn({ err: error }, 'a step of the sweep failed; it is repeated with the next'),
    );
  }
}

/** A lost answer that is being looked for: nobody knows whether it was bought. */
const isSought = `exists (select from attempt a where a.task_id = task.id and a.number = task.attempt and a.phase = 'seeking' and a.resubmit <> 'safe')`;

const endings: [due: string, order: string, Ending][] = [
  [
    `status in ('SCHEDULED', 'QUEUED') and started_at is null and expires_at <= now()`,
    'expires_at',
    {
      status: 'EXPIRED',
      error: { code: 'EXPIRED', message: 'The task did not start within its ttlSeconds.', retryable: true },
    },
  ],
  [
    `status = 'PROCESSING' and cancel_requested_at <= now() - ${cancelGrace}`,
    'cancel_requested_at',
    { status: 'CANCELLED' },
  ],
  [
    `status = 'PROCESSING' and needs_review and deadline_at <= now()`,
    'deadline_at',
    {
      status: 'FAILED',
      error: {
        code: 'REVIEW_EXPIRED',
        message: 'The answer of the provider was lost, and nobody reviewed it in time.',
        retryable: true,
      },
    },
  ],
  [`status = 'QUEUED' and deadline_at <= now()`, 'deadline_at', { status: 'FAILED', error: deadlineExceeded }],
  [
    `status = 'PROCESSING' and not needs_review and deadline_at <= now() - ${deadlineGrace} and not (${isSought})`,
    'deadline_at',
    { status: 'FAILED', error: deadlineExceeded },
  ],
];

/** What was looked for in vain until its deadline. */
async function reviewUnseen(core: Core): Promise<void> {
  const unseen = await core.db.sql<{ id: string; fence: number }>(
    `select id, fence from task where status = 'PROCESSING' and not needs_review and deadline_at <= now() - ${deadlineGrace} and ${isSought}
     order by deadline_at limit $1`,
    [batch],
  );
  for (const task of unseen) await flagForReview(core, task);
}

const workerLost = { code: 'WORKER_LOST', message: 'The worker that ran this attempt died.', retryable: true };

interface Lost {
  id: string;
  fence: number;
  attempt: number;
  attemptKey: string | null;
  provider: string;
  failures: number;
  cancelRequestedAt: Date | null;
  phase: string;
  resubmit: string;
  handle: Handle | null;
}

/** Tasks whose worker is gone: what was surely not bought runs again, a handle is followed, all else is for an operator. */
async function recoverLost(core: Core): Promise<void> {
  const lost = await core.db.sql<Lost>(
    `select t.id, t.fence, t.attempt, t.attempt_key, t.provider, t.failures, t.cancel_requested_at, a.phase, a.resubmit, a.handle
     from task t join attempt a on a.task_id = t.id and a.number = t.attempt
     where t.status = 'PROCESSING' and t.lease_until <= now() order by t.lease_until limit $1`,
    [batch],
  );
  for (const task of lost) {
    core.log.warn({ taskId: toId('Task', task.id), phase: task.phase }, 'the worker of a task is gone');
    if (task.phase === 'review') await leaveInReview(core, task);
    else if (task.cancelRequestedAt) await finish(core, task, { status: 'CANCELLED' });
    else if (task.handle) await park(core, task, task.handle, 0);
    else if (task.phase !== 'preparing' && (task.resubmit !== 'safe' || canFind(core, task)))
      await settleLost(core, task);
    else if (task.failures + 1 >= core.config.ATELIER_MAX_ATTEMPTS && isResent(task)) await flagForReview(core, task);
    else if (task.failures + 1 >= core.config.ATELIER_MAX_ATTEMPTS)
      await finish(core, task, { status: 'FAILED', error: workerLost });
    else {
      const delayMs = task.failures === 0 ? 0 : backoffMs(task.failures);
      await requeue(core, task, { failures: 1, delayMs, error: workerLost });
    }
  }
}

const canFind = (core: Core, { provider }: Lost): boolean =>
  core.registry.adapter(provider)?.adapter.find !== undefined;

/** A paid call whose worker died: it is looked for, or sent again under a key that the vendor honours, or an operator decides. */
async function settleLost(core: Core, task: Lost): Promise<void> {
  const adapter = core.registry.adapter(task.provider)?.adapter;
  if (adapter?.find) await seek(core, task, seekTimes({ adapter }, task.phase === 'calling'));
  else if (task.resubmit === 'keyed' && task.failures + 1 < core.config.ATELIER_MAX_ATTEMPTS)
    await requeue(core, task, { failures: 1, delayMs: backoffMs(task.failures), error: workerLost, resend: true });
  else await flagForReview(core, task);
}
