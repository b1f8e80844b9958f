import { randomUUID } from 'node:crypto';
import { createWriteStream } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import type { Core } from '../core.ts';
import type { Asset, Upload } from '../db.ts';
import { type FieldIssue, notFound, validation } from '../errors.ts';
import { toId } from '../id.ts';
import type { SignedPut } from '../storage/storage.ts';
import { columns, maxAssetBytes, reserveKey } from './assets.ts';
import { canonicalType, type FileFacts, inspectFile, kindOf } from './media.ts';

/** How long the bytes may take to come. */
const expiresInSeconds = 3600;
/** What S3 takes in one PUT. */
const maxPutBytes = 5 * 1024 ** 3;

export interface NewUpload extends SignedPut {
  /** The upload's id, for completeUpload. */
  id: string;
  expiresAt: Date;
}

/**
 * Prepares a place for a client's file: a presigned PUT for an hour, bound to type and size.
 * @param request.projectId null = an id that cannot be a project's; undefined = the caller's own.
 * @throws Refusal ValidationError (`contentType` is no type, `sizeBytes` outside 1 to ATELIER_MAX_ASSET_MEGABYTES, at most 5 GiB), NotFoundError (project).
 */
export async function createUpload(
  core: Core,
  caller: { accountId: string; projectId: string },
  request: { contentType: string; sizeBytes: number; projectId?: string | null },
): Promise<NewUpload> {
  const { contentType, sizeBytes } = request;
  const issues = checkRequest(contentType, sizeBytes, Math.min(maxAssetBytes(core), maxPutBytes));
  if (issues.length > 0) throw validation(issues);
  if (request.projectId === null) throw notFound('project');
  const key = `uploads/${randomUUID()}`;
  const signed = await core.storage.signPut(key, { expiresInSeconds, contentType, sizeBytes });
  const rows = await core.db.sql<Upload>(
    `INSERT INTO upload (account_id, project_id, content_type, size_bytes, key, expires_at)
    SELECT account_id, id, $3, $4, $5, now() + $6 * interval '1 second' FROM project WHERE id = $1 AND account_id = $2 RETURNING *`,
    [request.projectId ?? caller.projectId, caller.accountId, contentType, sizeBytes, key, expiresInSeconds],
    'upload_create',
  );
  const upload = rows[0];
  if (!upload) throw notFound('project');
  return { ...signed, id: toId('Upload', upload.id), expiresAt: upload.expiresAt };
}

/**
 * Makes an asset of an upload whose bytes are there: size and magic bytes are checked against what was announced. Called again, also
 * at the same time, it gives the same asset, until a day after the URL expired.
 * @param uploadId null = an id that cannot be an upload's.
 * @throws Refusal ValidationError (no bytes yet, another size, another type), NotFoundError.
 */
export async function completeUpload(core: Core, accountId: string, uploadId: string | null): Promise<Asset> {
  const upload = uploadId && (await readUpload(core, accountId, uploadId));
  if (!upload) throw notFound('upload');
  if (upload.assetId) return readAsset(core, upload.assetId);
  const present = await core.storage.head(upload.key);
  if (!present)
    throw wrong('no bytes have come yet: PUT them to the url that createUpload gave, then call completeUpload');
  if (present.sizeBytes !== Number(upload.sizeBytes))
    throw wrong(`${present.sizeBytes} bytes came; ${upload.sizeBytes} were announced`);
  const directory = await mkdtemp(join(tmpdir(), 'atelier-upload-'));
  try {
    const file = join(directory, 'file');
    await pipeline(await core.storage.get(upload.key), createWriteStream(file));
    const facts = await inspectFile(file, upload.contentType);
    if (facts.sizeBytes !== Number(upload.sizeBytes))
      throw wrong(`${facts.sizeBytes} bytes came; ${upload.sizeBytes} were announced`);
    if (!agrees(upload.contentType, facts))
      throw wrong(`the bytes are ${facts.contentType}, not ${upload.contentType} as announced`);
    return await keep(core, upload, file, facts);
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

/** Under a key of its own: the PUT's URL still works for a while, and must not change what was checked. */
async function keep(core: Core, upload: Upload, file: string, facts: FileFacts): Promise<Asset> {
  const key = `assets/${toId('Upload', upload.id)}.${facts.extension}`;
  await reserveKey(core, key);
  await core.storage.put(key, file, facts);
  const made = await core.db.sql<Asset>(
    `WITH waiting AS (SELECT * FROM upload WHERE id = $1 AND asset_id IS NULL FOR UPDATE),
      kept AS (DELETE FROM orphan WHERE key = $2),
      made AS (
        INSERT INTO asset (account_id, project_id, kind, content_type, size_bytes, sha256, width, height, duration_ms, key)
        SELECT account_id, project_id, $3, $4, $5, $6, $7::int, $8::int, $9::bigint, $2 FROM waiting RETURNING *
      ), linked AS (UPDATE upload SET asset_id = made.id FROM made WHERE upload.id = $1)
    SELECT * FROM made`,
    [upload.id, key, ...columns(facts)],
    'upload_complete',
  );
  if (made[0]) return made[0];
  // Another call was faster, or the upload is gone.
  const now = await readUpload(core, upload.accountId, upload.id);
  if (!now?.assetId) throw notFound('upload');
  return readAsset(core, now.assetId);
}

async function readUpload(core: Core, accountId: string, id: string): Promise<Upload | undefined> {
  const rows = await core.db.sql<Upload>(
    'SELECT * FROM upload WHERE id = $1 AND account_id = $2',
    [id, accountId],
    'upload_read',
  );
  return rows[0];
}

async function readAsset(core: Core, id: string): Promise<Asset> {
  const rows = await core.db.sql<Asset>('SELECT * FROM asset WHERE id = $1', [id], 'asset_read');
  if (!rows[0]) throw notFound('upload');
  return rows[0];
}

function checkRequest(contentType: string, sizeBytes: number, maxBytes: number): FieldIssue[] {
  const issues: FieldIssue[] = [];
  // RFC 9110, 8.3.1: type "/" subtype, with parameters.
  const token = "[\\w!#$%&'*+.^`|~-]+";
  if (
    contentType.length > 255 ||
    !new RegExp(`^${token}/${token}(\\s*;\\s*${token}=(${token}|"[^"\\\\\\r\\n]*"))*$`).test(contentType)
  ) {
    issues.push({ path: ['contentType'], message: 'must be a media type, as image/png; at most 255 characters' });
  }
  if (!Number.isSafeInteger(sizeBytes) || sizeBytes < 1 || sizeBytes > maxBytes) {
    issues.push({ path: ['sizeBytes'], message: `must be a whole number from 1 to ${maxBytes}` });
  }
  return issues;
}

function agrees(declared: string, facts: FileFacts): boolean {
  const claim = canonicalType(declared);
  if (claim === facts.contentType || claim === 'application/octet-stream') return true;
  // Sound alone in a container for films: what records it often says video/…
  const [, subtype] = claim.split('/');
  return (
    (kindOf(claim) === 'VIDEO' || kindOf(claim) === 'AUDIO') &&
    facts.kind !== 'IMAGE' &&
    facts.contentType.endsWith(`/${subtype}`)
  );
}

const wrong = (message: string) => validation([{ path: ['id'], message }]);
