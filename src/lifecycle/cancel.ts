import type { Core } from '../core.ts';
import type { Task } from '../db.ts';
import { conflict, notFound } from '../errors.ts';
import { cancel } from './status.ts';

export interface Cancelled {
  task: Task;
  /** CANCELLED: it had not started. REQUESTED: it is running; it ends CANCELLED within 30 s. Either way it never completes. */
  outcome: 'CANCELLED' | 'REQUESTED';
}

/** Cancels a task. Again, it gives the same answer. Throws a ConflictError for one that ended otherwise. */
export async function cancelTask(core: Core, taskId: string): Promise<Cancelled> {
  const task = await cancel(core, taskId);
  if (!task) throw notFound('task');
  if (task.status === 'CANCELLED') return { task, outcome: 'CANCELLED' };
  if (task.status === 'PROCESSING') return { task, outcome: 'REQUESTED' };
  throw conflict('TASK_ENDED', `The task has ended as ${task.status}; only one that has not ended can be cancelled.`);
}

/** Cancels many, one after the other; those that end meanwhile are matched but neither cancelled nor requested. */
export async function cancelTasks(
  core: Core,
  taskIds: string[],
): Promise<{ matched: number; cancelled: number; requested: number }> {
  const counts = { matched: taskIds.length, cancelled: 0, requested: 0 };
  for (const id of taskIds) {
    const task = await cancel(core, id);
    if (task?.status === 'CANCELLED') counts.cancelled++;
    else if (task?.status === 'PROCESSING') counts.requested++;
  }
  return counts;
}
