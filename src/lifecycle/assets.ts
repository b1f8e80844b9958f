import { createWriteStream } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Core } from '../core.ts';
import type { Asset, Task } from '../db.ts';
import { OutsideError } from '../errors.ts';
import { toId } from '../id.ts';
import {
  AdapterFailure,
  type AdapterFetch,
  isAdapterFailure,
  isHttpFailure,
  isNetworkFailure,
  type Output,
  type OutputSource,
} from '../sdk/index.ts';
import { type FileFacts, inspectFile } from './media.ts';

/** Where an output belongs, and what fetching it may use. */
export interface OutputPlace {
  attempt: number;
  /** Its place among the attempt's outputs, from 0; below 0: a preview. */
  output: number;
  /** The attempt's private directory. */
  directory(): string;
  signal: AbortSignal;
  /** For headers of the form `{ secret: NAME }`. */
  secrets: Record<string, string>;
  /** Reaches the adapter's asset hosts. */
  fetch: AdapterFetch;
}

/**
 * Brings an output's bytes to the storage and writes its row. The same task, attempt and output give the same asset: what a
 * repeated try finds there it replaces.
 * @throws AdapterFailure NO_OUTPUT (no bytes), WRONG_OUTPUT (said to be a picture, sound or film, and is not), OUTPUT_TOO_LARGE
 * (all permanent), OUTPUT_GONE (class expired: the provider no longer has it).
 * @throws OutsideError after four tries at the provider's server; the storage is tried until the signal aborts.
 */
export async function storeOutput(core: Core, task: Task, output: Output, place: OutputPlace): Promise<Asset> {
  const what = `output ${place.output} of ${toId('Task', task.id)}`;
  const { file, declared } = await persistently(place.signal, false, () => collect(core, output, place, what));
  const facts = await inspectFile(file, declared);
  checkOutput(core, output, facts, what);
  const name = place.output < 0 ? 'preview' : String(place.output);
  const key = `tasks/${toId('Task', task.id)}/${place.attempt}/${name}.${facts.extension}`;
  await reserveKey(core, key);
  await persistently(place.signal, true, () => core.storage.put(key, file, facts));
  const rows = await core.db.sql<Asset>(
    `WITH kept AS (DELETE FROM orphan WHERE key = $13 AND $5::int >= 0),
      replaced AS (INSERT INTO orphan (key) SELECT key FROM asset WHERE task_id = $3 AND attempt = $4 AND output = $5 AND key <> $13 ON CONFLICT DO NOTHING)
    INSERT INTO asset (account_id, project_id, task_id, attempt, output, kind, content_type, size_bytes, sha256, width, height, duration_ms, key)
    SELECT $1::uuid, $2::uuid, $3::uuid, $4::int, $5::int, $6, $7, $8::int8, $9, $10::int, $11::int, $12::int8, $13
    -- A preview that comes after the end is nobody's.
    WHERE $5::int >= 0 OR EXISTS (SELECT FROM task WHERE id = $3 AND status = 'PROCESSING' AND attempt = $4)
    ON CONFLICT (task_id, attempt, output) DO UPDATE SET kind = $6, content_type = $7, size_bytes = $8, sha256 = $9, width = $10, height = $11,
      duration_ms = $12, key = $13
    RETURNING *`,
    [task.accountId, task.projectId, task.id, place.attempt, place.output, ...columns(facts), key],
    'asset_store',
  );
  return rows[0]!;
}

/** A URL under which anyone can read an asset until it expires; browsers save it under the asset's id. */
export function signAsset(core: Core, asset: Asset, expiresInSeconds: number): Promise<string> {
  const extension = asset.key.split('.').at(-1);
  return core.storage.signGet(asset.key, {
    expiresInSeconds,
    contentType: asset.contentType,
    fileName: `${toId('Asset', asset.id)}.${extension}`,
  });
}

/**
 * Says in the database, before bytes are stored, that they go again unless a row claims them within a day: a process that
 * dies between the two leaves nothing behind for ever.
 */
export async function reserveKey(core: Core, key: string): Promise<void> {
  await core.db.sql(
    `INSERT INTO orphan (key, due_at) VALUES ($1, now() + interval '1 day') ON CONFLICT (key) DO UPDATE SET due_at = excluded.due_at`,
    [key],
    'asset_reserve',
  );
}

/** kind, content_type, size_bytes, sha256, width, height, duration_ms: as the columns of an asset follow each other. */
export function columns(facts: FileFacts): unknown[] {
  return [facts.kind, facts.contentType, facts.sizeBytes, facts.sha256, facts.width, facts.height, facts.durationMs];
}

