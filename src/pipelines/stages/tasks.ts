import pLimit from 'p-limit';
import type { Core } from '../../core.ts';
import type { Task } from '../../db.ts';
import { Refusal } from '../../errors.ts';
import { toId } from '../../id.ts';
import { createTask } from '../../lifecycle/create.ts';
import { type Agent, agentFor } from '../agent.ts';
import { type Begun, type FullBatch, scopeOf, writeBegun } from '../batch.ts';
import type { StageSettings } from '../configuration.ts';
import type { TasksStage } from '../definition.ts';
import { done, failed, givenBack, type Made, type Outcome, type RunError } from '../outcome.ts';
import { writePassages } from '../passage.ts';
import { fill, lookUp } from '../template.ts';
import { retrieve } from './retrieve.ts';
import { judge } from './send-back.ts';
import type { Beginning, StageKind, Turn } from './stage.ts';

const submitsAtOnce = 16;

/** One task for each batch. */
export const tasksKind: StageKind<TasksStage> = {
  atOnce: 200,
  async begin(turn, stage, batches) {
    const { core, run, signal } = turn;
    const agent = await agentFor(core, run, stage, turn.settings(stage));
    const limit = pLimit(submitsAtOnce);
    const each = async <Result>(work: (batch: FullBatch) => Promise<Result>): Promise<Result[]> => {
      const ends = await Promise.allSettled(
        batches.map((batch) =>
          limit(() => {
            signal.throwIfAborted();
            return work(batch);
          }),
        ),
      );
      // What has begun has ended before the turn does.
      return ends.map((end) => {
        if (end.status === 'rejected') throw end.reason;
        return end.value;
      });
    };
    const prepared = new Map(
      await each(async (batch) => [batch.id, await prepare(turn, stage, batch, agent)] as const),
    );
    const beginning: Beginning = { begun: 0, outcomes: [] };
    if (!(await writeBegun(core, run, [...prepared.values()]))) return beginning;
    await each(async (batch) => {
      if (beginning.refused !== undefined) return;
      try {
        await submit(turn, stage, batch, agent, prepared.get(batch.id)!);
        beginning.begun++;
      } catch (error) {
        if (!(error instanceof Refusal) && !(error instanceof RangeError)) throw error;
        if (error instanceof Refusal && 'required' in error.facts) beginning.refused = error.facts.required;
        else beginning.outcomes.push(failed(batch, refusedAs(error)));
      }
    });
    return beginning;
  },

  async collect(turn, stage, batches) {
    const ids = batches.flatMap(({ taskId }) => taskId ?? []);
    const tasks = await turn.core.db.sql<Task>('select * from task where id = any($1)', [ids], 'batch_tasks');
    const byId = new Map(tasks.map((task) => [task.id, task]));
    return Promise.all(batches.map((batch) => outcomeOf(turn, stage, batch, byId.get(batch.taskId!))));
  },

  giveUp: async (_turn, batches) => batches.map(givenBack),
};

/** The input of a batch's task: what the agent brings, then what the stage says. */
export function taskInput(
  core: Core,
  stage: TasksStage,
  agent: Agent | null,
  scope: Record<string, unknown>,
): Record<string, unknown> {
  const fields = core.registry.taskType(stage.taskType)?.input.shape ?? {};
  const brought: Record<string, unknown> = { ...(agent?.parameters as object | null) };
  if (agent && 'system' in fields) brought.system = agent.systemPrompt;
  if (agent?.responseSchema && 'responseSchema' in fields) brought.responseSchema = agent.responseSchema;
  return fill({ ...brought, ...stage.task }, scope);
}

/** Who does a batch, and what he is told of what the project knows: kept before the task is made. */
async function prepare(turn: Turn, stage: TasksStage, batch: FullBatch, agent: Agent | null): Promise<Begun> {
  return {
    batch: batch.id,
    state: 'STARTING',
    agent: agent && { id: agent.id, version: agent.version },
    passages: stage.retrieve && (await retrieve(turn, stage.retrieve, batch)),
  };
}

