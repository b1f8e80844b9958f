import { createWriteStream } from 'node:fs';
import { readFile, rename } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import type { Core } from '../core.ts';
import type { Asset, Task } from '../db.ts';
import { type FieldIssue, OutsideError } from '../errors.ts';
import { fromId } from '../id.ts';
import {
  AdapterFailure,
  type AssetKind,
  type AssetReference,
  type FileInput,
  type TaskType,
  type UploadFile,
} from '../sdk/index.ts';
import { maxAssetBytes, signAsset } from './assets.ts';
import { inspectFile } from './media.ts';

/**
 * What is wrong with the files of an input, with paths relative to it: unknown asset ids (foreign ones and garbage answer
 * alike), assets of a wrong kind, more than allowed, URLs that may not be fetched. Empty: nothing.
 */
export async function checkInputAssets(
  core: Core,
  caller: { accountId: string; only?: { projectId?: string } },
  type: TaskType<any, any>,
  input: Record<string, unknown>,
): Promise<FieldIssue[]> {
  const issues: FieldIssue[] = [];
  const assets = await readAssets(core, caller.accountId, type, input, caller.only?.projectId);
  for (const field of type.files ?? []) {
    const urls = list(input, field.urls);
    const ids = list(input, field.assetIds);
    const count = urls.length + ids.length;
    if (count > field.maxCount) {
      issues.push({
        path: [field.assetIds],
        message: `at most ${field.maxCount} together with ${field.urls}, not ${count}`,
      });
    }
    urls.forEach((url, index) => {
      const refusal = core.outbound.refuses(url);
      if (refusal) issues.push({ path: [field.urls, String(index)], message: refusal });
    });
    ids.forEach((id, index) => {
      const asset = assets.get(id);
      const path = [field.assetIds, String(index)];
      if (!asset) issues.push({ path, message: 'no such asset' });
      else if (!field.kinds.includes(asset.kind as AssetKind))
        issues.push({ path, message: `must be ${words(field.kinds)}; this asset is ${asset.kind}` });
    });
  }
  return issues;
}

/** How a file reaches a provider's request: see {@link Adapter.files}. */
export type Placing = 'url' | 'dataUri' | 'path' | 'upload';

export interface PlacingOptions {
  how: Placing;
  /** Asked for when files have to be fetched. */
  directory: () => string;
  signal: AbortSignal;
  /** Brings a file to the vendor, for `upload`. */
  upload?: (file: UploadFile) => Promise<string>;
}

/** The files of a task's input, opened once per attempt. */
export interface Inputs {
  /** For `toProvider`: references by URL field, URLs before assets, in the order of the input; `[]` where none was given. */
  files: Record<string, AssetReference[]>;
  /**
   * The provider's request with every AssetReference replaced by a URL, a data URI, a path or what the upload gave; the rest is left as it is. Only files that the
   * request names are fetched.
   * @throws AdapterFailure invalid_input with the field's path when a client's URL gives no file of an accepted kind, INPUT_UNREACHABLE
   * (retryable) when its server fails, INPUT_TOO_LARGE for a data URI above 20 MiB.
   */
  place(request: unknown, options: PlacingOptions): Promise<unknown>;
}

/**
 * Reads which files a task goes by; fetches nothing yet.
 * @throws AdapterFailure invalid_input when an asset is gone since the task was created.
 */
export async function openInputs(core: Core, task: Task): Promise<Inputs> {
  const type = core.registry.taskType(task.type);
  const input = task.input as Record<string, unknown>;
  const assets = type ? await readAssets(core, task.accountId, type, input) : new Map<string, Asset>();
  const sources: Source[] = [];
  const files: Record<string, AssetReference[]> = {};
  for (const field of type?.files ?? []) {
    const of = (source: Source): AssetReference => ({
      assetReference: sources.push(source) - 1,
      kind: (source.asset?.kind ?? field.kinds[0]) as AssetKind,
      ...(source.asset && { contentType: source.asset.contentType }),
    });
    files[field.urls] = [
      ...list(input, field.urls).map((url, index) => of({ url, field, path: [field.urls, String(index)] })),
      ...list(input, field.assetIds).map((id, index) => {
        const path = [field.assetIds, String(index)];
        const asset = assets.get(id);
        if (!asset) throw invalid(path, 'no such asset; it was deleted after the task was created');
        return of({ asset, field, path });
      }),
    ];
  }
  return {
    files,
    async place(request, options) {
      const placed = new Map<number, string>();
      // One after the other: a request names few files, and the order keeps errors the same on each try.
      for (const index of references(request)) {
        const source = sources[index];
        if (!source) throw new Error(`the request names file ${index}; the task has ${sources.length}`);
        placed.set(index, await placeFile(core, source, { ...options, name: `input-${index}` }));
      }
      return replace(request, placed);
    },
  };
}

type Source = { field: FileInput; path: string[] } & (
  | { url: string; asset?: undefined }
  | { asset: Asset; url?: undefined }
);

