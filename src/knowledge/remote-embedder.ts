import { z } from 'zod';
import { OutsideError } from '../errors.ts';
import { answerOf } from '../outbound/answer.ts';
import type { Outbound } from '../outbound.ts';
import type { Embedder } from './embedder.ts';
import { toUnit } from './vector.ts';

const timeoutMs = 30_000;
const maxBytes = 64 * 1024 * 1024;
const batchSize = 64;

const shape = z.object({
  data: z.array(z.object({ index: z.int().nonnegative(), embedding: z.array(z.number()).nonempty() })),
});

/**
 * Any server with OpenAI's `POST /embeddings` (https://platform.openai.com/docs/api-reference/embeddings/create).
 * @param settings.url what `/embeddings` is added to.
 */
export function remoteEmbedder(
  outbound: Pick<Outbound, 'fetch'>,
  settings: { url: string; model: string; key?: string },
): Embedder {
  const url = `${settings.url.replace(/\/$/, '')}/embeddings`;
  const headers = {
    'content-type': 'application/json',
    ...(settings.key && { authorization: `Bearer ${settings.key}` }),
  };

  async function ask(input: string[], signal?: AbortSignal): Promise<Float32Array[]> {
    const body = JSON.stringify({ model: settings.model, input, encoding_format: 'float' });
    const response = await outbound.fetch(url, { method: 'POST', headers, body, timeoutMs, maxBytes, signal });
    const answer = answerOf(response);
    if (answer.status !== 200) {
      response.discard();
      throw failure(`answered ${answer.status}`, answer.status === 429 || answer.status >= 500);
    }
    const vectors = readVectors(await answer.text(), input.length);
    if (!vectors) throw failure(`did not answer with one vector for each of ${input.length} texts`, false);
    return vectors;
  }
  const failure = (what: string, retryable: boolean) =>
    new OutsideError(`embedding texts: ${url} ${what}`, { retryable });

  return {
    model: `remote/${settings.model}`,
    async embed(texts, { signal }) {
      const vectors: Float32Array[] = [];
      for (let from = 0; from < texts.length; from += batchSize)
        vectors.push(...(await ask(texts.slice(from, from + batchSize), signal)));
      return vectors;
    },
  };
}

/** One unit vector a text, all of the same length; null: that is not what the body says. */
function readVectors(body: string, texts: number): Float32Array[] | null {
  const { data } = shape.safeParse(parse(body));
  const vectors = new Array<Float32Array | undefined>(texts).fill(undefined);
  for (const { index, embedding } of data?.data ?? []) if (index < texts) vectors[index] = toUnit(embedding);
  const length = vectors[0]?.length;
  return vectors.every((vector) => vector?.length === length && vector) ? (vectors as Float32Array[]) : null;
}

function parse(body: string): unknown {
  try {
    return JSON.parse(body);
  } catch {
    return undefined;
  }
}
