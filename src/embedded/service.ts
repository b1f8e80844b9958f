import { spawn } from 'node:child_process';
import { closeSync, openSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { onExit } from 'signal-exit';
import type { Directory } from './directory.ts';
import { markOf, sendSignal, stopProcess } from './process.ts';

/** A program that runs for us in a directory of ours. */
export interface Service {
  /** Its exit code once it has ended by itself or was stopped; null while it runs. */
  readonly exitCode: number | null;
  /** Resolves with the exit code (128 when a signal ended it). */
  exited: Promise<number>;
  /** Everything that it printed. */
  output(): string;
  /** Ends it and waits until it has. */
  stop(): Promise<void>;
}

/**
 * Starts a program in a process group of its own, so that a terminal's Ctrl-C does not reach it before those that use it
 * are done. It ends with this process all the same, and after a kill -9 the next owner of the directory ends it.
 * @param options.signal what it is asked to end with. @param options.name of its log, `<name>.log` in the directory.
 */
export function runService(
  directory: Directory,
  options: {
    name: string;
    command: string;
    args: string[];
    signal: NodeJS.Signals;
    argv0?: string;
    uid?: number;
    gid?: number;
  },
): Service {
  const { command, args, signal, argv0, uid, gid } = options;
  const logFile = join(directory.path, `${options.name}.log`);
  const log = openSync(logFile, 'w');
  const env = { ...process.env, LC_ALL: 'C' };
  const child = spawn(command, args, {
    cwd: directory.path,
    env,
    argv0,
    uid,
    gid,
    detached: true,
    stdio: ['ignore', log, log],
  });
  closeSync(log);
  const mark = child.pid ? markOf(child.pid) : null;
  if (mark) directory.remember(mark, signal);
  const release = onExit(() => {
    if (child.pid) sendSignal(-child.pid, signal);
  });
  let failure = '';
  let exitCode: number | null = null;
  const exited = new Promise<number>((resolve) => {
    const end = (code: number) => {
      release();
      exitCode = code;
      resolve(code);
    };
    child.once('exit', (code) => end(code ?? 128));
    child.once('error', (error) => {
      failure = error.message;
      end(127);
    });
  });
  return {
    exited,
    get exitCode() {
      return exitCode;
    },
    output: () => failure || readFileSync(logFile, 'utf8').trim(),
    async stop() {
      if (mark) await stopProcess(mark, signal);
      await exited;
    },
  };
}