const downloadTimeoutMs = 5 * 60_000;
/** Long enough for a provider that queues the work for hours. */
const urlExpiresInSeconds = 24 * 3600;
const maxDataUriBytes = 20 * 1024 * 1024;

async function placeFile(core: Core, source: Source, options: PlacingOptions & { name: string }): Promise<string> {
  if (options.how === 'url') return source.asset ? signAsset(core, source.asset, urlExpiresInSeconds) : source.url;
  const draft = join(options.directory(), options.name);
  if (source.asset) {
    await pipeline(await core.storage.get(source.asset.key), createWriteStream(draft), { signal: options.signal });
  } else {
    await download(core, source, draft, options.signal);
  }
  const facts = await inspectFile(draft, source.asset?.contentType);
  if (!source.asset && !source.field.kinds.includes(facts.kind)) {
    throw invalid(source.path, `must be ${words(source.field.kinds)}; the URL gives ${facts.contentType}`);
  }
  if (options.how === 'path' || options.how === 'upload') {
    // Some tools go by the name.
    const path = `${draft}.${facts.extension}`;
    await rename(draft, path);
    if (options.how === 'path') return path;
    const { kind, contentType, sizeBytes } = facts;
    return options.upload!({ path, name: basename(path), kind, contentType, sizeBytes, bytes: () => readFile(path) });
  }
  if (facts.sizeBytes > maxDataUriBytes) {
    throw invalid(
      source.path,
      `has ${facts.sizeBytes} bytes; this provider takes at most ${maxDataUriBytes}`,
      'INPUT_TOO_LARGE',
    );
  }
  return `data:${facts.contentType};base64,${(await readFile(draft)).toString('base64')}`;
}

async function download(
  core: Core,
  source: Source & { url: string },
  path: string,
  signal: AbortSignal,
): Promise<void> {
  try {
    const response = await core.outbound.fetch(source.url, {
      timeoutMs: downloadTimeoutMs,
      maxBytes: maxAssetBytes(core),
      maxRedirects: 5,
      signal,
    });
    if (response.status !== 200) {
      response.discard();
      const retryable = response.status === 408 || response.status === 429 || response.status >= 500;
      throw new OutsideError(`the server answered ${response.status}`, { retryable });
    }
    await pipeline(Readable.from(response.body), createWriteStream(path), { signal });
  } catch (cause) {
    if (!(cause instanceof OutsideError)) throw cause;
    if (!cause.retryable) throw invalid(source.path, `cannot be fetched: ${cause.message}`);
    const message = `${source.path.join('.')}: ${cause.message}`;
    throw new AdapterFailure(
      { class: 'retryable', code: 'INPUT_UNREACHABLE', message, publicMessage: message },
      { cause },
    );
  }
}

async function readAssets(
  core: Core,
  accountId: string,
  type: TaskType<any, any>,
  input: Record<string, unknown>,
  projectId?: string,
): Promise<Map<string, Asset>> {
  const uuids = new Map<string, string>();
  for (const id of (type.files ?? []).flatMap((field) => list(input, field.assetIds))) {
    const uuid = fromId('Asset', id);
    if (uuid) uuids.set(id, uuid);
  }
  if (uuids.size === 0) return new Map();
  const rows = await core.db.sql<Asset>(
    'SELECT * FROM asset WHERE account_id = $1 AND id = ANY($2) AND ($3::uuid IS NULL OR project_id = $3)',
    [accountId, [...uuids.values()], projectId ?? null],
    'input_assets',
  );
  const byUuid = new Map(rows.map((row) => [row.id, row]));
  return new Map([...uuids].flatMap(([id, uuid]) => (byUuid.has(uuid) ? [[id, byUuid.get(uuid)!] as const] : [])));
}

function references(value: unknown): Set<number> {
  if (isReference(value)) return new Set([value.assetReference]);
  if (typeof value !== 'object' || value === null) return new Set();
  return new Set(Object.values(value).flatMap((inner) => [...references(inner)]));
}

function replace(value: unknown, placed: Map<number, string>): unknown {
  if (isReference(value)) return placed.get(value.assetReference);
  if (Array.isArray(value)) return value.map((inner) => replace(inner, placed));
  if (typeof value !== 'object' || value === null || Object.getPrototypeOf(value) !== Object.prototype) return value;
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, replace(inner, placed)]));
}

function isReference(value: unknown): value is AssetReference {
  return typeof value === 'object' && value !== null && Number.isInteger((value as AssetReference).assetReference);
}

function invalid(path: string[], message: string, code = 'INVALID_INPUT'): AdapterFailure {
  return new AdapterFailure({
    class: 'invalid_input',
    code,
    message: `${path.join('.')}: ${message}`,
    issues: [{ path, message }],
  });
}

const list = (input: Record<string, unknown>, field: string): string[] => (input[field] as string[] | undefined) ?? [];

const words = (kinds: AssetKind[]): string => kinds.join(' or ');
