import { type ChildProcess, fork } from 'node:child_process';
import { createRequire } from 'node:module';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { type AdapterContext, AdapterFailure } from 'atelier/adapter';
import type { Report, Request } from './engine/process.ts';

/** The engine's process ended without an answer. */
export class EngineFailure extends Error {
  override name = 'EngineFailure';
  /** Set when something killed it. */
  readonly signal: NodeJS.Signals | null;
  constructor(code: number | null, signal: NodeJS.Signals | null, stderr: string) {
    super(
      `the engine's process ended with ${signal ?? `code ${code}`}: ${stderr.trim().slice(-1_000) || 'it said nothing'}`,
    );
    this.signal = signal;
  }
}

/**
 * Does one piece of work in a process of its own and resolves with its answer; the event loop here stays free, and
 * GPL engines stay out of this process.
 * @throws AdapterFailure for a bad input or a missing piece, EngineFailure for a crash, the signal's reason when aborted.
 */
export async function runEngine(request: Request, context: AdapterContext): Promise<unknown> {
  context.signal.throwIfAborted();
  const child = startProcess(context.directory);
  const abort = () => killGroup(child);
  context.signal.addEventListener('abort', abort, { once: true });
  try {
    return await answerOf(child, request, context);
  } finally {
    context.signal.removeEventListener('abort', abort);
    killGroup(child);
  }
}

function startProcess(directory: string): ChildProcess {
  // Compiled, this file and the engine's are .js; from the source both are .ts, which tsx has to load.
  const fromSource = import.meta.url.endsWith('.ts');
  const entry = fileURLToPath(new URL(fromSource ? './engine/process.ts' : './engine/process.js', import.meta.url));
  const loader = fromSource ? ['--import', pathToFileURL(createRequire(import.meta.url).resolve('tsx')).href] : [];
  return fork(entry, [], {
    execArgv: loader,
    cwd: directory,
    // A group of its own, so that one signal reaches ffmpeg too.
    detached: process.platform !== 'win32',
    // It reads strangers' files: it gets none of the worker's secrets.
    env: pickEnvironment(['PATH', 'HOME', 'LANG', 'TMPDIR', 'TEMP', 'TMP', 'SystemRoot', 'LD_LIBRARY_PATH']),
    stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
  });
}

function answerOf(child: ChildProcess, request: Request, context: AdapterContext): Promise<unknown> {
  return new Promise((resolve, reject) => {
    let stderr = '';
    let last: Extract<Report, { state: 'done' | 'refused' | 'missing' }> | undefined;
    child.stderr!.setEncoding('utf8').on('data', (text: string) => {
      stderr = (stderr + text).slice(-4_000);
    });
    child.on('message', (report: Report) => {
      if (report.state === 'progress') context.progress(report.fraction, report.step);
      else if (report.state === 'log') context.log(report.level, report.message);
      else last = report;
    });
    child.on('error', reject);
    // Settles only when the process is gone and its pipes are closed: nothing writes to the directory any more.
    child.on('close', (code, signal) => {
      if (context.signal.aborted) reject(context.signal.reason);
      else if (last?.state === 'done') resolve(last.answer);
      else if (last) reject(failureOf(last));
      else reject(new EngineFailure(code, signal, stderr));
    });
    child.send(request, (error) => error && reject(error));
  });
}

function failureOf(report: Extract<Report, { state: 'refused' | 'missing' }>): AdapterFailure {
  if (report.state === 'refused') {
    return new AdapterFailure({
      class: 'invalid_input',
      code: 'INVALID_INPUT',
      // A client sees the message alone: it must say what it is about.
      message: [report.issues[0]?.path.join('.'), report.message].filter(Boolean).join(': '),
      issues: report.issues,
      billed: 'nothing',
    });
  }
  return new AdapterFailure({
    class: 'permanent',
    code: 'ENGINE_MISSING',
    message: report.message,
    publicMessage: `This server lacks a part of the local engine: ${report.message}`,
    billed: 'nothing',
  });
}

function killGroup(child: ChildProcess): void {
  if (child.pid === undefined) return;
  try {
    if (process.platform === 'win32') child.kill('SIGKILL');
    else process.kill(-child.pid, 'SIGKILL');
  } catch {
    // The whole group has gone already.
  }
}

function pickEnvironment(names: string[]): NodeJS.ProcessEnv {
  return Object.fromEntries(
    names.flatMap((name) => (process.env[name] === undefined ? [] : [[name, process.env[name]]])),
  );
}
