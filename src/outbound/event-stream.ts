import { createParser } from 'eventsource-parser';
import type { ServerSentEvent } from '../sdk/index.ts';

/** The messages of a `text/event-stream`, as they come. What stands behind the last empty line is dropped, as the standard says. */
export async function* readEvents(body: AsyncIterable<Uint8Array>): AsyncGenerator<ServerSentEvent> {
  const ready: ServerSentEvent[] = [];
  const parser = createParser({ onEvent: ({ event, id, data }) => ready.push({ event, id, data }) });
  const decoder = new TextDecoder();
  // The parser looks at a line from its beginning whenever a piece of it comes: pieces of a long one are handed over together.
  let held: string[] = [];
  for await (const chunk of body) {
    const text = decoder.decode(chunk, { stream: true });
    held.push(text);
    if (!/[\r\n]/.test(text)) continue;
    parser.feed(held.join(''));
    held = [];
    yield* ready.splice(0);
  }
}
