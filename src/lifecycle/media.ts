import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { fileTypeFromFile } from 'file-type';
import mediaInfoFactory, { type MediaInfo } from 'mediainfo.js';
import type { AssetKind } from '../sdk/index.ts';

/** What a file is, told from its bytes. */
export interface FileFacts {
  sizeBytes: number;
  /** Hexadecimal. */
  sha256: string;
  /** Without parameters, as `audio/ogg`. */
  contentType: string;
  /** For its name, without the dot. */
  extension: string;
  kind: AssetKind;
  /** Pixels; null where the file has none. */
  width: number | null;
  height: number | null;
  /** Null for what does not play, and where the file does not tell. */
  durationMs: number | null;
}

/**
 * Reads a file's facts from the file itself.
 * @param declared what somebody says its type is. It decides only between types that the bytes leave open: which sort of text, which
 * sort of unknown binary that is no medium.
 */
export async function inspectFile(path: string, declared?: string): Promise<FileFacts> {
  const handle = await open(path);
  try {
    const sizeBytes = (await handle.stat()).size;
    const claim = canonicalType(declared ?? '');
    const type = (await magicType(path)) ?? (await textType(handle, sizeBytes, claim)) ?? binaryType(claim);
    const kind = kindOf(type.contentType);
    const facts = {
      sizeBytes,
      sha256: await hashFile(path),
      ...type,
      kind,
      width: null,
      height: null,
      durationMs: null,
    };
    if ((kind !== 'IMAGE' && kind !== 'VIDEO' && kind !== 'AUDIO') || type.contentType === 'image/svg+xml')
      return facts;
    return withMedia(facts, await readTracks(handle, sizeBytes));
  } finally {
    await handle.close();
  }
}

/** One spelling for types that have several, without parameters: `audio/x-wav` is `audio/wav`. */
export function canonicalType(contentType: string): string {
  const bare = contentType.split(';')[0]!.trim().toLowerCase();
  return aliases[bare] ?? bare;
}

export function kindOf(contentType: string): AssetKind {
  if (contentType.startsWith('image/')) return 'IMAGE';
  if (contentType.startsWith('video/')) return 'VIDEO';
  if (contentType.startsWith('audio/')) return 'AUDIO';
  return isText(contentType) ? 'TEXT' : 'OTHER';
}

const aliases: Record<string, string> = {
  'image/jpg': 'image/jpeg',
  'image/pjpeg': 'image/jpeg',
  'image/apng': 'image/png',
  'audio/x-wav': 'audio/wav',
  'audio/wave': 'audio/wav',
  'audio/vnd.wave': 'audio/wav',
  'audio/mp3': 'audio/mpeg',
  'audio/x-flac': 'audio/flac',
  'audio/x-m4a': 'audio/mp4',
  'audio/m4a': 'audio/mp4',
  'audio/opus': 'audio/ogg',
  'application/ogg': 'audio/ogg',
  'video/x-m4v': 'video/mp4',
  'text/json': 'application/json',
  'text/xml': 'application/xml',
};

const textExtensions: Record<string, string> = {
  'text/plain': 'txt',
  'text/html': 'html',
  'text/csv': 'csv',
  'text/markdown': 'md',
  'text/vtt': 'vtt',
  'application/x-subrip': 'srt',
  'application/json': 'json',
  'application/xml': 'xml',
  'image/svg+xml': 'svg',
};

const isText = (type: string): boolean =>
  /^text\/|^application\/(json|xml|x-subrip|javascript|yaml|x-ndjson)$|\+(json|xml)$/.test(type);

type Typed = Pick<FileFacts, 'contentType' | 'extension'>;

async function magicType(path: string): Promise<Typed | undefined> {
  const found = await fileTypeFromFile(path);
  // XML of any kind: SVG is told apart below.
  if (!found || found.mime === 'application/xml') return undefined;
  return { contentType: canonicalType(found.mime), extension: found.ext };
}

const sniffedBytes = 64 * 1024;
const parsedBytes = 1024 * 1024;

