import { AdapterFailure, defineAdapter, type FailureFacts, type Handle, type Observation, z } from 'atelier/adapter';
import { type Script, script } from './script.ts';
import { previewOf, type ScriptedJob, textOf, transformers } from './transformers.ts';

const config = z.strictObject({
  enabled: z.literal(true).describe('Switches the adapter on. Leave it off where clients pay.'),
});

interface ScriptedHandle extends Handle {
  v: 1;
  /** Milliseconds since 1970. */
  startedAt: number;
  job: ScriptedJob;
}

/** A vendor that does what the options of a task say, for tests of clients: no network, no cost, no chance. */
export default defineAdapter({
  name: 'scripted',
  contract: 1,
  version: '1.0.0',
  title: "Scripted (does what its input's options say; for tests)",
  config,
  runs: 'vendor',
  resubmit: 'never',
  models: [{ id: 'script-1', taskTypes: Object.keys(transformers), options: script, typicalMs: 100 }],
  transformers,

  async start(job: ScriptedJob, context) {
    const { durationMs, logs, fail, deltas } = job.script;
    for (const line of logs) context.log('INFO', line);
    if (fail?.when === 'start' && isDue(fail, context.attemptKey)) throw new AdapterFailure(factsOf(fail));
    if (durationMs > 0) {
      const handle: ScriptedHandle = { v: 1, startedAt: context.now().getTime(), job };
      return { handle, pollAfterMs: Math.min(durationMs, 1_000) };
    }
    if (fail && isDue(fail, context.attemptKey)) throw new AdapterFailure(factsOf(fail));
    return deltas.length > 0 ? { observations: stream(job) } : { answer: job };
  },

  async poll(handle, context): Promise<Observation> {
    const { startedAt, job } = handle as ScriptedHandle;
    const { durationMs, steps, fail, preview } = job.script;
    const passed = (context.now().getTime() - startedAt) / durationMs;
    if (passed >= 1) {
      if (fail && isDue(fail, context.attemptKey)) return { state: 'failed', failure: factsOf(fail) };
      return { state: 'succeeded', answer: job };
    }
    const progress = Math.max(passed, 0);
    const step = steps[Math.floor(progress * steps.length)];
    const partial = preview ? previewOf(context.taskType, job) : undefined;
    return { state: 'running', progress, ...(step && { step }), ...(partial && { partial }) };
  },

  cancel: async (handle) => (handle as ScriptedHandle).job.script.cancel,
});

async function* stream(job: ScriptedJob): AsyncGenerator<Observation> {
  const whole = textOf(job.script).length;
  let told = 0;
  for (const text of job.script.deltas) {
    told += text.length;
    yield { state: 'running', text, progress: whole > 0 ? told / whole : 1 };
  }
  yield { state: 'succeeded', answer: job };
}

/** Whether this attempt is one of those that fail. An attempt's key ends with its number. */
function isDue({ times }: NonNullable<Script['fail']>, attemptKey: string): boolean {
  return times === undefined || Number(attemptKey.split('-').at(-1)) <= times;
}

function factsOf({ when: _, times: __, ...facts }: NonNullable<Script['fail']>): FailureFacts {
  return { billed: 'nothing', ...facts };
}
