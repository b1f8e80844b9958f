import type { Core } from '../core.ts';
import { localEmbedder } from './local-embedder.ts';
import { remoteEmbedder } from './remote-embedder.ts';

/** Turns texts into vectors of unit length, those of like meaning near each other. */
export interface Embedder {
  /** Which vectors can be compared: those with the same name. */
  model: string;
  /**
   * One vector a text, in their order, all of the same length. A text of which the model knows nothing gets zeros: it is like no other.
   * @param options.urgent goes before what is not: a caller waits.
   * @throws OutsideError when it does not answer; the signal's reason when it is aborted.
   */
  embed(texts: string[], options: { urgent?: boolean; signal?: AbortSignal }): Promise<Float32Array[]>;
}

/** The one that the settings choose: an OpenAI-compatible server, or the model that comes with Atelier. */
export function embedderOf(core: Core): Embedder {
  let embedder = embedders.get(core);
  if (!embedder) {
    const { ATELIER_EMBEDDINGS_URL: url, ATELIER_EMBEDDINGS_MODEL: model, ATELIER_EMBEDDINGS_KEY: key } = core.config;
    embedder = url ? remoteEmbedder(core.outbound, { url, model, key }) : localEmbedder;
    embedders.set(core, embedder);
  }
  return embedder;
}

const embedders = new WeakMap<Core, Embedder>();
