import { type AdapterContext, NetworkFailure, type Observation } from 'atelier/adapter';
import { call, type OpenAiConfig } from './config.ts';
import { failureInside } from './failure.ts';
import type { ChatAnswer, ChatRequest } from './text.ts';

/** A chunk of a stream, or a whole completion of a server that does not stream: only what is used. */
interface Chunk {
  /** Ours: nothing follows. */
  last?: boolean;
  error?: unknown;
  choices?: {
    index?: number;
    delta?: { content?: string | null; refusal?: string | null };
    message?: { content?: string | null; refusal?: string | null };
    finish_reason?: string | null;
  }[];
  usage?: { completion_tokens?: number } | null;
}

/**
 * One chat completion, its text as it comes. https://platform.openai.com/docs/api-reference/chat-streaming
 * @throws HttpFailure, or NetworkFailure when the stream ends before the answer does.
 */
export async function* streamChat(
  { body, kept }: ChatRequest,
  context: AdapterContext<OpenAiConfig>,
): AsyncGenerator<Observation<ChatAnswer>> {
  const answer = await call(context, '/chat/completions', { json: body });
  const told: ChatAnswer = { text: '', refusal: '', finishReason: '', kept };
  let answered = false;
  // Some servers do not stream and some proxies answer with a page: both say so.
  const chunks = /json|html/.test(answer.headers.get('content-type') ?? '')
    ? [{ ...((await answer.json()) as Chunk), last: true }]
    : readChunks(answer.events());
  for await (const chunk of chunks) {
    if (chunk.error) return yield { state: 'failed', failure: failureInside(chunk.error) };
    const tokens = chunk.usage?.completion_tokens;
    if (typeof tokens === 'number') told.tokens = tokens;
    answered ||= chunk.choices !== undefined;
    const choice = chunk.choices?.find(({ index }) => (index ?? 0) === 0);
    const { content, refusal } = choice?.delta ?? choice?.message ?? {};
    told.finishReason = choice?.finish_reason || told.finishReason || (chunk.last ? 'stop' : '');
    if (typeof refusal === 'string') told.refusal += refusal;
    if (typeof content !== 'string' || content === '') continue;
    told.text += content;
    yield { state: 'running', text: content };
  }
  if (!answered || !told.finishReason)
    throw new NetworkFailure('the stream ended before the answer did', { sent: 'maybe' });
  if (told.finishReason === 'length' && told.text) context.log('WARN', 'the answer was cut at maxTokens');
  yield { state: 'succeeded', answer: told };
}

async function* readChunks(events: AsyncIterable<{ data: string }>): AsyncGenerator<Chunk> {
  for await (const { data } of events) {
    if (data === '[DONE]') return yield { last: true };
    yield parseEvent(data);
  }
}

/** @throws NetworkFailure when it is no JSON object: a paid answer that cannot be read is lost. */
export function parseEvent(data: string): any {
  let event: unknown;
  try {
    event = JSON.parse(data);
  } catch (cause) {
    throw new NetworkFailure('the stream holds what is no JSON', { sent: 'maybe', cause });
  }
  if (typeof event === 'object' && event !== null) return event;
  throw new NetworkFailure('the stream holds what is no object', { sent: 'maybe' });
}
