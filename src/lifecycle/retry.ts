import type { Core } from '../core.ts';
import type { Task } from '../db.ts';
import { conflict } from '../errors.ts';
import { toId } from '../id.ts';
import { type Created, createTask } from './create.ts';
import type { Caller } from './plan.ts';

const retryable = ['FAILED', 'CANCELLED', 'EXPIRED'];

/**
 * A new task from the input of an ended one, with a quote and a hold of its own.
 * @param idempotencyKey default `retry:<id>`: retried twice at once, there is one new task.
 */
export async function retryTask(
  core: Core,
  caller: Caller,
  task: Task,
  idempotencyKey?: string | null,
): Promise<Created> {
  if (!retryable.includes(task.status)) {
    throw conflict('NOT_RETRYABLE', `The task is ${task.status}; only ${retryable.join(', ')} can be retried.`);
  }
  const retryOf = toId('Task', task.id);
  return createTask(core, caller, {
    type: task.type,
    input: task.input,
    projectId: task.projectId,
    provider: task.requestedProvider,
    model: task.requestedModel,
    priority: task.priority,
    ttlSeconds: task.ttlSeconds,
    callbackUrl: task.callbackUrl,
    tags: task.tags,
    metadata: task.metadata,
    retryOf: task.id,
    idempotencyKey: idempotencyKey ?? `retry:${retryOf}`,
    sent: { retryOf },
  });
}
