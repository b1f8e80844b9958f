import { setImmediate as breathe } from 'node:timers/promises';
import pLimit, { type LimitFunction } from 'p-limit';
import type { Core } from '../core.ts';
import { AdapterFailure, type Handle, type Observation, type Started, type UploadFile } from '../sdk/index.ts';
import { storeOutput } from './assets.ts';
import { knownCost, knownUsage } from './classify.ts';
import { openInputs } from './inputs.ts';
import type { Lease } from './lease.ts';
import { persist } from './persist.ts';
import { creditsFor } from './prices.ts';
import { givesFiles, mapFiles } from './result.ts';
import { announceCall, finish, flagForReview, keepHandle, park } from './status.ts';
import { type Trial, unlessStopped, withTrial } from './trial.ts';

const firstLookMs = { default: 1_000, shortest: 10, longest: 86_400_000 };
/** A stream that always has more must leave the loop to others. */
const observationsAtOnce = 100;
/** Per process: results that are fetched and stored at once, and jobs that are watched live. */
const collectedAtOnce = 8;
const followedAtOnce = 50;

/** One attempt, as one sentence of steps. Every outcome is written, or somebody else's to write. */
export async function runAttempt(core: Core, lease: Lease): Promise<void> {
  await withTrial(core, lease, undefined, async (trial) => {
    const request = await prepare(trial);
    const started = await start(trial, request);
    if ('handle' in started) await leaveToVendor(trial, started.handle, started.pollAfterMs);
    else if ('answer' in started) await complete(trial, started.answer);
    else await complete(trial, await watch(trial, started.observations));
  });
}

async function prepare(trial: Trial): Promise<unknown> {
  const { core, task, adapter, transformer, context, input, target } = trial;
  const inputs = await openInputs(core, task);
  const { request } = transformer.toProvider(input, target.model, { ...transformContext(trial), files: inputs.files });
  return inputs.place(request, {
    how: adapter.files ?? 'url',
    directory: () => context.directory,
    signal: context.signal,
    upload: adapter.upload && ((file: UploadFile) => adapter.upload!(file, context)),
  });
}

const transformContext = ({ context: { config, attemptKey, callbackUrl } }: Trial) => ({
  config,
  attemptKey,
  callbackUrl,
});

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
  if (
    typeof started !== 'object' ||
    started === null ||
    !('answer' in started || 'handle' in started || 'observations' in started)
  )
    throw new AdapterFailure({
      class: 'bug',
      code: 'ADAPTER_ERROR',
      message: 'start returned neither answer, handle nor observations',
    });
  // A stream makes its paid call when it is first asked, and until it has ended its answer can be lost.
  if (!('observations' in started)) trial.phase = 'watching';
  return started;
}

/** Watches an answer that comes as a stream, to its end. */
async function watch(trial: Trial, observations: AsyncIterable<Observation>): Promise<unknown> {
  const outcome = await iterate(trial, observations);
  if (outcome) return outcome.answer;
  // Cut, most likely, and cleanly: what was paid for may be lost.
  throw new AdapterFailure({ class: 'ambiguous', code: 'ANSWER_LOST', message: 'the stream ended without an outcome' });
}

/**
 * @param silentMs a stream that says nothing for so long is given up with a NetworkFailure. Default: never.
 * @returns the success, or undefined for a stream that ends without an outcome; throws for a failure.
 */
