import { OutsideError } from '../errors.ts';
import { answerOf } from '../outbound/answer.ts';
import type { Outbound } from '../outbound.ts';
import type { Embedder } from './embedder.ts';
import { toUnit } from './vector.ts';

const timeoutMs = 30_000;
const maxBytes = 64 * 1024 * 1024;
const batchSize = 64;

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
    const { data } = (await answer.json()) as { data?: { index: number; embedding: number[] }[] };
    const vectors: (Float32Array | undefined)[] = input.map(() => undefined);
    for (const { index, embedding } of data ?? []) vectors[index] = toUnit(embedding);
    const length = vectors[0]?.length;
    if (!length || vectors.length > input.length || vectors.some((vector) => vector?.length !== length))
      throw failure(`did not answer with one vector for each of ${input.length} texts`, false);
    return vectors as Float32Array[];
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
