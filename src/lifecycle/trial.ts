import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Core } from '../core.ts';
import type { Attempt, Task } from '../db.ts';
import { toId } from '../id.ts';
import type { LoadedAdapter } from '../registry.ts';
import {
  type Adapter,
  type AdapterContext,
  AdapterFailure,
  type Handle,
  type PayloadTransformer,
  type TaskType,
} from '../sdk/index.ts';
import { type Failed, fail } from './fail.ts';
import type { Lease } from './lease.ts';
import { type FrozenTarget, providerInput } from './plan.ts';
import { openReporter, type Reporter } from './report.ts';

/** Everything that an attempt, or a look at its vendor's job, has at hand. */
export interface Trial extends Failed {
  core: Core;
  task: Task;
  type: TaskType<any, any>;
  loaded: LoadedAdapter;
  adapter: Adapter;
  target: FrozenTarget;
  transformer: PayloadTransformer;
  input: Record<string, unknown>;
  context: AdapterContext;
  report: Reporter;
}

/**
 * Sets up what the steps need, and tears it down again. What the steps throw becomes the outcome of the attempt; what cannot
 * be written even then is left to the sweeper. Never throws.
 * @param attempt the one whose handle is looked at; undefined for a new one.
 */
export async function withTrial(
  core: Core,
  lease: Lease,
  attempt: Attempt | undefined,
  steps: (trial: Trial) => Promise<void>,
): Promise<void> {
  const { task } = lease;
  const report = openReporter(core, task);
  let failed: Failed = {
    lease,
    phase: attempt ? 'watching' : 'preparing',
    handle: (attempt?.handle as Handle | null) ?? undefined,
  };
  let directory: string | undefined;
  try {
    directory = await mkdtemp(join(tmpdir(), 'atelier-'));
    const trial = openTrial(core, failed, attempt, directory, report);
    failed = trial;
    await steps(trial);
  } catch (error) {
    await report.flush();
    await fail(core, failed, error).catch((cause) =>
      core.log.error(
        { taskId: toId('Task', task.id), err: cause },
        'an outcome could not be written; the sweeper will see to it',
      ),
    );
  } finally {
    lease.release();
    await report.flush();
    if (directory)
      await rm(directory, { recursive: true, force: true }).catch((error) =>
        core.log.warn({ err: error }, 'a temporary directory is left'),
      );
  }
}

function openTrial(
  core: Core,
  failed: Failed,
  attempt: Attempt | undefined,
  directory: string,
  report: Reporter,
): Trial {
  const { task, signal } = failed.lease;
  const target = (task.route as unknown as FrozenTarget[])[task.targetIndex]!;
  const type = core.registry.taskType(task.type);
  const loaded = core.registry.adapter(target.provider);
  const model = loaded?.adapter.models.find((each) => each.id === target.model);
  const transformer = loaded?.adapter.transformers[task.type] as PayloadTransformer | undefined;
  if (!type || !loaded || !model || !transformer) {
    // Another worker may have it, or this one after its next start: the deadline says how long it is waited for.
    throw new AdapterFailure({
      class: 'rate_limited',
      code: 'PROVIDER_GONE',
      message: `this worker has no ${target.provider} ${target.model} for ${task.type}`,
      publicMessage: 'The provider of this task is not installed any more.',
      retryAfterMs: 5_000,
    });
  }
  const context: AdapterContext = {
    config: loaded.config,
    attemptKey: attempt?.key ?? `${task.id}-${task.attempt}`,
    taskType: task.type,
    model: target.model,
    secrets: loaded.secrets,
    signal,
    deadline: task.deadlineAt!,
    now: () => new Date(),
    directory,
    fetch: globalThis.fetch,
    log: report.log,
    progress: report.progress,
  };
  const input = providerInput(model, task.input as Record<string, unknown>);
  return { ...failed, core, task, type, loaded, adapter: loaded.adapter, target, transformer, input, context, report };
}

/**
 * Begins a piece of work, unless the lease is stopped already; rejects as soon as it is, also when the work does not heed
 * its signal. A plain value and a plain throw count as the promise that they should have been.
 */
export async function unlessStopped<Value>(trial: Trial, begin: () => Value | Promise<Value>): Promise<Value> {
  const { signal } = trial.lease;
  signal.throwIfAborted();
  const work = (async () => begin())();
  // Nobody may be left to hear of it.
  work.catch(() => {});
  let stop = () => {};
  const stopped = new Promise<never>((_, reject) => {
    stop = () => reject(signal.reason);
    signal.addEventListener('abort', stop, { once: true });
  });
  try {
    return await Promise.race([work, stopped]);
  } finally {
    signal.removeEventListener('abort', stop);
  }
}
