import type { AdapterFetch } from './http.ts';
import type { AssetKind } from './task-type.ts';

/** Stands for an input file in a provider's request. Atelier puts what {@link Adapter.files} asks for in its place before `start`. */
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
  /**
   * Unique per attempt, and the same when the same attempt is looked at again, or sent again by an adapter that is `keyed`. 38 characters or more of
   * letters, digits and dashes; fit for an idempotency header.
   */
  attemptKey: string;
  /**
   * Tell the vendor to call this URL when something happens to the job; `receive` then gets the call. Undefined when the adapter
   * has no `receive`, or the installation no public address (ATELIER_PUBLIC_URL).
   */
  callbackUrl?: string;
}

/** What `toProvider` may know beside that. */
export interface RequestContext<Config = unknown> extends TransformContext<Config> {
  /** The input's files by the name of their URL field; an empty list when none was given. */
  files: Record<string, AssetReference[]>;
}

/** What a look at the vendor may use outside any task. */
export interface VendorContext<Config = unknown> {
  config: Config;
  /** Values of the secrets that the adapter declared; one credential's, when several are set. */
  secrets: Record<string, string>;
  /** See {@link AdapterFetch}: the only way to the network. */
  fetch: AdapterFetch;
  /** Aborted when the work is wanted no longer. Heed it; `fetch` does by itself. */
  signal: AbortSignal;
  /**
   * What `make` gave the last time, for at most `ttlMs` milliseconds, in this process; calls that come while it is made share it. For things that
   * are dear to get and the same for all tasks: a vendor's public keys, say.
   */
  cached<Value>(key: string, ttlMs: number, make: () => Promise<Value>): Promise<Value>;
}

/** Everything that an adapter may use for a task. No database, no clock of its own. */
export interface AdapterContext<Config = unknown> extends TransformContext<Config>, VendorContext<Config> {
  taskType: string;
  model: string;
  /** Aborted on cancel, at the deadline and when the lease is lost. */
  signal: AbortSignal;
  /** When the task fails with DEADLINE_EXCEEDED. */
  deadline: Date;
  now(): Date;
  /** A private temporary directory, removed when the attempt ends. */
  directory: string;
  /** Messages of a WebSocket of a declared host, until it is closed. Leave the loop to close it. Throws NetworkFailure. */
  socket(url: string, options?: { headers?: Record<string, string> }): AsyncIterable<string | Uint8Array>;
  /** A line for the task's own log, which clients see. Secrets in it are struck out. */
  log(level: 'DEBUG' | 'INFO' | 'WARN' | 'ERROR', message: string): void;
  /** Fraction done, 0..1; what falls is ignored. `step` is one or two words for people. */
  progress(fraction: number, step?: string): void;
}

/** An input file that is handed to {@link Adapter.upload}. */
export interface UploadFile {
  /** On this machine. */
  path: string;
  /** With an extension that fits, as `input-0.png`. */
  name: string;
  kind: AssetKind;
  contentType: string;
  sizeBytes: number;
  bytes(): Promise<Uint8Array>;
}

/** A call that a vendor made to {@link TransformContext.callbackUrl}. */
export interface CallbackRequest {
  /** Names in lower case. */
  headers: Record<string, string>;
  query: Record<string, string>;
  /** As it came, 1 MB at most. Verify before you parse. */
  body: Uint8Array;
}
