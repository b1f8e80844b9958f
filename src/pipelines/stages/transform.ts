import { embedTexts } from '../../knowledge/embed.ts';
import { storableJson } from '../../lifecycle/storable.ts';
import type { PipelineTransform, Transformed } from '../../sdk/index.ts';
import type { FullBatch } from '../batch.ts';
import { transformOf } from '../catalog.ts';
import type { TransformStage } from '../definition.ts';
import { done, failed, givenBack, type Made, type Outcome } from '../outcome.ts';
import type { StageKind, Turn } from './stage.ts';

/** Of its own: embedding texts is not counted, which takes as long as there are texts. */
const timeLimitMs = 60_000;
const rejectionsLogged = 20;

/** A function in this process; it ends at once. */
export const transformKind: StageKind<TransformStage> = {
  atOnce: 1,
  async begin(turn, stage, batches) {
    const outcomes: Outcome[] = [];
    for (const batch of batches) outcomes.push(await apply(turn, stage, batch));
    return { begun: 0, outcomes };
  },
  // Begun, it has ended.
  collect: async (_turn, _stage, batches) => batches.map(() => null),
  giveUp: async (_turn, batches) => batches.map(givenBack),
};

async function apply(turn: Turn, stage: TransformStage, batch: FullBatch): Promise<Outcome> {
  const transform = transformOf(turn.core, stage.transform);
  if (!transform)
    return failed(batch, {
      code: 'TRANSFORM_GONE',
      message: `No transform "${stage.transform}" is installed any more.`,
      retryable: true,
    });
  try {
    const { items, rejected = [] } = await underLimit(turn, transform, stage, batch);
    const known = new Set(batch.items.map(({ id }) => id));
    const made = items.map((item) => readMade(item, known));
    for (const { reason } of rejected.slice(0, rejectionsLogged)) turn.log('INFO', `Left out: ${reason}`, stage.key);
    return done(turn.definition, stage, batch, made);
  } catch (error) {
    turn.signal.throwIfAborted();
    const message = `${transform.name} failed: ${error instanceof Error ? error.message : String(error)}`;
    turn.core.log.warn({ err: error, transform: transform.name }, 'a transform failed');
    return failed(batch, { code: 'TRANSFORM_FAILED', message, retryable: true });
  }
}

async function underLimit(
  { core, run, signal: outer }: Turn,
  transform: PipelineTransform,
  stage: TransformStage,
  batch: FullBatch,
): Promise<Transformed> {
  const over = new AbortController();
  const { signal } = over;
  const ended = new Promise<never>((_, reject) => {
    signal.addEventListener('abort', () => reject(signal.reason), { once: true });
  });
  const leave = () => over.abort(outer.reason);
  outer.addEventListener('abort', leave, { once: true });
  const expire = () => over.abort(new Error(`it took more than ${timeLimitMs / 1000} s`));
  let timer = setTimeout(expire, timeLimitMs);
  let embeddings = 0;
  const embed = async (texts: string[]) => {
    embeddings++;
    clearTimeout(timer);
    try {
      return await embedTexts(core, texts, signal);
    } finally {
      // Unreferenced: a function may end without waiting for its vectors.
      if (--embeddings === 0) timer = setTimeout(expire, timeLimitMs).unref();
    }
  };
  const items = batch.items.map(({ id, kind, data }) => ({ id, kind, data: data as Record<string, unknown> }));
  const input = (run.input ?? {}) as Record<string, unknown>;
  try {
    outer.throwIfAborted();
    const given = transform.apply(items, { parameters: stage.parameters, input, embed, signal });
    return await Promise.race([given, ended]);
  } finally {
    clearTimeout(timer);
    outer.removeEventListener('abort', leave);
  }
}

/** What a plugin made, as it can be kept. */
function readMade({ data, from }: Transformed['items'][number], known: Set<string>): Made {
  if (!Array.isArray(from) || from.length === 0 || from.some((id) => !known.has(id)))
    throw new TypeError('it made an item from one that it was not given');
  if (typeof data !== 'object' || data === null || Array.isArray(data))
    throw new TypeError('the data of an item that it made is no object');
  return { data: JSON.parse(storableJson(data)), from };
}
