import { randomUUID } from 'node:crypto';
import { setTimeout as pause } from 'node:timers/promises';
import { type Answer, type Emulator, type Seen, startEmulator } from './emulator.ts';
import { samples } from './samples.ts';

/** What `@ai-sdk/openai` and `@ai-sdk/fal` ask of their vendors by default, and a made-up vendor of videos, on one port. */
export interface AiSdkEmulator extends Emulator {
  /** Changes what is answered. */
  script: { pieces: string[]; pauseMs: number; broken?: object; looks: number; videoUrl?: string; reason?: string };
}

export async function startAiSdk(): Promise<AiSdkEmulator> {
  const script: AiSdkEmulator['script'] = { pieces: ['Hello', ', ', 'world'], pauseMs: 0, looks: 2 };
  const looks = new Map<string, number>();

  function answer(request: Seen): Answer {
    const { method, path, headers } = request;
    const route = `${method} ${path}`;
    if (route === 'GET /files/film.mp4') return { body: samples.mp4 };
    if (route === 'GET /files/picture.png') return { headers: { 'content-type': 'image/png' }, body: samples.png };
    const key = path.startsWith('/fal/') ? 'Key key-of-fal' : 'Bearer key-of-openai';
    if (headers.authorization !== key)
      return {
        status: 401,
        json: { error: { message: 'wrong key', type: 'invalid_request_error', code: 'invalid_api_key' } },
      };
    if (route === 'POST /v1/responses')
      return { headers: { 'content-type': 'text/event-stream' }, body: responses(request.json, script) };
    if (route === 'POST /v1/images/generations')
      return {
        json: {
          created: 1,
          data: Array.from({ length: request.json.n }, () => ({ b64_json: samples.png.toString('base64') })),
        },
      };
    if (route === 'POST /v1/audio/speech') return { headers: { 'content-type': 'audio/wav' }, body: samples.wav };
    if (route === 'POST /fal/flux') {
      const picture = {
        url: `http://${headers.host}/files/picture.png`,
        content_type: 'image/png',
        width: 1,
        height: 1,
      };
      return { json: { images: [picture], seed: request.json.seed, has_nsfw_concepts: [false] } };
    }
    if (route === 'POST /videos') {
      const id = randomUUID();
      looks.set(id, 0);
      return { json: { id } };
    }
    const id = path.split('/').at(-1)!;
    const seen = looks.get(id);
    if (method !== 'GET' || seen === undefined)
      return { status: 404, json: { error: { message: 'not found', type: 'x' } } };
    looks.set(id, seen + 1);
    if (seen + 1 < script.looks) return { json: { state: seen === 0 ? 'waiting' : 'a new word' } };
    if (script.reason) return { json: { state: 'failed', reason: script.reason } };
    return { json: { state: 'done', url: script.videoUrl ?? `http://${headers.host}/files/film.mp4` } };
  }

  return Object.assign(await startEmulator(async (request) => answer(request)), { script });
}

/** The events of OpenAI's Responses API: https://platform.openai.com/docs/api-reference/responses-streaming. */
async function* responses({ model }: { model: string }, script: AiSdkEmulator['script']): AsyncIterable<string> {
  const event = (type: string, data: object) => `event: ${type}\ndata: ${JSON.stringify({ type, ...data })}\n\n`;
  const item = { type: 'message', id: 'msg_1' };
  yield event('response.created', { response: { id: 'resp_1', created_at: 1, model } });
  yield event('response.output_item.added', { output_index: 0, item });
  for (const delta of script.pieces) {
    await pause(script.pauseMs);
    yield event('response.output_text.delta', { item_id: item.id, delta });
    if (script.broken) {
      yield event('error', { sequence_number: 3, ...script.broken });
      return;
    }
  }
  yield event('response.output_item.done', { output_index: 0, item });
  const usage = { input_tokens: 5, output_tokens: 7, output_tokens_details: { reasoning_tokens: 0 } };
  yield event('response.completed', { response: { usage } });
}
