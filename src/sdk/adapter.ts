import type { z } from 'zod';
import type {
  AdapterContext,
  CallbackRequest,
  RequestContext,
  TransformContext,
  UploadFile,
  VendorContext,
} from './context.ts';
import type { FailureFacts } from './failure.ts';
import { nearest } from './nearest.ts';
import type { AssetKind, Usage } from './task-type.ts';

/**
 * The inputs and results of the task types, by name. The built-in ones are declared by Atelier; a plugin adds its own:
 * `declare module 'atelier/adapter' { interface TaskTypes { acme_restore_photo: { input: …; result: … } } }`.
 */
// biome-ignore lint/suspicious/noEmptyInterface: filled by declaration merging
export interface TaskTypes {}

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

/** What a vendor's answer means. */
export interface Produced<Result> {
  outputs: Output[];
  /**
   * Refers to outputs by their place: `{ output: 0 }`. Where the task type has `durationSeconds`, leave it out when the vendor does not say: Atelier
   * measures the first file that plays.
   */
  result: Result extends { durationSeconds: number }
    ? Omit<Result, 'durationSeconds'> & { durationSeconds?: number }
    : Result;
  /** What the vendor reports that was used, in the units of the task type's prices. Undefined: the quote is charged, and marked so. */
  usage?: Usage[];
  /** What the vendor says that it charges the operator, as a decimal string: `{ amount: '0.0032', currency: 'USD' }`. Kept beside the attempt. */
  cost?: Cost;
}

export interface Cost {
  amount: string;
  /** ISO 4217, or the vendor's own word in lower case, as `credits`. */
  currency: string;
}

/**
 * The state of a vendor's job as it was seen. A status that you do not know is `running`: the deadline ends what never ends.
 * - `logs` and `text`: what is new since the last observation.
 * - `partial`: a preview; it is stored and shown while the work goes on, and the next one takes its place.
 * - `handle`: takes the place of the stored one, to note how much of the log has been told, say.
 */
export type Observation<Answer = unknown> =
  | { state: 'queued'; position?: number }
  | {
      state: 'running';
      progress?: number;
      step?: string;
      logs?: string[];
      text?: string;
      partial?: Output;
      handle?: Handle;
    }
  | { state: 'succeeded'; answer: Answer }
  | { state: 'failed'; failure: FailureFacts }
  | { state: 'cancelled'; billed?: Usage[] };

/** Enough JSON to find the vendor's job again from any process. */
export type Handle = Record<string, unknown>;

/**
 * What `start` returns: the finished answer, or where to look for it, or a stream to watch. A stream ends with `succeeded` or `failed`; what it is
 * made of must be one billable call, made when the first observation is asked for.
 */
export type Started<Answer = unknown> =
  | { answer: Answer }
  | { handle: Handle; pollAfterMs?: number }
  | { observations: AsyncIterable<Observation<Answer>> };

/** The pure half of an adapter: our input → the vendor's request; the vendor's answer → our result. */
export interface PayloadTransformer<Input = any, Result = any, Request = any, Answer = any, Config = any> {
  /** PURE. Fills the vendor's defaults; a falsy value (seed 0) stays. `warnings`: what the model does not support and was left out. */
  toProvider(input: Input, model: string, context: RequestContext<Config>): { request: Request; warnings: string[] };
  /** PURE. */
  fromProvider(answer: Answer, context: TransformContext<Config>): Produced<Result>;
  /** PURE. An upper bound for the quote. Default: the task type's own. */
  estimate?(input: Input, model: string, config: Config): Usage[];
}

export interface AdapterModel {
  id: string;
  taskTypes: string[];
  /** What `options` may hold for this model; make it strict. Default: nothing. */
  options?: z.ZodType;
  /** How long one usually takes, until real runs tell. Milliseconds. */
  typicalMs?: number;
  /** When its vendor ends it. Shown; a task that is created after it is refused. */
  sunsetAt?: Date;
  /** Jobs in flight at once for this model, with one credential, over all workers. Default: the adapter's. */
  concurrency?: number;
}

/** What the vendor allows one credential, over all workers. */
export interface VendorLimits {
  /** Jobs in flight at once; more wait in the queue. Default: no limit. */
  concurrency?: number;
  /** Requests of any kind, `start` and `poll` alike. Default: no limit. */
  requestsPerSecond?: number;
}

