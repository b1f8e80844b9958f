import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import type { TestBed } from '../kit.ts';

/** Workers of a bed as operators run them: each a process of its own. */
export interface WorkerProcesses {
  /** Resolves when it is up. */
  start(): Promise<ChildProcess>;
  end(worker: ChildProcess, signal: NodeJS.Signals): Promise<void>;
  close(): Promise<void>;
}

export function workerProcesses(bed: () => TestBed, settings: { [name: string]: string } = {}): WorkerProcesses {
  const workers: ChildProcess[] = [];
  async function end(worker: ChildProcess, signal: NodeJS.Signals): Promise<void> {
    if (worker.exitCode !== null || worker.signalCode !== null) return;
    worker.kill(signal);
    await once(worker, 'exit');
  }
  return {
    async start() {
      const own = Object.entries(bed().config).filter(([, value]) => typeof value !== 'object');
      const env = {
        PATH: process.env.PATH,
        HOME: process.env.HOME,
        ...Object.fromEntries(own.map(([name, value]) => [name, String(value)])),
        ...settings,
      };
      const worker = spawn(process.execPath, ['--import', 'tsx', 'src/cli.ts', 'worker'], {
        env,
        stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
      });
      workers.push(worker);
      await once(worker, 'message');
      return worker;
    },
    end,
    close: async () => void (await Promise.all(workers.map((worker) => end(worker, 'SIGTERM')))),
  };
}
