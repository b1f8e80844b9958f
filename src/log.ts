import pino from 'pino';

export type Log = pino.Logger;

/** JSON lines on stderr; each line of a task carries `taskId`. Secrets are never handed to it: see `redact` for the net below. */
export function createLog(level: string, name: string): Log {
  return pino(
    {
      level,
      name,
      redact: {
        paths: ['*.authorization', '*.secret', '*.token', 'authorization', 'secret', 'token'],
        censor: '[hidden]',
      },
    },
    pino.destination({ dest: 2, sync: false }),
  );
}