/** The largest file, in bytes. */
export const maxAssetBytes = (core: Core): number => core.config.ATELIER_MAX_ASSET_MEGABYTES * 1024 * 1024;

const downloadTimeoutMs = 10 * 60_000;

interface Collected {
  file: string;
  declared: string | undefined;
}

async function collect(core: Core, output: Output, place: OutputPlace, what: string): Promise<Collected> {
  const { from, contentType: declared } = output;
  if ('file' in from) return { file: from.file, declared };
  const file = join(place.directory(), `collected-${place.output}`);
  if ('url' in from) {
    const served = await download(core, from, place, file, what);
    return { file, declared: declared ?? served };
  }
  await writeFile(file, 'text' in from ? from.text : from.bytes);
  return { file, declared };
}

/** @returns the type that the server says it is. */
async function download(
  core: Core,
  from: Extract<OutputSource, { url: string }>,
  place: OutputPlace,
  file: string,
  what: string,
): Promise<string | undefined> {
  try {
    const answer = await place.fetch(from.url, {
      headers: resolveSecrets(from.headers ?? {}, place.secrets),
      timeoutMs: downloadTimeoutMs,
      maxBytes: maxAssetBytes(core),
      signal: place.signal,
    });
    await pipeline(Readable.from(answer.body), createWriteStream(file));
    return answer.headers.get('content-type') ?? undefined;
  } catch (cause) {
    throw place.signal.aborted ? cause : downloadFailure(cause, what);
  }
}

function downloadFailure(cause: unknown, what: string): unknown {
  if (isAdapterFailure(cause)) {
    const { message } = cause.facts;
    return new AdapterFailure(
      { class: 'permanent', code: 'OUTPUT_REFUSED', message: `${what}: ${message}` },
      { cause },
    );
  }
  if (isNetworkFailure(cause)) {
    const { retryable = true } = (cause.cause ?? {}) as { retryable?: boolean };
    return new OutsideError(`fetching ${what}: ${cause.message}`, { retryable, cause });
  }
  if (!isHttpFailure(cause)) return cause;
  const message = `fetching ${what}: the provider's server answered ${cause.status}`;
  if ([401, 403, 404, 410].includes(cause.status))
    return new AdapterFailure({ class: 'expired', code: 'OUTPUT_GONE', message });
  const retryable = cause.status === 408 || cause.status === 429 || cause.status >= 500;
  return new OutsideError(message, { retryable, cause });
}

function checkOutput(core: Core, output: Output, facts: FileFacts, what: string): void {
  const fail = (code: string, message: string): never => {
    throw new AdapterFailure({ class: 'permanent', code, message: `${what} ${message}` });
  };
  if (facts.sizeBytes === 0) fail('NO_OUTPUT', 'is empty');
  if (facts.sizeBytes > maxAssetBytes(core))
    fail('OUTPUT_TOO_LARGE', `has ${facts.sizeBytes} bytes; at most ${maxAssetBytes(core)} are stored`);
  const medium = (kind: string) => kind === 'IMAGE' || kind === 'VIDEO' || kind === 'AUDIO';
  if (medium(output.kind) && !medium(facts.kind))
    fail('WRONG_OUTPUT', `should be of kind ${output.kind} and is ${facts.contentType}`);
}

function resolveSecrets(
  headers: Record<string, string | { secret: string }>,
  secrets: Record<string, string>,
): Record<string, string> {
  return Object.fromEntries(
    Object.entries(headers).map(([name, value]) => {
      if (typeof value === 'string') return [name, value];
      const secret = secrets[value.secret];
      if (secret === undefined)
        throw new Error(`header ${name} asks for the secret ${value.secret}, which the adapter has not declared`);
      return [name, secret];
    }),
  );
}

const pausesMs = [1_000, 4_000, 15_000];

/**
 * The work is paid for by now: what hinders it on the way to the storage must not lose it.
 * @param patient goes on until `signal` aborts, which the deadline does; else four tries.
 */
async function persistently<Result>(
  signal: AbortSignal,
  patient: boolean,
  step: () => Promise<Result>,
): Promise<Result> {
  for (let tries = 0; ; tries++) {
    try {
      return await step();
    } catch (error) {
      const isLast = !patient && tries >= pausesMs.length;
      if (!(error instanceof OutsideError && error.retryable) || signal.aborted || isLast) throw error;
      await sleep(pausesMs[tries] ?? pausesMs.at(-1), undefined, { signal });
    }
  }
}
