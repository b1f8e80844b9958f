import { setTimeout as pause } from 'node:timers/promises';
import { createCanvas } from '@napi-rs/canvas';
import { type Answer, type Emulator, type Seen, startEmulator } from './emulator.ts';
import { silentMp3, silentWav } from './recording.ts';

/** How the emulator answers. Every field can be changed while it runs. */
export interface OpenAiScript {
  /** What the next chat completions say, piece by piece. */
  pieces: string[];
  /** Between the pieces, and before the last picture. Milliseconds. */
  pauseMs: number;
  finishReason: string;
  /** In place of the rest of a stream, after the first piece. `cut`: the connection breaks. */
  inside?: { error: object } | 'cut';
}

export interface OpenAiEmulator extends Emulator {
  /** With /v1, as `baseURL` wants it. */
  baseUrl: string;
  script: OpenAiScript;
  /** Streams whose reader has gone before they ended. */
  abandoned(): number;
}

const apiKey = 'sk-emulator';

/**
 * OpenAI's API as its reference says: https://platform.openai.com/docs/api-reference. Images, speech, chat completions, models; errors of
 * https://platform.openai.com/docs/guides/error-codes. The key is `sk-emulator`.
 */
export async function startOpenAi(): Promise<OpenAiEmulator> {
  const script: OpenAiScript = { pieces: ['Hello', ' – ', 'world 🙂'], pauseMs: 0, finishReason: 'stop' };
  const streams = { abandoned: 0 };
  const emulator = await startEmulator(async (request) => route(request, script, streams));
  return Object.assign(emulator, { baseUrl: `${emulator.url}/v1`, script, abandoned: () => streams.abandoned });
}

type Streams = { abandoned: number };

function route(request: Seen, script: OpenAiScript, streams: Streams): Answer {
  const { method, path, headers } = request;
  if (headers.authorization !== `Bearer ${apiKey}`)
    throw refusal(401, 'invalid_request_error', 'invalid_api_key', 'Incorrect API key provided: sk-w***ng.');
  if (method === 'GET' && path === '/v1/models')
    return { json: { object: 'list', data: ['gpt-4.1-mini', 'gpt-image-1'].map((id) => ({ id, object: 'model' })) } };
  if (method !== 'POST') throw refusal(404, 'invalid_request_error', null, `Invalid URL (${method} ${path})`);
  switch (path) {
    case '/v1/chat/completions':
      return chat(request.json, script, streams);
    case '/v1/images/generations':
      return images(request.json, script, streams);
    case '/v1/images/edits':
      return images(fieldsOf(request), script, streams);
    case '/v1/audio/speech':
      return speech(request.json);
    default:
      throw refusal(404, 'invalid_request_error', null, `Invalid URL (POST ${path})`);
  }
}

/** https://platform.openai.com/docs/api-reference/chat/create */
function chat(body: any, script: OpenAiScript, streams: Streams): Answer {
  if (!Array.isArray(body.messages)) throw missing('messages');
  if (/^(gpt-5|o\d)/.test(body.model) && body.max_tokens !== undefined)
    throw refusal(400, 'invalid_request_error', 'unsupported_parameter', 'Use max_completion_tokens instead.');
  const text = script.pieces.join('');
  const usage = { prompt_tokens: 9, completion_tokens: script.pieces.length, total_tokens: 9 + script.pieces.length };
  const shared = { id: 'chatcmpl-1', created: 1_741_570_283, model: body.model, service_tier: 'default' };
  if (!body.stream) {
    const message = { role: 'assistant', content: text, refusal: null };
    const choice = { index: 0, message, logprobs: null, finish_reason: script.finishReason };
    return { headers: requestId, json: { ...shared, object: 'chat.completion', choices: [choice], usage } };
  }
  const wantsUsage = body.stream_options?.include_usage === true;
  const chunk = (choices: object[], used: object | null = null) =>
    `data: ${JSON.stringify({ ...shared, object: 'chat.completion.chunk', choices, ...(wantsUsage && { usage: used }) })}\n\n`;
  const delta = (content: object, finish: string | null = null) =>
    chunk([{ index: 0, delta: content, logprobs: null, finish_reason: finish }]);
  return stream(streams, async function* () {
    yield delta({ role: 'assistant', content: '', refusal: null });
    for (const [index, piece] of script.pieces.entries()) {
      if (index > 0 && script.inside === 'cut') throw new Error('cut');
      if (index > 0 && script.inside) return yield `data: ${JSON.stringify(script.inside)}\n\n`;
      yield delta({ content: piece });
      await pause(script.pauseMs);
      yield ': keep-alive\n\n';
    }
    yield delta({}, script.finishReason);
    if (wantsUsage) yield chunk([], usage);
    yield 'data: [DONE]\n\n';
  });
}

