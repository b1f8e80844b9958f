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
  type Observation,
  type PayloadTransformer,
  type Started,
  type TaskType,
} from '../sdk/index.ts';
import { storeOutput } from './assets.ts';
import { fail } from './fail.ts';
import { type Inputs, openInputs } from './inputs.ts';
import type { Lease } from './lease.ts';
import { type FrozenTarget, providerInput } from './plan.ts';
import { creditsFor } from './prices.ts';
import { openReporter, type Reporter } from './report.ts';
import { givesFiles, mapFiles } from './result.ts';
import { announceCall, finish, park } from './status.ts';

/** Everything one attempt has at hand, from its claim to its outcome. */
export interface Trial {
  core: Core;
  task: Task;
  lease: Lease;
  type: TaskType<any, any>;
  loaded: LoadedAdapter;
  adapter: Adapter;
  target: FrozenTarget;
  transformer: PayloadTransformer;
  inputs: Inputs;
  input: Record<string, unknown>;
  context: AdapterContext;
  report: Reporter;
  /** `preparing` and `starting` tell whether the paid call may have been made; the others come after it. */
  phase: 'preparing' | 'starting' | 'watching' | 'collecting';
  /** Where the vendor's job is found again, once it is known. */
  handle: Handle | undefined;
}

/** One attempt, as one sentence of steps. It never throws: every outcome is written, or somebody else's to write. */
export async function runAttempt(core: Core, lease: Lease): Promise<void> {
  await withTrial(core, lease, undefined, async (trial) => {
    const request = await prepare(trial);
    const started = await start(trial, request);
    if ('handle' in started) await leaveToVendor(trial, started.handle, started.pollAfterMs);
    else await complete(trial, 'answer' in started ? started.answer : await watch(trial, started.observations));
  });
}

/** Sets up what an attempt or a look at its handle needs, and tears it down again. */
export async function withTrial(
  core: Core,
  lease: Lease,
  attempt: Attempt | undefined,
  steps: (trial: Trial) => Promise<void>,
): Promise<void> {
  let trial: Trial | undefined;
  const directory = await mkdtemp(join(tmpdir(), 'atelier-'));
  const report = openReporter(core, lease.task);
  try {
    trial = await openTrial(core, lease, attempt, directory, report);
    await steps(trial);
  } catch (error) {
    await fail(core, lease, trial, error).catch((cause) =>
      core.log.error(
        { taskId: toId('Task', lease.task.id), err: cause },
        'an outcome could not be written; the sweeper will see to it',
      ),
    );
  } finally {
    await report.flush();
    lease.release();
    await rm(directory, { recursive: true, force: true });
  }
}

async function openTrial(
  core: Core,
  lease: Lease,
  attempt: Attempt | undefined,
  directory: string,
  report: Reporter,
): Promise<Trial> {
  const { task } = lease;
  const target = (task.route as unknown as FrozenTarget[])[task.targetIndex]!;
  const type = core.registry.taskType(task.type);
  const loaded = core.registry.adapter(target.provider);
  const model = loaded?.adapter.models.find((each) => each.id === target.model);
  const transformer = loaded?.adapter.transformers[task.type] as PayloadTransformer | undefined;
  if (!type || !loaded || !model || !transformer) {
    throw new AdapterFailure({
      class: 'permanent',
      code: 'PROVIDER_GONE',
      message: `this worker has no ${target.provider} ${target.model} for ${task.type}`,
      publicMessage: 'The provider of this task is no longer installed.',
    });
  }
  const inputs = await openInputs(core, task);
  const context: AdapterContext = {
    config: loaded.config,
    attemptKey: attempt?.key ?? `${task.id}-${task.attempt}`,
    taskType: task.type,
    model: target.model,
    secrets: loaded.secrets,
    signal: lease.signal,
    deadline: task.deadlineAt!,
    now: () => new Date(),
    directory,
    fetch: globalThis.fetch,
    log: report.log,
    progress: report.progress,
  };
  const input = providerInput(model, task.input as Record<string, unknown>);
  return {
    core,
    task,
    lease,
    type,
    loaded,
    adapter: loaded.adapter,
    target,
    transformer,
    inputs,
    input,
    context,
    report,
    phase: 'preparing',
    handle: (attempt?.handle as Handle | null) ?? undefined,
  };
}

async function prepare(trial: Trial): Promise<unknown> {
  const { adapter, transformer, context, inputs, input, target } = trial;
  const { request } = transformer.toProvider(input, target.model, { ...context, files: inputs.files });
  return inputs.place(request, { how: adapter.files ?? 'url', directory: context.directory, signal: context.signal });
}

