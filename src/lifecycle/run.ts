import { setImmediate as breathe } from 'node:timers/promises';
import type { Core } from '../core.ts';
import { AdapterFailure, type Handle, type Observation, type Started } from '../sdk/index.ts';
import { storeOutput } from './assets.ts';
import { openInputs } from './inputs.ts';
import type { Lease } from './lease.ts';
import { persist } from './persist.ts';
import { creditsFor } from './prices.ts';
import { givesFiles, mapFiles } from './result.ts';
import { announceCall, finish, flagForReview, park } from './status.ts';
import { type Trial, unlessStopped, withTrial } from './trial.ts';

const firstLookMs = { default: 1_000, shortest: 10, longest: 86_400_000 };
/** A stream that always has more must leave the loop to others. */
const observationsAtOnce = 100;

/** One attempt, as one sentence of steps. Every outcome is written, or somebody else's to write. */
export async function runAttempt(core: Core, lease: Lease): Promise<void> {
  await withTrial(core, lease, undefined, async (trial) => {
    const request = await prepare(trial);
    const started = await start(trial, request);
    if ('handle' in started) await leaveToVendor(trial, started.handle, started.pollAfterMs);
    else await complete(trial, 'answer' in started ? started.answer : await watch(trial, started.observations));
  });
}

async function prepare(trial: Trial): Promise<unknown> {
  const { core, task, adapter, transformer, context, input, target } = trial;
  const inputs = await openInputs(core, task);
  const { request } = transformer.toProvider(input, target.model, { ...context, files: inputs.files });
  const { directory, signal } = context;
  return inputs.place(request, { how: adapter.files ?? 'url', directory, signal });
}

async function start(trial: Trial, request: unknown): Promise<Started> {
  const { core, task, lease, adapter, context } = trial;
  if (!(await announceCall(core, task))) {
    // Lost, or cancelled since the claim: nothing was bought.
    lease.stop('cancelled');
    lease.signal.throwIfAborted();
  }
  const started = await unlessStopped(trial, () => {
    trial.phase = 'starting';
    return adapter.start(request, context);
  });
  trial.phase = 'watching';
  if (
    typeof started === 'object' &&
    started !== null &&
    ('answer' in started || 'handle' in started || 'observations' in started)
  )
    return started;
  throw new AdapterFailure({
    class: 'bug',
    code: 'ADAPTER_ERROR',
    message: 'start returned neither answer, handle nor observations',
  });
}

/** Watches an answer that comes as a stream, to its end. */
async function watch(trial: Trial, observations: AsyncIterable<Observation>): Promise<unknown> {
  const iterator = observations[Symbol.asyncIterator]();
  try {
    for (let seen = 1; ; seen++) {
      const { done, value } = await unlessStopped(trial, () => iterator.next());
      if (done)
        throw new AdapterFailure({
          class: 'permanent',
          code: 'NO_OUTPUT',
          message: 'the stream ended without an outcome',
        });
      if (value.state === 'succeeded') return value.answer;
      observe(trial, value);
      if (seen % observationsAtOnce === 0) await breathe();
    }
  } finally {
    iterator.return?.().catch(() => {});
  }
}

/** Reports what an observation says of work that goes on; throws for one that says it failed. */
export function observe(trial: Trial, observation: Observation): void {
  const { report } = trial;
  if (observation.state === 'failed' || observation.state === 'cancelled') {
    const failure =
      observation.state === 'failed'
        ? new AdapterFailure(observation.failure)
        : new AdapterFailure({
            class: 'permanent',
            code: 'PROVIDER_CANCELLED',
            message: 'the vendor cancelled the job',
            billed: observation.billed,
          });
    trial.observed = failure;
    throw failure;
  }
  if (observation.state !== 'running') return;
  for (const line of observation.logs ?? []) report.log('INFO', line);
  if (observation.text) report.text(observation.text);
  if (observation.progress !== undefined || observation.step !== undefined)
    report.progress(observation.progress ?? 0, observation.step);
}

async function leaveToVendor(trial: Trial, handle: Handle, pollAfterMs: unknown): Promise<void> {
  const { core, task, report } = trial;
  const { default: usual, shortest, longest } = firstLookMs;
  const afterMs = typeof pollAfterMs === 'number' && Number.isFinite(pollAfterMs) ? pollAfterMs : usual;
  await report.flush();
  if (!isJson(handle)) {
    core.log.error(
      { adapter: trial.adapter.name },
      'start returned a handle that is no JSON object: the job cannot be found again',
    );
    await persist(() => flagForReview(core, task));
    return;
  }
  await persist(() => park(core, task, handle, Math.min(Math.max(afterMs, shortest), longest)));
}

function isJson(handle: unknown): handle is Handle {
  try {
    return typeof handle === 'object' && handle !== null && JSON.stringify(handle) !== undefined;
  } catch {
    return false;
  }
}

/** Stores the outputs, settles the price, and completes the task. A repeated call gives the same assets. */
export async function complete(trial: Trial, answer: unknown): Promise<void> {
  const { core, task, transformer, context, report, loaded, lease, target } = trial;
  trial.phase = 'collecting';
  const { outputs, result, usage } = transformer.fromProvider(answer, context);
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
    const asset = await unlessStopped(trial, () => storeOutput(core, task, output, { ...place, output: index }));
    report.output(index, asset.id);
    assets.push(asset.id);
  }
  const kept = mapFiles(trial.type, trial.type.result.parse(result), (file: { output: number }) =>
    placed(file, assets),
  );
  await report.flush();
  const used = usage && creditsFor(usage, target.prices);
  const ended = await persist(() =>
    finish(core, task, {
      status: 'COMPLETED',
      result: kept,
      charge: Math.min(used ?? target.quote, target.quote),
      basis: used == null ? 'QUOTE' : 'USAGE',
      usage,
    }),
  );
  // Refused: cancelled at the last moment, or lost. The first is still ours to end.
  if (!ended) await persist(() => finish(core, task, { status: 'CANCELLED' }));
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
