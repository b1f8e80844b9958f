import type { Log } from './log.ts';

export interface Timer {
  /** Runs the work now, or right after the run that is under way. */
  wake(): void;
  /** Resolves when the last run has ended. */
  close(): Promise<void>;
}

/**
 * Does a piece of work every `intervalMs`, never twice at once. Work that returns true has more to do and runs again at once.
 * A failure is logged, and the next run follows.
 */
export function openTimer(log: Log, name: string, intervalMs: number, work: () => Promise<unknown>): Timer {
  let closed = false;
  let wanted = false;
  let interrupt = () => {};
  const running = (async () => {
    while (!closed) {
      wanted = false;
      let more = false;
      try {
        more = (await work()) === true;
      } catch (error) {
        log.warn({ err: error, work: name }, `${name} failed; it runs again`);
      }
      if (more || wanted || closed) continue;
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, intervalMs);
        interrupt = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
  })();
  return {
    wake() {
      wanted = true;
      interrupt();
    },
    close() {
      closed = true;
      interrupt();
      return running;
    },
  };
}
