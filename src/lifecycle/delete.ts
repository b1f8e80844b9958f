import type { Core } from '../core.ts';
import { conflict, notFound } from '../errors.ts';
import { toId } from '../id.ts';
import { remove } from './status.ts';
import { sweepAssets } from './sweep-assets.ts';

/** Deletes an ended task with its events and files; its ledger stays. Throws a ConflictError for one that has not ended. */
export async function deleteTask(core: Core, taskId: string): Promise<void> {
  if (!(await remove(core, taskId))) {
    const [task] = await core.db.sql('select from task where id = $1', [taskId]);
    throw task ? conflict('TASK_NOT_ENDED', 'The task has not ended; cancel it first.') : notFound('task');
  }
  // The bytes are listed for removal by now; they go without the caller waiting for a storage that may be slow.
  sweepAssets(core).catch((error) =>
    core.log.warn({ taskId: toId('Task', taskId), err: error }, 'files of a deleted task are removed later'),
  );
}