export type CallPhase = 'start' | 'poll' | 'follow' | 'receive' | 'cancel' | 'find' | 'download' | 'upload';
/**
 * What the vendor says of the job that is to stop: `cancelled`, it has; `too_late`, it had ended before; `requested`, he has taken the wish in, and it may
 * still run; `unknown`, nobody can say, which is also what a throw means. The first two end the task CANCELLED at once. After the others the job is polled;
 * while it goes on, `cancel` and `poll` are called again every 5 s, and 30 s after the client's wish the task ends CANCELLED all the same.
 */
export type CancelAnswer = 'cancelled' | 'requested' | 'too_late' | 'unknown';

/** One provider. A capability exists when its method is present. */
export interface Adapter<Config = any> {
  /** Lower-case letters, digits and dashes. What `provider` takes. */
  name: string;
  /** The version of this contract: 1. */
  contract: 1;
  version: string;
  title: string;
  website?: string;
  /**
   * Read from the environment under these names, or from the file that `<NAME>_FILE` names. `<NAME>_2`, `<NAME>_3` … are further credentials. An
   * adapter whose required secrets are missing is switched off, and `providers` says so.
   */
  secrets?: Record<string, { title: string; required: boolean | ((config: Config) => boolean) }>;
  /** Read from `ATELIER_ADAPTER_<NAME>` as JSON. An adapter that needs one (`{}` does not fit) is switched off until it is set. Default: none. */
  config?: z.ZodType<Config>;
  /** Hosts that `context.fetch` and `context.socket` reach, as `api.acme.example` or `*.acme.example`. All others are refused. Default: none. */
  hosts?(config: Config): string[];
  /** Hosts that outputs may be fetched from. Default: `hosts`. */
  assetHosts?(config: Config): string[];
  /** Hosts among them that may lie in a private network: those that the operator's own config names, and no others. Default: none. */
  privateHosts?(config: Config): string[];
  /** `here` counts against the lane's concurrency (this machine's or this house's CPU or GPU); `vendor` does not. */
  runs: 'here' | 'vendor';
  /** After a lost answer: `safe` = starting again buys nothing, `keyed` = the vendor honours attemptKey for a day or more, `never`. */
  resubmit: 'safe' | 'keyed' | 'never';
  /** The longest that the paid call of `start` takes until it is answered. Milliseconds, default 120,000: the default time limit of `fetch` there. */
  startTimeoutMs?: number;
  /** How long until `find` sees a job that was accepted. Milliseconds. Default 5,000. */
  visibleAfterMs?: number;
  limits?: VendorLimits;
  /** How input files reach the request. Default `url`: a signed URL, which a vendor can fetch only from a public storage. `upload` needs `upload`. */
  files?: 'url' | 'dataUri' | 'path' | 'upload';
  /** Or a function of the config and the vendor, asked at the start and every ten minutes; while it fails, what it last gave stays. */
  models: AdapterModel[] | ((context: VendorContext<Config>) => AdapterModel[] | Promise<AdapterModel[]>);
  transformers: {
    [Type in keyof TaskTypes]?: TaskTypes[Type] extends { input: infer Input; result: infer Result }
      ? PayloadTransformer<Input, Result, any, any, Config>
      : never;
  } & Record<string, PayloadTransformer<any, any, any, any, Config>>;
  /** Exactly one billable call. */
  start(request: any, context: AdapterContext<Config>): Promise<Started>;
  /** One look at a job. Must not wait; Atelier sets the rhythm. A succeeded poll can be repeated. Needed by adapters that return handles. */
  poll?(handle: Handle, context: AdapterContext<Config>): Promise<Observation>;
  /** `start` gives its output piece by piece, as observations: shown as the capability STREAM. Default: false. */
  streams?: boolean;
  /** Watches a job live, for its progress. When it ends without an outcome, or fails, the job is polled. */
  follow?(handle: Handle, context: AdapterContext<Config>): AsyncIterable<Observation>;
  /**
   * A callback. Verify it first and throw an AdapterFailure of class `authentication` when it is forged or stale. `handle` is null while `start` has not returned.
   * It runs twice, when the call comes and when it is applied; `now()` is the time at which it came, both times.
   * @returns null when it says nothing about the outcome: Atelier polls.
   */
  receive?(
    request: CallbackRequest,
    handle: Handle | null,
    context: AdapterContext<Config>,
  ): Promise<Observation | null>;
  /** Asks the vendor to stop. Twice is harmless. */
  cancel?(handle: Handle, context: AdapterContext<Config>): Promise<CancelAnswer>;
  /** Settles a lost answer: the handle of the job that was started with this key since then, or null when the vendor has none. */
  find?(attemptKey: string, since: Date, context: AdapterContext<Config>): Promise<Handle | null>;
  /** Brings an input file to the vendor, for `files: 'upload'`. Must cost nothing. @returns what stands in the request in its place. */
  upload?(file: UploadFile, context: AdapterContext<Config>): Promise<string>;
  /** PURE. What an error means. Default, and for undefined: {@link classifyExchange}, then `bug`. */
  classify?(error: unknown, phase: CallPhase): FailureFacts | undefined;
}

