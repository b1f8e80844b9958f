import type { Core } from '../core.ts';

/** A numbered fact about a thing: seq 1, 2, 3 … without gaps. */
interface Numbered {
  seq: number;
}

/** Where the events of one kind of thing are. */
export interface EventSource<Event extends Numbered> {
  /** For the log, as `tasks`. */
  what: string;
  /** The events of each id behind the seq at the same place in `after`, in the order of seq. */
  readNew(ids: string[], after: number[]): Promise<Event[]>;
  /** The events of one with seq > after, in the order of seq. */
  readOwn(id: string, after: number, limit: number): Promise<Event[]>;
  /** Where each stands; those that are gone are left out. hasEnded: no event will follow its newest one. */
  readStanding(ids: string[]): Promise<{ id: string; lastSeq: number; hasEnded: boolean }[]>;
  idOf(event: Event): string;
  /** True for the event after which none comes. */
  isLast(event: Event): boolean;
}

export interface Followers<Event> {
  /** Every event with seq > after, then live; ends after the last one, or when the thing is gone. */
  follow(id: string, after: number): AsyncIterableIterator<Event>;
  /** There is something new about it. @param seq the newest; default: not known. */
  touch(id: string, seq?: number): void;
  /** Looks at everything that is followed. */
  check(): Promise<void>;
  close(): void;
}

const pageSize = 200;
/** What a subscriber may leave unread before its events are dropped and read again when he comes for them. */
const maxBuffered = 200;
const checkMs = 5_000;
const checkWithoutRedisMs = 1_000;

interface Watch<Event> {
  /** The newest seq that was handed to the subscribers. */
  seq: number;
  subscribers: Set<(events: Event[] | null) => void>;
}

/** Hands new events to whoever follows: however many follow a thing, its events are read once. Nothing is missed and nothing comes twice. */
export function openFollowers<Event extends Numbered>(core: Core, source: EventSource<Event>): Followers<Event> {
  const watches = new Map<string, Watch<Event>>();
  const dirty = new Set<string>();
  let reading = false;
  let closed = false;

  async function readDirty(): Promise<void> {
    if (reading || closed) return;
    reading = true;
    try {
      while (dirty.size > 0) {
        const ids = [...dirty].filter((id) => watches.has(id));
        dirty.clear();
        if (ids.length > 0) await readNew(ids);
      }
    } catch (error) {
      core.log.warn({ err: error }, `events of ${source.what} were not read; the next look follows`);
    } finally {
      reading = false;
    }
  }
  async function readNew(ids: string[]): Promise<void> {
    const rows = await source.readNew(
      ids,
      ids.map((id) => watches.get(id)!.seq),
    );
    const byId = new Map<string, Event[]>();
    for (const row of rows) {
      const id = source.idOf(row);
      const events = byId.get(id);
      if (events) events.push(row);
      else byId.set(id, [row]);
    }
    for (const [id, events] of byId) {
      const watch = watches.get(id);
      if (!watch) continue;
      watch.seq = events.at(-1)!.seq;
      for (const push of watch.subscribers) push(events);
    }
  }
  function touch(id: string, seq = Number.POSITIVE_INFINITY): void {
    const watch = watches.get(id);
    if (!watch || seq <= watch.seq) return;
    dirty.add(id);
    void readDirty();
  }
  /** A lost wake-up costs this long, not for ever. */
  async function check(): Promise<void> {
    if (watches.size === 0) return;
    const ids = [...watches.keys()];
    const present = new Map((await source.readStanding(ids)).map(({ id, lastSeq }) => [id, lastSeq]));
    for (const id of ids) {
      const seq = present.get(id);
      if (seq !== undefined) touch(id, seq);
      else for (const push of watches.get(id)?.subscribers ?? []) push(null);
    }
  }
  let timer: NodeJS.Timeout;
  function schedule(): void {
    timer = setTimeout(
      () => {
        check()
          .catch((error) => core.log.warn({ err: error }, `${source.what} were not checked; the next check follows`))
          .finally(() => closed || schedule());
      },
      core.bus.up ? checkMs : checkWithoutRedisMs,
    );
  }
  schedule();

  function follow(id: string, after: number): AsyncIterableIterator<Event> {
    let last = after;
    let buffer: Event[] = [];
    let behind = true;
    let ended = false;
    let wake: (() => void) | undefined;
    const push = (events: Event[] | null) => {
      if (events === null) ended = true;
      else if (behind || buffer.length + events.length > maxBuffered) {
        behind = true;
        buffer = [];
      } else buffer.push(...events);
      wake?.();
    };
    // Listens before it reads: what is committed in between is in one of the two.
    const watch = watches.get(id) ?? { seq: after, subscribers: new Set() };
    // What one subscriber has no use for, another may wait for.
    watch.seq = Math.min(watch.seq, after);
    watches.set(id, watch);
    watch.subscribers.add(push);

    async function readOwn(): Promise<void> {
      behind = false;
      const rows = await source.readOwn(id, last, pageSize);
      if (rows.length > 0) {
        behind = rows.length === pageSize;
        buffer = [...rows, ...buffer.filter((event) => event.seq > rows.at(-1)!.seq)];
        return;
      }
      const [standing] = await source.readStanding([id]);
      if (!standing || (standing.hasEnded && standing.lastSeq <= last)) ended = true;
      else if (standing.lastSeq > last) behind = true;
      // Behind its newest event there is nothing to wait for: he gets what comes next.
      else {
        last = standing.lastSeq;
        watch.seq = Math.min(watch.seq, last);
      }
    }
    function leave(): void {
      ended = true;
      watch.subscribers.delete(push);
      if (watch.subscribers.size === 0 && watches.get(id) === watch) watches.delete(id);
      wake?.();
    }
    return {
      [Symbol.asyncIterator]() {
        return this;
      },
      async next() {
        while (true) {
          if (ended && buffer.length === 0) {
            leave();
            return { done: true, value: undefined };
          }
          const event = buffer[0];
          if (event && event.seq === last + 1) {
            buffer.shift();
            last = event.seq;
            if (source.isLast(event)) {
              buffer = [];
              leave();
            }
            return { done: false, value: event };
          }
          if (event && event.seq <= last) buffer.shift();
          else if (event || behind) await readOwn();
          else {
            await new Promise<void>((resolve) => {
              wake = resolve;
            });
            wake = undefined;
          }
        }
      },
      async return() {
        buffer = [];
        leave();
        return { done: true, value: undefined };
      },
    };
  }

  return {
    follow,
    touch,
    check,
    close() {
      closed = true;
      clearTimeout(timer);
      for (const watch of watches.values()) for (const push of [...watch.subscribers]) push(null);
    },
  };
}
