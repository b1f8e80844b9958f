import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Readable } from 'node:stream';

/**
 * Where bytes live that a row points to: the operator's S3, or a directory on a machine that has none. Keys are made by
 * Atelier: parts of letters, digits, `.`, `_` and `-` with `/` between them. All methods throw OutsideError when the
 * storage fails them.
 */
export interface Storage {
  /** Stores a file under a key, whole or not at all; a key that exists is replaced by the same bytes. Above 8 MiB in parts. */
  put(key: string, file: string, facts: { contentType: string; sizeBytes: number }): Promise<void>;
  /** The stored bytes. Throws OutsideError (not retryable) when there are none. */
  get(key: string): Promise<Readable>;
  /** Null when there is none. */
  head(key: string): Promise<{ sizeBytes: number; contentType: string | undefined } | null>;
  /** Resolves also when there was none. */
  remove(key: string): Promise<void>;
  /** A URL that anyone may GET until it expires (S3: at most 7 days); `fileName` is what a browser saves it as. */
  signGet(key: string, options: { expiresInSeconds: number; contentType: string; fileName: string }): Promise<string>;
  /** A PUT that anyone may make until it expires, with exactly this type and size. HTTP clients set Content-Length themselves. */
  signPut(
    key: string,
    options: { expiresInSeconds: number; contentType: string; sizeBytes: number },
  ): Promise<SignedPut>;
  /** Throws when the storage does not answer. */
  check(): Promise<void>;
  /** Answers a request for one of its own URLs, below /files/. Undefined: the URLs lead to another server. */
  answer?(request: IncomingMessage, response: ServerResponse): Promise<void>;
  close(): Promise<void>;
}

export interface SignedPut {
  url: string;
  method: 'PUT';
  headers: Record<string, string>;
}
