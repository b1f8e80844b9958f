import type { Core } from '../core.ts';

/** A numbered fact about a thing: seq 1, 2, 3 … without gaps. */
interface Numbered {
  seq: number;
}

/** Where the events of one kind of thing are. */
export interface EventSource<Event extends Numbered> {
  /** For the log, as `tasks`. */
  what: string;
  /** The events of each id behind the seq at the same place in `after`, at most `limit` of each, in the order of seq. */
  readNew(ids: string[], after: number[], limit: number): Promise<Event[]>;
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

interface Subscriber<Event> {
  /** null: the thing is gone. */
  push(events: Event[] | null): void;
  /** The newest seq that it has; none while it is behind and reads by itself. */
  seq(): number | undefined;
}

/** From where on new events are read: where the last of those that wait for them is. Nothing is, while nobody does. */
function newestOf(subscribers: Iterable<Subscriber<never>>): number {
  return Math.min(...[...subscribers].map((each) => each.seq() ?? Number.POSITIVE_INFINITY));
}

/** Hands new events to whoever follows: however many follow a thing, its events are read once. Nothing is missed and nothing comes twice. */
export function openFollowers<Event extends Numbered>(core: Core, source: EventSource<Event>): Followers<Event> {
  const watches = new Map<string, Set<Subscriber<Event>>>();
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
  async function readNew(watched: string[]): Promise<void> {
    const after = new Map(watched.map((id) => [id, newestOf(watches.get(id)!)]));
    const ids = watched.filter((id) => after.get(id)! < Number.POSITIVE_INFINITY);
    if (ids.length === 0) return;
    const rows = await source.readNew(
      ids,
      ids.map((id) => after.get(id)!),
      pageSize,
    );
    const byId = new Map<string, Event[]>();
    for (const row of rows) {
      const id = source.idOf(row);
      const events = byId.get(id);
      if (events) events.push(row);
      else byId.set(id, [row]);
    }
    for (const [id, events] of byId) {
      for (const { push } of watches.get(id) ?? []) push(events);
      if (events.length === pageSize) dirty.add(id);
    }
  }
  function touch(id: string, seq = Number.POSITIVE_INFINITY): void {
    const subscribers = watches.get(id);
    if (!subscribers || seq <= newestOf(subscribers)) return;
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
      else for (const { push } of watches.get(id) ?? []) push(null);
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
    const subscriber: Subscriber<Event> = {
      seq: () => (behind ? undefined : (buffer.at(-1)?.seq ?? last)),
      push(events) {
        if (events === null) ended = true;
        else if (behind || buffer.length + events.length > maxBuffered) behind = true;
        else buffer.push(...events.filter(({ seq }) => seq > subscriber.seq()!));
        wake?.();
      },
    };
    const subscribers = watches.get(id) ?? new Set();
    watches.set(id, subscribers);
    subscribers.add(subscriber);

    async function readOwn(): Promise<void> {
      behind = true;
      buffer = await source.readOwn(id, last, pageSize);
      if (buffer.length === pageSize) return;
      behind = false;
      // What was committed since it read.
      touch(id);
      if (buffer.length > 0) return;
      const [standing] = await source.readStanding([id]);
      if (!standing || (standing.hasEnded && standing.lastSeq <= last)) ended = true;
      // Behind its newest event there is nothing to wait for: he gets what comes next.
      else if (buffer.length === 0) last = Math.min(last, standing.lastSeq);
    }
    function leave(): void {
      ended = true;
      subscribers.delete(subscriber);
      if (subscribers.size === 0 && watches.get(id) === subscribers) watches.delete(id);
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
      for (const subscribers of watches.values()) for (const { push } of [...subscribers]) push(null);
    },
  };
}
