import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { createRequire } from 'node:module';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { OutsideError } from '../errors.ts';

/**
 * Starts a process of ours that takes and gives messages, for work that would block the event loop here. It gets none of this process's
 * secrets: what it reads was made by strangers. Whoever starts it ends it.
 * @param name of the entry beside this file, without extension.
 * @param options.memoryMegabytes what its JavaScript may hold at most.
 * @throws OutsideError when the system starts no process (none left, no memory, no file handle); retryable.
 */
export async function startChild(name: string, options: { memoryMegabytes: number }): Promise<ChildProcess> {
  // Compiled, the entry is .js; from the source it is .ts, which tsx has to load.
  const fromSource = import.meta.url.endsWith('.ts');
  const entry = fileURLToPath(new URL(`./${name}${fromSource ? '.ts' : '.js'}`, import.meta.url));
  const loader = fromSource ? ['--import', pathToFileURL(createRequire(import.meta.url).resolve('tsx')).href] : [];
  const passed = ['PATH', 'HOME', 'LANG', 'TMPDIR', 'TEMP', 'TMP', 'SystemRoot', 'LD_LIBRARY_PATH'];
  try {
    // Some failures are thrown at once, others come as an event with no exit after it.
    const child = fork(entry, [], {
      execArgv: [...loader, `--max-old-space-size=${options.memoryMegabytes}`],
      env: Object.fromEntries(passed.flatMap((key) => (process.env[key] ? [[key, process.env[key]]] : []))),
      serialization: 'advanced',
      stdio: ['ignore', 'ignore', 'ignore', 'ipc'],
    });
    await once(child, 'spawn');
    // A message to one that has ended breaks the pipe: its end says all there is to say.
    child.on('error', () => {});
    return child;
  } catch (cause) {
    throw new OutsideError(`starting the process ${name}: ${(cause as Error).message}`, { retryable: true, cause });
  }
}

/** The next message of a process; undefined: it ended without one, or none came in time. It is not ended then. */
export function nextMessage<Message>(child: ChildProcess, timeoutMs: number): Promise<Message | undefined> {
  return new Promise((resolve) => {
    const settle = (message?: unknown) => {
      clearTimeout(timer);
      child.off('message', settle).off('close', end);
      resolve(message as Message | undefined);
    };
    const end = () => settle();
    const timer = setTimeout(end, timeoutMs);
    // Its exit may be known before its last message is read, its close is not.
    child.on('message', settle).on('close', end);
  });
}
