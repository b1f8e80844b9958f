import { type FetchAnswer, NetworkFailure, type ServerSentEvent } from '../http.ts';

/** More than that is not made up in memory, whatever an adapter allows. */
const mostMadeUp = 32 * 1024 * 1024;

/** The bytes in small pieces. */
export async function* pieces(whole: Uint8Array): AsyncGenerator<Uint8Array> {
  // Small and odd: pieces end inside characters and events, as they do on a real network.
  const size = whole.length > 65_536 ? 65_536 : 61;
  for (let at = 0; at < whole.length; at += size) yield whole.subarray(at, at + size);
}

/** Half of the bytes, and what comes then. */
export async function* half(
  whole: Uint8Array,
  fault: 'cut' | 'short' | 'stall',
  what: string,
  signal: AbortSignal,
): AsyncGenerator<Uint8Array> {
  yield* pieces(whole.subarray(0, Math.floor(whole.length / 2)));
  if (fault === 'cut') throw new NetworkFailure(`${what}: other side closed`, { sent: 'maybe' });
  if (fault === 'stall') await aborted(signal);
}

/** Rejects with the signal's reason when it aborts. */
export async function aborted(signal: AbortSignal): Promise<never> {
  signal.throwIfAborted();
  return new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason), { once: true }));
}

/** Blanks, for ever. */
export async function* endless(): AsyncGenerator<Uint8Array> {
  const piece = Buffer.alloc(65_536, ' ');
  for (;;) yield piece;
}

/** Throws NetworkFailure where it becomes larger than it may, and the signal's reason when it aborts. */
export async function* limited(
  source: AsyncIterable<Uint8Array>,
  maxBytes: number,
  what: string,
  signal: AbortSignal,
): AsyncGenerator<Uint8Array> {
  let size = 0;
  for await (const piece of source) {
    signal.throwIfAborted();
    size += piece.length;
    if (size > Math.min(maxBytes, mostMadeUp))
      throw new NetworkFailure(`${what}: the answer is larger than ${maxBytes} bytes`, { sent: 'maybe' });
    yield piece;
  }
}

/** What context.fetch gives, over such a body. */
export function answerOf(
  facts: Pick<FetchAnswer, 'status' | 'headers' | 'url'>,
  body: AsyncGenerator<Uint8Array>,
): FetchAnswer {
  const bytes = async (): Promise<Buffer> => {
    const chunks: Uint8Array[] = [];
    for await (const chunk of body) chunks.push(chunk);
    return Buffer.concat(chunks);
  };
  return {
    ...facts,
    body,
    bytes,
    text: async () => (await bytes()).toString('utf8'),
    async json() {
      const text = (await bytes()).toString('utf8');
      try {
        return JSON.parse(text);
      } catch (cause) {
        const what = text.replace(/\s+/g, ' ').trim().slice(0, 100) || 'nothing';
        const message = `${new URL(facts.url).host} answered ${facts.status} with what is no JSON: ${what}`;
        throw new NetworkFailure(message, { sent: 'maybe', cause });
      }
    },
    events: () => readEvents(body),
  };
}

async function* readEvents(body: AsyncIterable<Uint8Array>): AsyncGenerator<ServerSentEvent> {
  const decoder = new TextDecoder();
  let left = '';
  for await (const chunk of body) {
    const text = decoder.decode(chunk, { stream: true });
    left += text;
    if (!text.includes('\n')) continue;
    const blocks = left.split(/\r?\n\r?\n/);
    left = blocks.pop()!;
    for (const block of blocks) {
      const event = readEvent(block);
      if (event) yield event;
    }
  }
}

/** https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation */
function readEvent(block: string): ServerSentEvent | undefined {
  const data: string[] = [];
  const event: { event?: string; id?: string } = {};
  for (const line of block.split(/\r?\n/)) {
    const [, field, value] = /^([^:]+)(?:: ?(.*))?$/s.exec(line) ?? [];
    if (field === 'data') data.push(value ?? '');
    else if (field === 'event' || field === 'id') event[field] = value ?? '';
  }
  return data.length > 0 ? { ...event, data: data.join('\n') } : undefined;
}