async function submit(
  { core, run, settings }: Turn,
  stage: TasksStage,
  batch: FullBatch,
  agent: Agent | null,
  { passages }: Begun,
): Promise<void> {
  const scope = scopeOf(batch, run.input, passages ? { passages: writePassages(passages) } : {});
  await createTask(
    core,
    { accountId: run.accountId, projectId: run.projectId },
    {
      type: stage.taskType,
      input: taskInput(core, stage, agent, scope),
      projectId: run.projectId,
      ...targetOf(settings(stage), agent),
      holdId: run.holdId!,
      // By this key the database gives the task to its batch, in the transaction that makes it.
      idempotencyKey: `batch:${batch.id}`,
      sent: { batch: batch.id },
      tags: [toId('Run', run.id), stage.key],
    },
  );
}

/** Who is asked for the task: what is set for the stage, else what its agent says. */
export function targetOf({ provider, model }: StageSettings, agent: Agent | null) {
  return provider === null ? { provider: agent?.provider, model: model ?? agent?.model } : { provider, model };
}

async function outcomeOf(
  turn: Turn,
  stage: TasksStage,
  batch: FullBatch,
  task: Task | undefined,
): Promise<Outcome | null> {
  if (!task)
    return failed(batch, {
      code: 'TASK_GONE',
      message: 'The task was deleted before its result was read.',
      retryable: true,
    });
  if (task.status === 'COMPLETED')
    return stage.sendBack
      ? judge(turn, stage, batch, task.result as Record<string, unknown>)
      : resultOf(turn, stage, batch, task.result as Record<string, unknown>);
  if (task.status === 'CANCELLED' && turn.run.status === 'CANCELLING') return givenBack(batch);
  if (['SCHEDULED', 'QUEUED', 'PROCESSING'].includes(task.status)) return null;
  const error = task.error as unknown as RunError | null;
  const cancelled = { code: 'TASK_CANCELLED', message: 'The task was cancelled.', retryable: true };
  return failed(batch, error ? { code: error.code, message: error.message, retryable: error.retryable } : cancelled);
}

function resultOf(
  { definition, run }: Turn,
  stage: TasksStage,
  batch: FullBatch,
  result: Record<string, unknown>,
): Outcome {
  const from = batch.items.map(({ id }) => id);
  const plain = withoutFiles(result) as Record<string, unknown>;
  const listed = stage.each === undefined ? [plain] : lookUp(result, stage.each);
  if (!Array.isArray(listed)) {
    const message = `The result of ${stage.taskType} has no list at ${stage.each}.`;
    return failed(batch, { code: 'NO_OUTPUT', message, retryable: true });
  }
  const assets = assetsIn(result);
  try {
    const made = listed.map((each): Made => {
      const data = stage.data ? fill(stage.data, scopeOf(batch, run.input, { result: plain, each })) : asData(each);
      return { data, from, assets };
    });
    return done(definition, stage, batch, made);
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    return failed(batch, { code: 'OUTPUT_TOO_LARGE', message: error.message, retryable: false });
  }
}

/** Why a task could not be created, as its items say it. */
function refusedAs(error: Refusal | RangeError): RunError {
  if (error instanceof RangeError) return { code: 'INPUT_TOO_LARGE', message: error.message, retryable: false };
  const issues =
    'issues' in error.facts ? error.facts.issues.map(({ path, message }) => `${path.join('.')} ${message}`) : [];
  return { code: error.code, message: issues.join('; ') || error.message, retryable: true };
}

/** What was made of a thing is an object, so that it can grow fields. */
const asData = (each: unknown): unknown =>
  typeof each === 'object' && each !== null && !Array.isArray(each) ? each : { value: each };

/** Ids of the assets in a task's result, in their order. */
function assetsIn(result: unknown): string[] {
  if (typeof result !== 'object' || result === null) return [];
  const { assetId } = result as { assetId?: unknown };
  if (typeof assetId === 'string') return [assetId];
  return Object.values(result).flatMap(assetsIn);
}

function withoutFiles(value: unknown): unknown {
  if (typeof value !== 'object' || value === null) return value;
  if (Array.isArray(value)) return value.filter((each) => !isFile(each)).map(withoutFiles);
  return Object.fromEntries(
    Object.entries(value)
      .filter(([, each]) => !isFile(each) && !(Array.isArray(each) && each.length > 0 && each.every(isFile)))
      .map(([key, each]) => [key, withoutFiles(each)]),
  );
}

const isFile = (value: unknown): boolean =>
  typeof value === 'object' && value !== null && typeof (value as { assetId?: unknown }).assetId === 'string';
