import type { Core } from '../core.ts';
import { embedderOf } from './embedder.ts';

/** 2 MB of the local model's. */
const mostRemembered = 1_000;

const caches = new WeakMap<Core, Map<string, Float32Array>>();

/** The vector of a query; the last 1,000 are remembered. Throws OutsideError when the model does not answer. */
export async function embedQuery(core: Core, text: string, signal: AbortSignal): Promise<Float32Array> {
  const remembered = caches.get(core) ?? new Map<string, Float32Array>();
  caches.set(core, remembered);
  const known = remembered.get(text);
  const [vector] = known ? [known] : await embedderOf(core).embed([text], { urgent: true, signal });
  remembered.delete(text);
  remembered.set(text, vector!);
  if (remembered.size > mostRemembered) remembered.delete(remembered.keys().next().value!);
  return vector!;
}