async function start(trial: Trial, request: unknown): Promise<Started> {
  if (!(await announceCall(trial.core, trial.task))) {
    // Lost, or cancelled since the claim: nothing was bought.
    trial.lease.stop('cancelled');
    trial.lease.signal.throwIfAborted();
  }
  trial.phase = 'starting';
  const started = await unlessStopped(trial, trial.adapter.start(request, trial.context));
  trial.phase = 'watching';
  return started;
}

/** Watches an answer that comes as a stream, to its end. */
async function watch(trial: Trial, observations: AsyncIterable<Observation>): Promise<unknown> {
  const iterator = observations[Symbol.asyncIterator]();
  try {
    while (true) {
      const { done, value } = await unlessStopped(trial, iterator.next());
      if (done)
        throw new AdapterFailure({
          class: 'permanent',
          code: 'NO_OUTPUT',
          message: 'the stream ended without an outcome',
        });
      if (value.state === 'succeeded') return value.answer;
      observe(trial, value);
    }
  } finally {
    iterator.return?.().catch(() => {});
  }
}

/** Reports what an observation says of work that goes on; throws for one that says it failed. */
export function observe(trial: Trial, observation: Observation): void {
  const { report } = trial;
  if (observation.state === 'failed') throw new AdapterFailure(observation.failure);
  if (observation.state === 'cancelled')
    throw new AdapterFailure({
      class: 'permanent',
      code: 'PROVIDER_CANCELLED',
      message: 'the vendor cancelled the job',
      billed: observation.billed,
    });
  if (observation.state !== 'running') return;
  for (const line of observation.logs ?? []) report.log('INFO', line);
  if (observation.text) report.text(observation.text);
  if (observation.progress !== undefined || observation.step !== undefined)
    report.progress(observation.progress ?? 0, observation.step);
}

async function leaveToVendor(trial: Trial, handle: Handle, pollAfterMs = 1_000): Promise<void> {
  await trial.report.flush();
  await park(trial.core, trial.task, handle, pollAfterMs);
}

/** Stores the outputs, settles the price, and completes the task. A repeated call gives the same assets. */
export async function complete(trial: Trial, answer: unknown): Promise<void> {
  const { core, task, transformer, context, inputs, report, loaded, lease } = trial;
  trial.phase = 'collecting';
  const { outputs, result, usage } = transformer.fromProvider(answer, { ...context, files: inputs.files });
  if (outputs.length === 0 && givesFiles(trial.type)) {
    throw new AdapterFailure({
      class: 'permanent',
      code: 'NO_OUTPUT',
      message: 'the provider reported success without an output',
      publicMessage: 'The provider made nothing.',
    });
  }
  const place = { attempt: task.attempt, directory: context.directory, signal: lease.signal, secrets: loaded.secrets };
  const assets: string[] = [];
  for (const [index, output] of outputs.entries()) {
    const asset = await unlessStopped(trial, storeOutput(core, task, output, { ...place, output: index }));
    report.output(index, asset.id);
    assets.push(asset.id);
  }
  await report.flush();
  const used = usage && creditsFor(usage, trial.target.prices);
  const ended = await finish(core, task, {
    status: 'COMPLETED',
    result: mapFiles(trial.type, trial.type.result.parse(result), (file: { output: number }) => placed(file, assets)),
    charge: Math.min(used ?? trial.target.quote, trial.target.quote),
    basis: used == null ? 'QUOTE' : 'USAGE',
    usage,
  });
  // Refused: cancelled at the last moment, or lost. The first is still ours to end.
  if (!ended) await finish(core, task, { status: 'CANCELLED' });
}

/** Rejects as soon as the lease is stopped, also when the adapter does not heed its signal. */
export async function unlessStopped<Value>(trial: Trial, work: Promise<Value>): Promise<Value> {
  const { signal } = trial.lease;
  signal.throwIfAborted();
  let stop = () => {};
  const stopped = new Promise<never>((_, reject) => {
    stop = () => reject(signal.reason);
    signal.addEventListener('abort', stop, { once: true });
  });
  try {
    return await Promise.race([work, stopped]);
  } finally {
    signal.removeEventListener('abort', stop);
    work.catch(() => {});
  }
}

function placed({ output }: { output: number }, assets: string[]): { assetId: string } {
  const assetId = assets[output];
  if (assetId) return { assetId };
  throw new AdapterFailure({
    class: 'bug',
    code: 'NO_OUTPUT',
    message: `the result names output ${output}, and there are ${assets.length}`,
  });
}
