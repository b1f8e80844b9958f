import { type FetchAnswer, NetworkFailure } from '../sdk/index.ts';
import { readEvents } from './event-stream.ts';
import type { OutboundResponse } from './exchange.ts';

/** What adapters see of a response. */
export function answerOf(response: Pick<OutboundResponse, 'status' | 'headers' | 'url' | 'body'>): FetchAnswer {
  const { status, headers, url } = response;
  const body = once(response.body);
  const bytes = async (): Promise<Buffer> => {
    const chunks: Uint8Array[] = [];
    for await (const chunk of body) chunks.push(chunk);
    return Buffer.concat(chunks);
  };
  // Without the mark that some servers put in front of UTF-8, as JSON.parse wants it.
  const text = async (): Promise<string> => new TextDecoder().decode(await bytes());
  return {
    status,
    headers,
    url,
    body,
    bytes,
    text,
    async json() {
      const all = await text();
      try {
        return JSON.parse(all);
      } catch (cause) {
        const what = all.replace(/\s+/g, ' ').trim().slice(0, 100) || 'nothing';
        throw new NetworkFailure(`${new URL(url).host} answered ${status} with what is no JSON: ${what}`, {
          sent: 'maybe',
          cause,
        });
      }
    },
    events: () => readEvents(body),
  };
}

/** Read a second time, a body would look empty: an answer that was lost, which it was not. */
function once(body: AsyncIterable<Uint8Array>): AsyncIterable<Uint8Array> {
  let isRead = false;
  return {
    [Symbol.asyncIterator]() {
      if (isRead) throw new TypeError('the body was read already');
      isRead = true;
      return body[Symbol.asyncIterator]();
    },
  };
}
