/** What ends an exchange before its time. */
export interface Limit {
  /** Aborts with what ended it: a caller's reason, a TimeoutError, or that everything is closed. */
  signal: AbortSignal;
  /** Starts the clock. */
  expireIn(timeoutMs: number): void;
  /** The exchange is over: nothing of it is kept. */
  release(): void;
}

/** The limits that are in force. */
export interface Limits {
  /** @param callers signals that end it too. One that is aborted already aborts it at once. */
  open(callers: AbortSignal[]): Limit;
  /** Ends them all, and those that are opened later. */
  close(): void;
}

/** The longest that a timer counts; one that is set to more fires at once. */
const longestTimerMs = 2 ** 31 - 1;

/**
 * In place of AbortSignal.any and AbortSignal.timeout: the first leaves something in the caller's signal for every request that is made under
 * it, the second keeps its timer to the end when the request is long over, and in Node 20 the two together may never abort: the timeout is
 * collected as garbage.
 */
export function createLimits(): Limits {
  const open = new Set<AbortController>();
  /** Of each caller's signal, what it ends. One listener for all: more than ten bring a warning, and each costs a walk through all of them. */
  const followers = new WeakMap<AbortSignal, Set<AbortController>>();
  let closed = false;

  function followersOf(caller: AbortSignal): Set<AbortController> {
    const known = followers.get(caller);
    if (known) return known;
    const made = new Set<AbortController>();
    followers.set(caller, made);
    const end = () => {
      for (const controller of made) controller.abort(caller.reason);
    };
    caller.addEventListener('abort', end, { once: true });
    return made;
  }

  return {
    open(callers) {
      const controller = new AbortController();
      let timer: NodeJS.Timeout | undefined;
      const release = () => {
        clearTimeout(timer);
        open.delete(controller);
        for (const caller of callers) followers.get(caller)?.delete(controller);
      };
      controller.signal.addEventListener('abort', release, { once: true });
      open.add(controller);
      for (const caller of callers) {
        if (caller.aborted) controller.abort(caller.reason);
        else followersOf(caller).add(controller);
      }
      if (closed) controller.abort(closing());
      return {
        signal: controller.signal,
        expireIn(timeoutMs) {
          if (controller.signal.aborted) return;
          const expire = () => controller.abort(new DOMException('The time limit has passed', 'TimeoutError'));
          timer = setTimeout(expire, Math.min(timeoutMs, longestTimerMs));
        },
        release,
      };
    },
    close() {
      closed = true;
      for (const controller of [...open]) controller.abort(closing());
    },
  };
}

const closing = (): Error => new Error('Atelier is closing');
