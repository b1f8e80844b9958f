import type { Core } from '../core.ts';
import type { Attempt, ProviderCallback, Task } from '../db.ts';
import { toId } from '../id.ts';
import {
  type Adapter,
  AdapterFailure,
  type Handle,
  NetworkFailure,
  type PayloadTransformer,
  type TaskType,
} from '../sdk/index.ts';
import type { OutputPlace } from './assets.ts';
import { adapterContext, hasCredential, type TaskContext } from './context.ts';
import { defaultStartTimeoutMs, type Failed, fail, isResent } from './fail.ts';
import type { Lease } from './lease.ts';
import { type FrozenTarget, providerInput } from './plan.ts';
import { openPreviews, type Previews } from './preview.ts';
import { openReporter, type Reporter } from './report.ts';

/** A job that is due for a look. */
export interface Due extends Attempt {
  elapsedMs: number;
  /** How late this look is. */
  lagMs: number;
  /** Past its deadline, by the database's clock. */
  overdue: boolean;
  /** A lost job that is not seen by now was never taken in. */
  unseen: boolean;
  callbacks: ProviderCallback[];
}

/** Everything that an attempt, or a look at its vendor's job, has at hand. */
export interface Trial extends Failed {
  core: Core;
  task: Task;
  type: TaskType<any, any>;
  adapter: Adapter;
  target: FrozenTarget;
  transformer: PayloadTransformer;
  input: Record<string, unknown>;
  context: TaskContext;
  report: Reporter;
  previews: Previews;
  /** Where its outputs belong, and how they are fetched. */
  place: Omit<OutputPlace, 'output'>;
}

/**
 * Sets up what the steps need, and tears it down again. What the steps throw becomes the outcome of the attempt; what cannot
 * be written even then is left to the sweeper. Never throws.
 * @param due the attempt whose job is looked at; undefined for a new one.
 */
export async function withTrial(
  core: Core,
  lease: Lease,
  due: Due | undefined,
  steps: (trial: Trial) => Promise<void>,
): Promise<void> {
  const { task } = lease;
  const report = openReporter(core, task);
  let failed: Failed = {
    lease,
    phase: !due ? 'preparing' : due.handle ? 'watching' : 'seeking',
    lookAgainMs: goneAgainMs,
    handle: (due?.handle as Handle | null) ?? undefined,
  };
  let trial: Trial | undefined;
  try {
    trial = openTrial(core, failed, due, report);
    failed = trial;
    await steps(trial);
  } catch (error) {
    await trial?.previews.end();
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
    await trial?.previews.end();
    await trial?.context.close();
  }
}

/** Until a task whose provider is not here is tried again, and how often before the next of its route is. */
const goneAgainMs = 5_000;
const goneTries = 3;

function openTrial(core: Core, failed: Failed, due: Due | undefined, report: Reporter): Trial {
  const { task, signal } = failed.lease;
  const target = (task.route as unknown as FrozenTarget[])[task.targetIndex]!;
  const type = core.registry.taskType(task.type);
  const loaded = core.registry.adapter(target.provider);
  const model = loaded?.models.find((each) => each.id === target.model);
  const transformer = loaded?.adapter.transformers[task.type] as PayloadTransformer | undefined;
  if (!type || !loaded || loaded.disabled || !model || !transformer) {
    // Another worker may have it, or this one after its next start: the deadline says how long it is waited for.
    const hasNext = (task.route as unknown as FrozenTarget[]).length > task.targetIndex + 1;
    throw new AdapterFailure({
      class: task.attempt >= goneTries && hasNext ? 'permanent' : 'rate_limited',
      code: 'PROVIDER_GONE',
      message: `this worker has no ${target.provider} ${target.model} for ${task.type}`,
      publicMessage: 'The provider of this task is not installed any more.',
      retryAfterMs: goneAgainMs,
    });
  }
  // An account that is not ours any more cannot be asked, nor be sent the same call again.
  if (!hasCredential(loaded, task.credential) && (due ? !due.handle : isResent(task)))
    throw new AdapterFailure({
      class: 'ambiguous',
      code: 'CREDENTIAL_GONE',
      message: 'the credential of this call is gone',
    });
  const { adapter } = loaded;
  const timeoutMs = due ? undefined : (adapter.startTimeoutMs ?? defaultStartTimeoutMs);
  const context = adapterContext(core, { task, loaded, signal, report, timeoutMs });
  const place = {
    attempt: task.attempt,
    directory: () => context.directory,
    signal,
    secrets: context.secrets,
    fetch: core.vendors.openAssets(loaded, signal),
  };
  return Object.assign(failed, {
    core,
    task,
    type,
    adapter,
    target,
    transformer,
    input: providerInput(model, task.input as Record<string, unknown>),
    context,
    report,
    place,
    previews: openPreviews(core, task, { report, place, signal }),
    lookAgainMs: rhythmMs(due?.elapsedMs ?? 0, due?.lagMs ?? 0, context.callbackUrl !== undefined),
  });
}

/**
 * A tenth of the time that has passed: a short job is seen soon, a long one costs few requests. Fewer yet where the vendor calls, and, up to half
 * as many, where looks come late: so that they come late no longer.
 */
function rhythmMs(elapsedMs: number, lagMs: number, vendorCalls: boolean): number {
  const rhythm = vendorCalls
    ? Math.min(Math.max(elapsedMs / 5, 5_000), 60_000)
    : Math.min(Math.max(elapsedMs / 10, 1_000), 10_000);
  return rhythm + Math.min(2 * lagMs, rhythm);
}

/**
 * Begins a piece of work, unless the lease is stopped already; rejects as soon as it is, also when the work does not heed
 * its signal. A plain value and a plain throw count as the promise that they should have been.
 * @param withinMs rejects with a NetworkFailure after this. Default: no limit but the lease.
 */
export async function unlessStopped<Value>(
  trial: Trial,
  begin: () => Value | Promise<Value>,
  withinMs?: number,
): Promise<Value> {
  const { signal } = trial.lease;
  signal.throwIfAborted();
  const work = (async () => begin())();
  // Nobody may be left to hear of it.
  work.catch(() => {});
  let stop = () => {};
  let timer: NodeJS.Timeout | undefined;
  const stopped = new Promise<never>((_, reject) => {
    stop = () => reject(signal.reason);
    signal.addEventListener('abort', stop, { once: true });
    if (withinMs === undefined) return;
    const late = () => reject(new NetworkFailure(`nothing came within ${withinMs} ms`, { sent: 'maybe' }));
    timer = setTimeout(late, withinMs);
  });
  try {
    return await Promise.race([work, stopped]);
  } finally {
    clearTimeout(timer);
    signal.removeEventListener('abort', stop);
  }
}