/** https://platform.openai.com/docs/api-reference/images/create and /createEdit: GPT image models give base64 only. */
function images(body: any, script: OpenAiScript, streams: Streams): Answer {
  if (!body.prompt) throw missing('prompt');
  if (body.response_format) throw refusal(400, 'invalid_request_error', 'unknown_parameter', 'Unknown parameter.');
  const isEdit = body['image[]'] !== undefined;
  const [width, height] = String(body.size ?? '1024x1024')
    .split('x')
    .map(Number) as [number, number];
  if (body.model !== 'gpt-image-2' && ![1024, 1536].includes(width))
    throw refusal(400, 'image_generation_user_error', 'invalid_value', `Invalid size ${body.size}.`);
  const format = body.output_format ?? 'png';
  const b64_json = picture(width, height, format);
  const usage = { input_tokens: 50, output_tokens: 50, total_tokens: 100 };
  const facts = { background: 'opaque', output_format: format, quality: 'low', size: body.size };
  const created_at = 1_713_833_628;
  if (!body.stream) {
    const data = Array.from({ length: Number(body.n ?? 1) }, () => ({ b64_json }));
    return { headers: requestId, json: { created: created_at, ...facts, data, usage } };
  }
  const kind = isEdit ? 'image_edit' : 'image_generation';
  const event = (type: string, more: object) =>
    `event: ${type}\ndata: ${JSON.stringify({ type, b64_json, created_at, ...facts, ...more })}\n\n`;
  return stream(streams, async function* () {
    for (let index = 0; index < Number(body.partial_images ?? 0); index++) {
      yield event(`${kind}.partial_image`, { partial_image_index: index });
      await pause(script.pauseMs);
    }
    yield event(`${kind}.completed`, { usage });
  });
}

/** https://platform.openai.com/docs/api-reference/audio/createSpeech */
function speech(body: any): Answer {
  if (!body.input) throw missing('input');
  if (!body.voice) throw missing('voice');
  if (body.input.length > 4096)
    throw refusal(
      400,
      'invalid_request_error',
      'string_above_max_length',
      'String should have at most 4096 characters.',
    );
  const seconds = body.input.length / 15 / (body.speed ?? 1);
  if (body.response_format === 'wav')
    return { headers: { ...requestId, 'content-type': 'audio/wav' }, body: silentWav(seconds, { isStreamed: true }) };
  return { headers: { ...requestId, 'content-type': 'audio/mpeg' }, body: silentMp3(seconds) };
}

function stream(streams: Streams, make: () => AsyncGenerator<string>): Answer {
  async function* watched() {
    let ended = false;
    try {
      yield* make();
      ended = true;
    } finally {
      if (!ended) streams.abandoned++;
    }
  }
  return { headers: { ...requestId, 'content-type': 'text/event-stream; charset=utf-8' }, body: watched() };
}

const requestId = { 'x-request-id': 'req_emulator' };

function refusal(status: number, type: string, code: string | null, message: string): Answer {
  return { status, headers: requestId, json: { error: { message, type, param: null, code } } };
}

const missing = (name: string): Answer =>
  refusal(400, 'invalid_request_error', 'missing_required_parameter', `Missing required parameter: '${name}'.`);

function picture(width: number, height: number, format: string): string {
  const canvas = createCanvas(width, height);
  const bytes =
    format === 'jpeg'
      ? canvas.toBuffer('image/jpeg')
      : format === 'webp'
        ? canvas.toBuffer('image/webp')
        : canvas.toBuffer('image/png');
  return bytes.toString('base64');
}

/** The fields of a form: text as it is, files by their name. https://datatracker.ietf.org/doc/html/rfc7578 */
function fieldsOf({ headers, body }: Seen): Record<string, unknown> {
  const [, boundary] = /boundary=(.+)$/.exec(headers['content-type'] ?? '') ?? [];
  if (!boundary) throw refusal(400, 'invalid_request_error', null, 'Expected multipart/form-data.');
  const fields: Record<string, unknown> = {};
  for (const part of body.toString('latin1').split(`--${boundary}`).slice(1, -1)) {
    const [head = '', ...rest] = part.split('\r\n\r\n');
    const [, name = ''] = /name="([^"]+)"/.exec(head) ?? [];
    const content = rest.join('\r\n\r\n').slice(0, -2);
    const file = /filename="([^"]+)"/.exec(head)?.[1];
    if (!file) fields[name] = Buffer.from(content, 'latin1').toString('utf8');
    else
      fields[name] = [
        ...((fields[name] as unknown[]) ?? []),
        { file, type: /Content-Type: (\S+)/i.exec(head)?.[1], size: content.length },
      ];
  }
  return fields;
}
