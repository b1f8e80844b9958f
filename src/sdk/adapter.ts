import type { z } from 'zod';
import type { FailureFacts } from './failure.ts';
import type { AssetKind, Usage } from './task-type.ts';

/**
 * The inputs and results of the task types, by name. The built-in ones are declared by Atelier; a plugin adds its own:
 * `declare module 'atelier/adapter' { interface TaskTypes { acme_restore_photo: { input: …; result: … } } }`.
 */
// biome-ignore lint/suspicious/noEmptyInterface: filled by declaration merging
export interface TaskTypes {}

/** Stands for an input file in a provider's request. Atelier puts a URL, a data URI or a path in its place before `start`. */
export interface AssetReference {
  /** Its place among the task's files. */
  assetReference: number;
  kind: AssetKind;
  /** Unknown (undefined) for a client's URL. */
  contentType?: string;
}

/** What a payload transformer may know: no clock, no network, no randomness, no secrets. */
export interface TransformContext<Config = unknown> {
  config: Config;
  /** Unique per attempt; the same when the same attempt is looked at again. */
  attemptKey: string;
  /** The vendor may call this URL when the work is done. Undefined when the installation has no public address. */
  callbackUrl?: string;
}

/** What `toProvider` may know beside that. */
export interface RequestContext<Config = unknown> extends TransformContext<Config> {
  /** The input's files by the name of their URL field; an empty list when none was given. */
  files: Record<string, AssetReference[]>;
}

/** Everything else an adapter may use. No database, no clock of its own. */
export interface AdapterContext<Config = unknown> extends TransformContext<Config> {
  taskType: string;
  model: string | null;
  /** Values of the secrets that the adapter declared. */
  secrets: Record<string, string>;
  /** Aborted on cancel, at the deadline and when the lease is lost. Heed it. */
  signal: AbortSignal;
  /** When the task fails with DEADLINE_EXCEEDED. */
  deadline: Date;
  now(): Date;
  /** A private temporary directory, removed when the attempt ends. */
  directory: string;
  /** Node's own. No hidden retries. */
  fetch: typeof globalThis.fetch;
  /** A line for the task's own log, which clients see. Must hold no secret. */
  log(level: 'DEBUG' | 'INFO' | 'WARN' | 'ERROR', message: string): void;
  /** Fraction done, 0..1; what falls is ignored. `step` is one or two words for people. */
  progress(fraction: number, step?: string): void;
}

/** Where the bytes of an output are. A header may be `{ secret: NAME }`, resolved at download, never stored. */
export type OutputSource =
  | { url: string; headers?: Record<string, string | { secret: string }> }
  | { file: string }
  | { bytes: Uint8Array }
  | { text: string };

/** A file that the provider made. */
export interface Output {
  kind: AssetKind;
  /** What the vendor says it is; the bytes decide. */
  contentType?: string;
  from: OutputSource;
}

/** What a vendor's answer means. `result` refers to outputs by their place: `{ output: 0 }`. */
export interface Produced<Result> {
  outputs: Output[];
  result: Result;
  /** What the vendor reports that was used. Undefined: the quote is charged. */
  usage?: Usage[];
}

/** The state of a vendor's job as it was seen. */
export type Observation<Answer = unknown> =
  | { state: 'queued'; position?: number }
  | { state: 'running'; progress?: number; step?: string; logs?: string[]; text?: string }
  | { state: 'succeeded'; answer: Answer }
  | { state: 'failed'; failure: FailureFacts }
  | { state: 'cancelled'; billed?: Usage[] };

/** Enough JSON to find the vendor's job again from any process. */
export type Handle = Record<string, unknown>;

/** What `start` returns: the finished answer, or where to look for it, or a stream to watch. */
export type Started<Answer = unknown> =
  | { answer: Answer }
  | { handle: Handle; pollAfterMs?: number }
  | { observations: AsyncIterable<Observation<Answer>> };

/** The pure half of an adapter: our input → the vendor's request; the vendor's answer → our result. */
export interface PayloadTransformer<Input = any, Result = any, Request = any, Answer = any, Config = any> {
  /** PURE. Fills the vendor's defaults; a falsy value (seed 0) stays. `warnings`: what the model does not support and was left out. */
  toProvider(
    input: Input,
    model: string | null,
    context: RequestContext<Config>,
  ): { request: Request; warnings: string[] };
  /** PURE. */
  fromProvider(answer: Answer, context: TransformContext<Config>): Produced<Result>;
  /** PURE. An upper bound for the quote. Default: the task type's own. */
  estimate?(input: Input, model: string | null): Usage[];
}

