import { type ChildProcess, spawn } from 'node:child_process';
import { extname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { onExit } from 'signal-exit';
import { sendSignal } from '../embedded/process.ts';
import { ConfigError, OutsideError } from '../errors.ts';
import type { ReadyMessage } from './serve.ts';

export type ProcessName = 'api' | 'worker';

/** `atelier api` or `atelier worker`, as a process of its own. */
export interface ChildServer {
  name: ProcessName;
  /** Base URL of an API; empty for a worker. */
  url: string;
  /** Resolves when it has ended, asked or not, with how: "exit code 1" or "signal SIGKILL". */
  exited: Promise<string>;
  /** Asks it to end in order, and waits until it has. */
  stop(): Promise<void>;
}

/**
 * Starts one of our two processes and waits until it is up. In a group of its own: a terminal's Ctrl-C reaches this
 * process alone, which then ends the others in the right order. When this one is killed, it ends by itself.
 * @throws ConfigError or OutsideError, after its exit code, when it ends before it is up; what was wrong, it has said itself.
 */
export async function startProcess(name: ProcessName, environment: NodeJS.ProcessEnv): Promise<ChildServer> {
  const extension = extname(import.meta.url);
  const entry = fileURLToPath(new URL(`../cli${extension}`, import.meta.url));
  const loader = extension === '.ts' ? ['--import', import.meta.resolve('tsx')] : [];
  const child = spawn(process.execPath, [...loader, entry, name], {
    env: environment,
    detached: true,
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
  });
  // With what it runs for a task, as ffmpeg: this is for exits in a hurry, where nobody waits for an orderly end.
  const release = onExit(() => {
    if (child.pid) sendSignal(-child.pid, 'SIGKILL');
  });
  const exited = new Promise<string>((resolve) => {
    child.once('exit', (code, signal) => {
      release();
      resolve(howItEnded(code, signal));
    });
  });
  const { url = '' } = await readyMessage(name, child);
  return {
    name,
    url,
    exited,
    async stop() {
      child.kill('SIGTERM');
      await exited;
    },
  };
}

function readyMessage(name: ProcessName, child: ChildProcess): Promise<ReadyMessage> {
  return new Promise((resolve, reject) => {
    child.once('message', (message) => resolve(message as ReadyMessage));
    child.once('error', reject);
    child.once('exit', (code, signal) => {
      const message = `the ${name} ended before it was up (${howItEnded(code, signal)})`;
      reject(code === 2 ? new ConfigError(message) : new OutsideError(message, { retryable: false }));
    });
  });
}

const howItEnded = (code: number | null, signal: string | null): string =>
  signal ? `signal ${signal}` : `exit code ${code}`;
