import { authenticate } from './access.ts';
import type { Core } from './core.ts';
import type { Metrics } from './metrics.ts';
import { openTimer } from './timer.ts';

/** Why a stream is ended: its key or token is not good any more, or the process stops. */
export type EndReason = 'unauthenticated' | 'shutdown';

export interface Stream {
  transport: 'sse' | 'websocket';
  /** The Authorization that opened it. */
  authorization: string;
  end(reason: EndReason): void;
}

/** The open streams of an API process. */
export interface Streams {
  readonly size: number;
  /** @returns a function to be called when the stream is over. */
  add(stream: Stream): () => void;
  /** Looks at all keys and tokens now. */
  check(): void;
  close(): Promise<void>;
}

/** A stream outlives the request that was authenticated: every so often each is asked again. */
const checkMs = 10_000;

export function openStreams(core: Core, metrics: Metrics): Streams {
  const streams = new Set<Stream>();
  let closed = false;
  const timer = openTimer(core.log, 'streams', checkMs, async () => {
    for (const authorization of new Set([...streams].map((stream) => stream.authorization))) {
      // While the database is away nobody is thrown out.
      if (await authenticate(core, authorization).catch(() => true)) continue;
      for (const stream of streams) if (stream.authorization === authorization) stream.end('unauthenticated');
    }
  });
  return {
    get size() {
      return streams.size;
    },
    add(stream) {
      streams.add(stream);
      metrics.subscribers.inc({ transport: stream.transport });
      if (closed) stream.end('shutdown');
      return () => {
        if (streams.delete(stream)) metrics.subscribers.dec({ transport: stream.transport });
      };
    },
    check: () => timer.wake(),
    async close() {
      closed = true;
      for (const stream of streams) stream.end('shutdown');
      await timer.close();
    },
  };
}
