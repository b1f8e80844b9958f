import type { Readable } from 'node:stream';

/** Where bytes live that a row points to: the operator's S3, or a directory on a machine that has none. */
export interface Storage {
  /** Stores a file under a key, whole or not at all; a key that exists is replaced by the same bytes. Above 8 MiB in parts. */
  put(key: string, file: string, facts: { contentType: string; sizeBytes: number }): Promise<void>;
  /** The stored bytes. Throws OutsideError (not retryable) when there are none. */
  get(key: string): Promise<Readable>;
  /** Null when there is none. */
  head(key: string): Promise<{ sizeBytes: number; contentType: string | undefined } | null>;
  /** Resolves also when there was none. */
  remove(key: string): Promise<void>;
  /** A URL that anyone may GET until it expires; `fileName` is what a browser saves it as. */
  signGet(key: string, options: { expiresInSeconds: number; contentType: string; fileName: string }): Promise<string>;
  /** A PUT that anyone may make until it expires, with exactly this type and size. */
  signPut(key: string, options: { expiresInSeconds: number; contentType: string; sizeBytes: number }): Promise<{ url: string; method: 'PUT'; headers: Record<string, string> }>;
  /** Throws when the storage does not answer. */
  check(): Promise<void>;
}
