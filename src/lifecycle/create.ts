import { createHash } from 'node:crypto';
import type { Core } from '../core.ts';
import type { Task } from '../db.ts';
import { conflict, notFound, Refusal } from '../errors.ts';
import { toId } from '../id.ts';
import { raised, raisedBy, tooFewCredits } from './credits.ts';
import { type Caller, type Plan, planTask, type TaskRequest } from './plan.ts';
import { isStorable } from './storable.ts';
import { eventChannel } from './wake.ts';

export interface Created {
  task: Task;
  /** True: an earlier call with this key made it. */
  replayed: boolean;
  warnings: string[];
}

/**
 * Creates a task: validates, prices, then one round trip that holds the credits and writes the task, its ledger entry and
 * its first event. Nothing after the commit is waited for; Redis may be away.
 * @throws Refusal of every kind that CreateTaskResult knows.
 */
export async function createTask(core: Core, caller: Caller, request: TaskRequest): Promise<Created> {
  const inputHash = hash(request.sent);
  let plan: Plan;
  try {
    plan = await planTask(core, caller, request);
  } catch (refusal) {
    // A key that was used answers before any other check: what was fine then is not refused now.
    const earlier = await findEarlier(core, caller, request.idempotencyKey, inputHash);
    if (earlier) return { task: earlier, replayed: true, warnings: earlier.warnings };
    throw refusal;
  }

  const row = {
    accountId: caller.accountId,
    projectId: plan.projectId,
    idempotencyKey: request.idempotencyKey,
    inputHash,
    type: plan.type.name,
    lane: plan.type.lane,
    input: plan.input,
    priority: request.priority ?? 0,
    tags: request.tags ?? [],
    metadata: request.metadata,
    warnings: plan.warnings,
    callbackUrl: request.callbackUrl,
    retryOf: request.retryOf,
    requestedProvider: request.provider,
    requestedModel: request.model,
    route: plan.route,
    quoted: plan.quoted,
    holdId: request.holdId,
    runAt: request.runAt,
    ttlSeconds: request.ttlSeconds,
    longestRunMs: core.registry.longestRunMs(plan.type),
  };
  try {
    const [made] = await core.db.sql<Task & { replayed: boolean }>(
      'select c.replayed, (c.made).* from task_create($1) c',
      [JSON.stringify(row)],
      'task_create',
    );
    const { replayed, ...task } = made!;
    if (replayed) checkReach(caller, task);
    if (!replayed) {
      core.bus.wake(eventChannel(task.id), { taskId: task.id, accountId: task.accountId, seq: task.lastSeq });
      if (task.status === 'QUEUED') core.bus.wake('dispatch', { lane: task.lane });
    }
    return { task, replayed, warnings: task.warnings };
  } catch (error) {
    throw await refusalOf(core, caller, error);
  }
}

/** Validates and prices as {@link createTask} does, and writes nothing. */
export async function estimateTask(core: Core, caller: Caller, request: TaskRequest) {
  const { quoted, route, warnings } = await planTask(core, caller, { ...request, maxCredits: undefined });
  const [account] = await core.db.sql<{ available: bigint }>('select available from account where id = $1', [
    caller.accountId,
  ]);
  const available = Number(account?.available ?? 0);
  return {
    quoted,
    available,
    sufficient: available >= quoted,
    provider: route[0]!.provider,
    model: route[0]!.model,
    warnings,
  };
}

async function findEarlier(
  core: Core,
  caller: Caller,
  key: string | null | undefined,
  inputHash: string,
): Promise<Task | undefined> {
  // A key that cannot be kept was never used.
  if (!key || !isStorable(key)) return undefined;
  const [earlier] = await core.db.sql<Task & { inputHash: string }>(
    'select k.input_hash, t.* from idempotency_key k join task t on t.id = k.task_id where k.account_id = $1 and k.key = $2',
    [caller.accountId, key],
  );
  if (!earlier) return undefined;
  checkReach(caller, earlier);
  if (earlier.inputHash !== inputHash) throw keyUsed(earlier.id);
  return earlier;
}

async function refusalOf(core: Core, caller: Caller, error: unknown): Promise<unknown> {
  const refusal = raisedBy(error);
  if (refusal?.code === raised.keyUsed) {
    const [earlier] = await core.db.sql<Task>('select * from task where id = $1', [refusal.detail]);
    if (earlier) checkReach(caller, earlier);
    return keyUsed(refusal.detail);
  }
  if (refusal?.code === raised.noProject) return notFound('project');
  if (refusal?.code === raised.tooFewCredits) {
    const { required, available } = JSON.parse(refusal.detail) as { required: number; available: number };
    return tooFewCredits(required, available);
  }
  return error;
}

/** Keys are the account's, and who is narrowed to a project must not learn of another's tasks by guessing them. */
function checkReach(caller: Caller, task: Task): void {
  const project = caller.only?.projectId;
  if (project === undefined || project === task.projectId) return;
  throw conflict('IDEMPOTENCY_KEY_TAKEN', 'This idempotencyKey is in use elsewhere in the account; use another one.');
}

const keyUsed = (taskId: string): Refusal => {
  const existingId = toId('Task', taskId);
  return new Refusal(
    'IdempotencyMismatchError',
    'IDEMPOTENCY_MISMATCH',
    `This key made ${existingId} from another input; use a new key for a new task.`,
    { existingId },
  );
};

/** SHA-256 of the input as it was sent; the order of its fields and what is null do not count. */
function hash(sent: unknown): string {
  const sorted = JSON.stringify(sent, (_, value) => {
    if (value === null || typeof value !== 'object' || Array.isArray(value)) return value;
    return Object.fromEntries(
      Object.entries(value)
        .filter(([, each]) => each != null)
        .sort(([a], [b]) => (a < b ? -1 : 1)),
    );
  });
  return createHash('sha256').update(sorted).digest('hex');
}