async function iterate(
  trial: Trial,
  observations: AsyncIterable<Observation>,
  silentMs?: number,
): Promise<Extract<Observation, { state: 'succeeded' }> | undefined> {
  const iterator = observations[Symbol.asyncIterator]();
  try {
    for (let seen = 1; ; seen++) {
      const { done, value } = await unlessStopped(trial, () => iterator.next(), silentMs);
      if (done) return undefined;
      if (value.state === 'succeeded') return value;
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
  if (observation.state === 'queued') {
    const { position } = observation;
    report.progress(0, position === undefined ? 'queued' : `queued (${position})`);
  }
  if (observation.state !== 'running') return;
  const { logs, text, progress, step, partial, handle } = observation;
  if (handle) trial.handle = handle;
  for (const line of logs ?? []) trial.context.log('INFO', line);
  if (text) report.text(text);
  if (partial) trial.previews.show(partial);
  if (progress !== undefined || step !== undefined) trial.context.progress(progress ?? 0, step);
}

async function leaveToVendor(trial: Trial, handle: Handle, pollAfterMs: unknown): Promise<void> {
  const { core, task } = trial;
  const { default: usual, shortest, longest } = firstLookMs;
  const afterMs = typeof pollAfterMs === 'number' && Number.isFinite(pollAfterMs) ? pollAfterMs : usual;
  if (!isJson(handle)) {
    core.log.error(
      { adapter: trial.adapter.name },
      'start returned a handle that is no JSON object: the job cannot be found again',
    );
    await persist(() => flagForReview(core, task));
    return;
  }
  trial.handle = handle;
  await attend(trial, Math.min(Math.max(afterMs, shortest), longest));
}

function isJson(handle: unknown): handle is Handle {
  try {
    return typeof handle === 'object' && handle !== null && JSON.stringify(handle) !== undefined;
  } catch {
    return false;
  }
}

/** A job that is watched and of which nothing is heard is looked at. */
const silentMs = 30_000;
const followed = new WeakMap<Core, number>();

/**
 * Work goes on at the vendor: it is watched live where the adapter can and this process has room, else looked at again later.
 * @param afterMs until the next look.
 */
export async function attend(trial: Trial, afterMs: number): Promise<void> {
  const { core, task, adapter, context, report } = trial;
  const handle = trial.handle!;
  const count = followed.get(core) ?? 0;
  if (adapter.follow && count < followedAtOnce) {
    followed.set(core, count + 1);
    try {
      // Stored before anything else: whatever happens to this process, the job is found.
      if (!(await persist(() => keepHandle(core, task, handle)))) return;
      trial.lease.park();
      trial.lease.signal.throwIfAborted();
      const outcome = await iterate(trial, adapter.follow(handle, context), silentMs);
      if (outcome) return await complete(trial, outcome.answer);
    } finally {
      followed.set(core, followed.get(core)! - 1);
    }
  }
  await report.flush();
  await persist(() => park(core, task, trial.handle!, afterMs));
}

const collecting = new WeakMap<Core, LimitFunction>();

/** Stores the outputs, settles the price, and completes the task. A repeated call gives the same assets. */
export async function complete(trial: Trial, answer: unknown): Promise<void> {
  const { core } = trial;
  const pool = collecting.get(core) ?? pLimit(collectedAtOnce);
  collecting.set(core, pool);
  trial.phase = 'collecting';
  await unlessStopped(trial, () => pool(() => collect(trial, answer)));
}

async function collect(trial: Trial, answer: unknown): Promise<void> {
  const { core, task, transformer, report, lease, target } = trial;
  // Stopped while it waited for its turn.
  if (lease.signal.aborted) return;
  // A transformer may take a while, as one that matches expressions; leases are renewed between two.
  await breathe();
  const { outputs, result, usage, cost } = transformer.fromProvider(answer, transformContext(trial));
  if (outputs.length === 0 && givesFiles(trial.type)) {
    throw new AdapterFailure({
      class: 'permanent',
      code: 'NO_OUTPUT',
      message: 'the provider reported success without an output',
      publicMessage: 'The provider made nothing.',
    });
  }
  await trial.previews.end();
  const assets: string[] = [];
  let durationMs: bigint | null = null;
  for (const [index, output] of outputs.entries()) {
    const asset = await unlessStopped(trial, () => storeOutput(core, task, output, { ...trial.place, output: index }));
    report.output(index, asset.id);
    assets.push(asset.id);
    durationMs ??= asset.durationMs;
  }
  const playsSeconds = result.durationSeconds ?? (durationMs === null ? undefined : Number(durationMs) / 1000);
  const shaped = trial.type.result.parse({ ...result, durationSeconds: playsSeconds });
  const kept = mapFiles(trial.type, shaped, (file: { output: number }) => placed(file, assets));
  await report.flush();
  const told = knownUsage(usage);
  const used = told && creditsFor(told, target.prices);
  const ended = await persist(() =>
    finish(core, task, {
      status: 'COMPLETED',
      result: kept,
      charge: Math.min(used ?? target.quote, target.quote),
      basis: used == null ? 'QUOTE' : 'USAGE',
      usage: told,
      cost: knownCost(cost),
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
