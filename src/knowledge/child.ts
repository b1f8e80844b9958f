import { type ChildProcess, fork } from 'node:child_process';
import { createRequire } from 'node:module';
import { fileURLToPath, pathToFileURL } from 'node:url';

/**
 * Starts a process of ours that takes and gives messages, for work that would block the event loop here. It gets none of this process's
 * secrets: what it reads was made by strangers. Whoever starts it ends it.
 * @param name of the entry beside this file, without extension.
 * @param options.memoryMegabytes what its JavaScript may hold at most.
 */
export function startChild(name: string, options: { memoryMegabytes: number }): ChildProcess {
  // Compiled, the entry is .js; from the source it is .ts, which tsx has to load.
  const fromSource = import.meta.url.endsWith('.ts');
  const entry = fileURLToPath(new URL(`./${name}${fromSource ? '.ts' : '.js'}`, import.meta.url));
  const loader = fromSource ? ['--import', pathToFileURL(createRequire(import.meta.url).resolve('tsx')).href] : [];
  const passed = ['PATH', 'HOME', 'LANG', 'TMPDIR', 'TEMP', 'TMP', 'SystemRoot', 'LD_LIBRARY_PATH'];
  return fork(entry, [], {
    execArgv: [...loader, `--max-old-space-size=${options.memoryMegabytes}`],
    env: Object.fromEntries(passed.flatMap((key) => (process.env[key] ? [[key, process.env[key]]] : []))),
    serialization: 'advanced',
    stdio: ['ignore', 'ignore', 'ignore', 'ipc'],
  });
}