const marker = Symbol.for('atelier.adapter');

/** All fields, also those that are optional: a capability that is misspelt would not exist, and a setting would be its default. */
const known: Record<keyof Adapter, true> = {
  name: true,
  contract: true,
  version: true,
  title: true,
  website: true,
  secrets: true,
  config: true,
  hosts: true,
  assetHosts: true,
  privateHosts: true,
  runs: true,
  resubmit: true,
  startTimeoutMs: true,
  visibleAfterMs: true,
  limits: true,
  files: true,
  models: true,
  transformers: true,
  start: true,
  poll: true,
  streams: true,
  follow: true,
  receive: true,
  cancel: true,
  find: true,
  upload: true,
  classify: true,
};

/**
 * Declares an adapter.
 * @throws TypeError when the manifest does not fit; the message says what to change.
 */
export function defineAdapter<Config = unknown>(adapter: Adapter<Config>): Adapter<Config> {
  const fail = (message: string): never => {
    throw new TypeError(`adapter "${adapter.name}": ${message}`);
  };
  if (typeof adapter.name !== 'string' || !/^[a-z][a-z0-9-]*$/.test(adapter.name))
    fail('its name must be lower-case letters, digits and dashes');
  if (adapter.contract !== 1)
    fail(`it speaks contract ${adapter.contract}; this Atelier speaks 1: update the one that is older`);
  const unknown = Object.entries(adapter).filter(
    ([field, value]) => !Object.hasOwn(known, field) && value !== undefined,
  );
  if (unknown.length > 0) fail(unknown.map(([field]) => unknownField(field)).join('; '));
  if (adapter.runs !== 'here' && adapter.runs !== 'vendor') fail("runs must be 'here' or 'vendor'");
  if (!['safe', 'keyed', 'never'].includes(adapter.resubmit)) fail("resubmit must be 'safe', 'keyed' or 'never'");
  if (typeof adapter.transformers !== 'object' || adapter.transformers === null) fail('transformers is missing');
  for (const [type, transformer] of Object.entries(adapter.transformers)) {
    const { toProvider, fromProvider } = transformer ?? {};
    if (typeof toProvider !== 'function' || typeof fromProvider !== 'function')
      fail(`the transformer of ${type} needs toProvider and fromProvider`);
  }
  if (typeof adapter.models !== 'function' && !Array.isArray(adapter.models))
    fail('models must be a list or a function');
  if (Array.isArray(adapter.models)) {
    if (adapter.models.length === 0) fail('models is empty; name at least one');
    checkModels(adapter, adapter.models);
  }
  for (const name of Object.keys(adapter.secrets ?? {}))
    if (!/^[A-Z][A-Z0-9_]*$/.test(name)) fail(`the secret "${name}" must be an upper-case name, as ACME_API_KEY`);
  if (adapter.files === 'upload' && !adapter.upload) fail("files: 'upload' needs the method upload");
  if (
    (adapter.follow || adapter.cancel || adapter.receive || adapter.find) &&
    !adapter.poll &&
    adapter.runs === 'vendor'
  )
    fail('follow, cancel, receive and find are about jobs with a handle; they need poll');
  return Object.freeze(Object.assign({}, adapter, { [marker]: true }));
}

function unknownField(name: string): string {
  const meant = nearest(name, Object.keys(known));
  if (meant) return `there is no field "${name}"; did you mean "${meant}"?`;
  return `there is no field "${name}"; what is the adapter's own, such as a function that its methods share, stands outside of it`;
}

/**
 * Checks a list of models, also one that a function gave.
 * @throws TypeError that names the model and what does not fit.
 */
export function checkModels(adapter: Adapter, models: AdapterModel[]): void {
  const seen = new Set<string>();
  for (const { id, taskTypes } of models) {
    if (seen.has(id)) throw new TypeError(`adapter "${adapter.name}": two models are called "${id}"`);
    seen.add(id);
    for (const type of taskTypes)
      if (!adapter.transformers[type])
        throw new TypeError(`adapter "${adapter.name}": model "${id}" names ${type}, which has no transformer`);
  }
}

/** True for what {@link defineAdapter} made, also by another copy of this module. */
export function isAdapter(value: unknown): value is Adapter {
  return typeof value === 'object' && value !== null && marker in value;
}
