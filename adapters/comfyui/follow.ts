import type { AdapterContext, Observation } from 'atelier/adapter';
import type { Config } from './config.ts';
import { type ComfyHandle, look, stepOf } from './server.ts';
import type { ComfyAnswer } from './transform.ts';

/** Watches a job over the WebSocket, to its outcome. */
export async function* follow(
  handle: ComfyHandle,
  context: AdapterContext<Config>,
): AsyncGenerator<Observation<ComfyAnswer>> {
  const authorization = context.secrets.COMFYUI_AUTHORIZATION;
  const url = `${context.config.baseUrl.replace(/^http/, 'ws')}/ws?clientId=${handle.clientId}`;
  const progress = openProgress(context, handle);
  let isFirst = true;
  for await (const message of context.socket(url, { headers: authorization ? { authorization } : {} })) {
    if (isFirst) {
      isFirst = false;
      // What happened before the server knew of this socket, it does not tell again.
      const now = await look(handle, context);
      yield now;
      if (now.state !== 'queued' && now.state !== 'running') return;
    }
    if (typeof message !== 'string') {
      const partial = previewOf(message);
      if (partial) yield { state: 'running', partial };
      continue;
    }
    const event = read(message);
    if (!event || (event.data.prompt_id ?? handle.promptId) !== handle.promptId) continue;
    if (event.type === 'executing' && event.data.node === null && event.data.prompt_id) {
      // Told when the history has it.
      yield await look(handle, context);
      return;
    }
    const step = progress.heed(event);
    if (step) yield { state: 'running', ...step };
  }
}

interface Event {
  type: string;
  data: any;
}

function read(message: string): Event | undefined {
  try {
    const event = JSON.parse(message);
    return typeof event?.data === 'object' && event.data !== null ? event : undefined;
  } catch {
    return undefined;
  }
}

/** How many nodes are done, and how far the running ones are. Never falls; stays below 1, which is the outcome's to say. */
function openProgress(context: AdapterContext<Config>, { promptId }: ComfyHandle) {
  const graph = context.config.workflows.find(({ id }) => id === context.model)?.workflow ?? {};
  const total = Math.max(Object.keys(graph).length, 1);
  const shares = new Map<string, number>();
  let running: string | undefined;
  let told = 0;
  const set = (node: unknown, share: number) => {
    // Nodes that a node unfolds into are part of it.
    if (typeof node === 'string' && graph[node]) shares.set(node, Math.max(shares.get(node) ?? 0, Math.min(share, 1)));
  };
  const turn = (node: unknown) => {
    if (running !== undefined && running !== node) set(running, 1);
    if (typeof node === 'string') running = node;
  };
  return {
    heed({ type, data }: Event): { progress: number; step?: string } | undefined {
      if (type === 'execution_cached') for (const node of data.nodes ?? []) set(node, 1);
      else if (type === 'executing') turn(data.node);
      else if (type === 'executed') set(data.node, 1);
      else if (type === 'progress') set(data.node ?? running, data.value / (data.max || 1));
      else if (type === 'progress_state') {
        for (const [node, { value, max, state }] of Object.entries<any>(data.nodes ?? {})) {
          set(node, state === 'finished' ? 1 : value / (max || 1));
          if (state === 'running' && graph[node]) running = node;
        }
      } else if (type !== 'execution_start' || data.prompt_id !== promptId) return undefined;
      const done = [...shares.values()].reduce((sum, share) => sum + (Number.isFinite(share) ? share : 0), 0);
      told = Math.max(told, Math.min(done / total, 0.99));
      return { progress: told, ...(running !== undefined && { step: stepOf(context, running) }) };
    },
  };
}

/** A binary message: its kind (1 = preview), the picture's format (1 = JPEG, 2 = PNG), both 4 bytes big-endian, then the picture. */
function previewOf(message: Uint8Array) {
  if (message.length <= 8) return undefined;
  const view = new DataView(message.buffer, message.byteOffset, 8);
  if (view.getUint32(0) !== 1) return undefined;
  const contentType = view.getUint32(4) === 2 ? 'image/png' : 'image/jpeg';
  return { kind: 'IMAGE' as const, contentType, from: { bytes: message.slice(8) } };
}
