const exitCodes = { SIGINT: 130, SIGTERM: 143, SIGHUP: 129 } as const;

export interface Interrupt {
  /** Resolves with the exit code when this process is told to stop: by a signal, or as its parent is gone. */
  interrupted: Promise<number>;
  /** The exit code once that has happened, else null. */
  readonly code: number | null;
}

/**
 * Catches the first request to stop, so that work can end in order. A second one, from half a second later on, ends the
 * process at once: a terminal and npm may both deliver the first.
 */
export function catchInterrupt(): Interrupt {
  let code: number | null = null;
  const interrupted = new Promise<number>((resolve) => {
    const stop = (exitCode: number) => {
      if (code !== null) return;
      code = exitCode;
      resolve(exitCode);
      setTimeout(() => {
        for (const [signal, again] of Object.entries(exitCodes)) process.on(signal, () => process.exit(again));
      }, 500).unref();
    };
    for (const [signal, exitCode] of Object.entries(exitCodes)) process.on(signal, () => stop(exitCode));
    // Started by `atelier start` or the demo: without them nobody else would end this process.
    if (process.connected) process.once('disconnect', () => stop(exitCodes.SIGTERM));
  });
  return {
    interrupted,
    get code() {
      return code;
    },
  };
}