async function textType(handle: FileHandle, sizeBytes: number, claim: string): Promise<Typed | undefined> {
  const text = await readText(handle, Math.min(sizeBytes, parsedBytes), sizeBytes <= parsedBytes);
  if (text === undefined) return undefined;
  const head = text
    .slice(0, sniffedBytes)
    .replace(/^\uFEFF?\s*(<\?xml[^>]*>\s*)?(<!--[\s\S]*?-->\s*)*(<!doctype svg[^>]*>\s*)?(<!--[\s\S]*?-->\s*)*/i, '');
  const svg = /^<svg[\s>]/i.test(head);
  const fits =
    isText(claim) &&
    (claim !== 'image/svg+xml' || svg) &&
    (claim !== 'application/json' || sizeBytes > parsedBytes || isJson(text));
  const contentType = fits ? claim : svg ? 'image/svg+xml' : sniffText(head, text, sizeBytes);
  return { contentType, extension: textExtensions[contentType] ?? 'txt' };
}

function sniffText(head: string, text: string, sizeBytes: number): string {
  if (/^<!doctype html|^<html[\s>]/i.test(head)) return 'text/html';
  if (/^\s*<\?xml/i.test(text)) return 'application/xml';
  return sizeBytes <= parsedBytes && /^[[{]/.test(head) && isJson(text) ? 'application/json' : 'text/plain';
}

/** Undefined when it is no UTF-8 text. The last character may be cut when more bytes follow. */
async function readText(handle: FileHandle, length: number, whole: boolean): Promise<string | undefined> {
  const bytes = Buffer.alloc(length);
  const { bytesRead } = await handle.read(bytes, 0, length, 0);
  try {
    const text = new TextDecoder('utf-8', { fatal: true }).decode(bytes.subarray(0, bytesRead), { stream: !whole });
    // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what tells binary from text
    return /[\0-\x08\x0e-\x1a\x1c-\x1f]/.test(text) ? undefined : text;
  } catch {
    return undefined;
  }
}

function isJson(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}

/** No known magic bytes: a claim to be a medium or text is not believed. */
function binaryType(claim: string): Typed {
  const believable = /^[a-z]+\/[\w.+-]+$/.test(claim) && kindOf(claim) === 'OTHER';
  return { contentType: believable ? claim : 'application/octet-stream', extension: 'bin' };
}

async function hashFile(path: string): Promise<string> {
  const hash = createHash('sha256');
  for await (const chunk of createReadStream(path, { highWaterMark: 1024 * 1024 })) hash.update(chunk);
  return hash.digest('hex');
}

interface Track {
  '@type': string;
  Width?: number;
  Height?: number;
  Duration?: number;
}

function withMedia(facts: FileFacts, tracks: Track[]): FileFacts {
  const picture = tracks.find((track) => track['@type'] === 'Video' || track['@type'] === 'Image');
  const seconds =
    tracks.find((track) => track['@type'] === 'General')?.Duration ?? tracks.find((track) => track.Duration)?.Duration;
  const timed = facts.kind !== 'IMAGE' || picture?.Duration !== undefined;
  const media = {
    ...facts,
    width: picture?.Width ?? null,
    height: picture?.Height ?? null,
    durationMs: timed && seconds !== undefined ? Math.round(seconds * 1000) : null,
  };
  // MP4, WebM, Matroska and Ogg hold sound alone as well as pictures, and begin alike.
  const soundOnly = facts.kind === 'VIDEO' && !picture && tracks.some((track) => track['@type'] === 'Audio');
  return soundOnly ? { ...media, kind: 'AUDIO', contentType: facts.contentType.replace('video/', 'audio/') } : media;
}

let engine: Promise<MediaInfo> | undefined;
let turn: Promise<unknown> = Promise.resolve();

/**
 * One WebAssembly instance, one file at a time: it reads some hundred kilobytes of even a large file and takes about 10 ms,
 * in slices below that. A file that it cannot read has no tracks.
 */
function readTracks(handle: FileHandle, sizeBytes: number): Promise<Track[]> {
  const mine = turn.then(async () => {
    engine ??= mediaInfoFactory({ format: 'object', chunkSize: sniffedBytes });
    try {
      const result = await (await engine).analyzeData(sizeBytes, async (size, offset) => {
        const { buffer, bytesRead } = await handle.read(Buffer.alloc(size), 0, size, offset);
        return buffer.subarray(0, bytesRead);
      });
      return (result.media?.track ?? []) as Track[];
    } catch {
      // An instance that has thrown may be broken for good.
      engine = undefined;
      return [];
    }
  });
  turn = mine;
  return mine;
}
