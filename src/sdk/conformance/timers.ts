import { AsyncLocalStorage, createHook } from 'node:async_hooks';

/** Sees what timers of its own a piece of code waits for. */
export interface TimerWatch {
  /** Runs it under watch, with all that comes of it later. */
  within<Value>(begin: () => Value): Value;
  /** How long those timers ran which went off so far, together. Milliseconds; a guard that never goes off counts for nothing. */
  waitedMs(): number;
  stop(): void;
}

/** Sees timers however they were set: by the global functions, by `node:timers/promises`, in a library. */
export function watchTimers(): TimerWatch {
  const watched = new AsyncLocalStorage<true>();
  const setAt = new Map<number, number>();
  let waitedMs = 0;
  const hook = createHook({
    init(id, type) {
      if (type === 'Timeout' && watched.getStore()) setAt.set(id, performance.now());
    },
    before(id) {
      const at = setAt.get(id);
      if (at !== undefined) waitedMs += performance.now() - at;
      setAt.delete(id);
    },
  }).enable();
  return {
    within: (begin) => watched.run(true, begin),
    waitedMs: () => waitedMs,
    stop: () => void hook.disable(),
  };
}