export interface AdapterModel {
  id: string;
  taskTypes: string[];
  /** What `options` may hold for this model. Default: nothing. */
  options?: z.ZodType;
  /** How long one usually takes, until real runs tell. Milliseconds. */
  typicalMs?: number;
  sunsetAt?: Date;
}

export type CallPhase = 'start' | 'poll' | 'follow' | 'receive' | 'cancel' | 'find' | 'download';
export type CancelAnswer = 'cancelled' | 'requested' | 'too_late' | 'unknown';

/** One provider. A capability exists when its method is present. */
export interface Adapter<Config = any> {
  name: string;
  /** The version of this contract: 1. */
  contract: 1;
  version: string;
  title: string;
  website?: string;
  /** Read from the environment under these names. */
  secrets?: Record<string, { title: string; required: boolean }>;
  /** Read from `ATELIER_ADAPTER_<NAME>` as JSON. Default: none. */
  config?: z.ZodType<Config>;
  /** `here` counts against the lane's concurrency (this machine's CPU or GPU); `vendor` does not. */
  runs: 'here' | 'vendor';
  /** After a lost answer: `safe` = starting again buys nothing, `keyed` = the vendor honours attemptKey, `never`. */
  resubmit: 'safe' | 'keyed' | 'never';
  /** How input files reach the request. Default `url`. */
  files?: 'url' | 'dataUri' | 'path';
  models: AdapterModel[];
  transformers: {
    [Type in keyof TaskTypes]?: TaskTypes[Type] extends { input: infer Input; result: infer Result }
      ? PayloadTransformer<Input, Result>
      : never;
  } & Record<string, PayloadTransformer>;
  /** Exactly one billable call. */
  start(request: any, context: AdapterContext<Config>): Promise<Started>;
  /** Must not wait; Atelier sets the rhythm. A succeeded poll can be repeated. */
  poll?(handle: Handle, context: AdapterContext<Config>): Promise<Observation>;
  cancel?(handle: Handle, context: AdapterContext<Config>): Promise<CancelAnswer>;
  /** PURE. What an error means. Default, and for undefined: `bug`. */
  classify?(error: unknown, phase: CallPhase): FailureFacts | undefined;
}

const marker = Symbol.for('atelier.adapter');

/**
 * Declares an adapter.
 * @throws TypeError when the manifest does not fit; the message says what to change.
 */
export function defineAdapter<Config = unknown>(adapter: Adapter<Config>): Adapter<Config> {
  const fail = (message: string): never => {
    throw new TypeError(`adapter "${adapter.name}": ${message}`);
  };
  if (!/^[a-z][a-z0-9-]*$/.test(adapter.name)) fail('its name must be lower-case letters, digits and dashes');
  if (adapter.contract !== 1) fail(`it speaks contract ${adapter.contract}; this Atelier speaks 1`);
  if (adapter.runs !== 'here' && adapter.runs !== 'vendor') fail("runs must be 'here' or 'vendor'");
  if (!['safe', 'keyed', 'never'].includes(adapter.resubmit)) fail("resubmit must be 'safe', 'keyed' or 'never'");
  for (const [type, transformer] of Object.entries(adapter.transformers)) {
    const { toProvider, fromProvider } = transformer ?? {};
    if (typeof toProvider !== 'function' || typeof fromProvider !== 'function')
      fail(`the transformer of ${type} needs toProvider and fromProvider`);
  }
  if (adapter.models.length === 0) fail('models is empty; name at least one');
  for (const model of adapter.models) {
    for (const type of model.taskTypes)
      if (!adapter.transformers[type]) fail(`model "${model.id}" names ${type}, which has no transformer`);
  }
  return Object.freeze(Object.assign({}, adapter, { [marker]: true }));
}

/** True for what {@link defineAdapter} made, also by another copy of this module. */
export function isAdapter(value: unknown): value is Adapter {
  return typeof value === 'object' && value !== null && marker in value;
}
