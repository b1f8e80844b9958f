import { embedTexts } from '../../knowledge/embed.ts';
import type { FullBatch } from '../batch.ts';
import { transformOf } from '../catalog.ts';
import type { TransformStage } from '../definition.ts';
import { done, failed, givenBack, type Outcome } from '../outcome.ts';
import type { StageKind, Turn } from './stage.ts';

const timeLimitMs = 60_000;

/** A function in this process; it ends at once. */
export const transformKind: StageKind<TransformStage> = {
  async begin(turn, stage, batches) {
    const outcomes: Outcome[] = [];
    for (const batch of batches) outcomes.push(await apply(turn, stage, batch));
    return { begun: [], outcomes };
  },
  // Begun, it has ended.
  collect: async (_turn, _stage, batches) => batches.map(() => null),
  abandon: async (_turn, batches) => batches.map(givenBack),
};

async function apply(turn: Turn, stage: TransformStage, batch: FullBatch): Promise<Outcome> {
  const { core, run, definition } = turn;
  const transform = transformOf(core, stage.transform);
  if (!transform)
    return failed(batch, {
      code: 'TRANSFORM_GONE',
      message: `No transform "${stage.transform}" is installed any more.`,
      retryable: true,
    });
  const signal = AbortSignal.any([turn.signal, AbortSignal.timeout(timeLimitMs)]);
  try {
    const items = batch.items.map(({ id, kind, data }) => ({ id, kind, data: data as Record<string, unknown> }));
    const given = transform.apply(items, {
      parameters: stage.parameters,
      input: (run.input ?? {}) as Record<string, unknown>,
      embed: (texts) => embedTexts(core, texts, signal),
      signal,
    });
    const { items: made, rejected = [] } = await Promise.race([given, ended(signal)]);
    for (const { reason } of rejected.slice(0, 20)) turn.log('INFO', `Left out: ${reason}`, stage.key);
    const known = new Set(batch.items.map(({ id }) => id));
    const stranger = made.find(({ from }) => from.length === 0 || from.some((id) => !known.has(id)));
    if (stranger) throw new TypeError(`${transform.name} made an item from one that it was not given`);
    return done(definition, stage, batch, made);
  } catch (error) {
    turn.signal.throwIfAborted();
    const message = `${transform.name} failed: ${error instanceof Error ? error.message : String(error)}`;
    core.log.warn({ err: error, transform: transform.name }, 'a transform failed');
    return failed(batch, { code: 'TRANSFORM_FAILED', message, retryable: true });
  }
}

function ended(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => {
    if (signal.aborted) reject(signal.reason);
    signal.addEventListener('abort', () => reject(signal.reason), { once: true });
  });
}
