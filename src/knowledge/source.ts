import type { Core } from '../core.ts';
import { notFound, Refusal, validation } from '../errors.ts';
import { canonicalType } from '../lifecycle/media.ts';
import { isStorable, notStorable } from '../lifecycle/storable.ts';
import { extractPassages, isReadable } from './extract.ts';
import { limits } from './limits.ts';

/** Where a document's text comes from. assetId: the row's; null = an id that cannot be one. contentType: "text/markdown" for want of another. */
export interface DocumentSource {
  text?: string;
  assetId?: string | null;
  contentType: string;
}

export interface ReadSource {
  contentType: string;
  sizeBytes: number;
  passages: string[];
}

/**
 * Reads a document to its passages. Nothing is written.
 * @param scope.assetProjectId assets of this project only; undefined: of all of the account.
 * @throws Refusal ValidationError (not exactly one of text and asset; no text, Markdown, HTML or PDF; unreadable; without a word),
 * NotFoundError (the asset), LimitExceededError (10 MB, 5,000 passages).
 * @throws OutsideError when the storage does not answer.
 */
export async function readSource(
  core: Core,
  scope: { accountId: string; assetProjectId?: string },
  source: DocumentSource,
): Promise<ReadSource> {
  if ((source.text === undefined) === (source.assetId === undefined))
    throw validation([{ path: ['text'], message: 'give either text or assetId' }]);
  const field = source.text === undefined ? 'assetId' : 'text';
  const { bytes, contentType } =
    source.text === undefined
      ? await readAsset(core, scope, source.assetId ?? null, canonicalType(source.contentType))
      : readText(source.text, canonicalType(source.contentType));
  const passages = await extractPassages(bytes, contentType, field);
  return { contentType, sizeBytes: bytes.length, passages };
}

function readText(text: string, contentType: string) {
  if (!contentType.startsWith('text/'))
    throw validation([
      { path: ['contentType'], message: 'must be text/plain, text/markdown or text/html; a PDF comes as an asset' },
    ]);
  if (!isStorable(text)) throw validation([{ path: ['text'], message: notStorable }]);
  const bytes = Buffer.from(text);
  checkSize(bytes.length);
  return { bytes, contentType };
}

/**
 * What the bytes are was checked when they came; only what plain text is the caller may know better. Markdown, which is read in the same way,
 * is what stands there when he says nothing.
 */
async function readAsset(
  core: Core,
  scope: { accountId: string; assetProjectId?: string },
  assetId: string | null,
  claimed: string,
): Promise<{ bytes: Buffer; contentType: string }> {
  const asset =
    assetId &&
    (await core.db.prisma.asset.findFirst({
      where: { id: assetId, accountId: scope.accountId, projectId: scope.assetProjectId },
    }));
  if (!asset) throw notFound('asset');
  if (!isReadable(asset.contentType))
    throw validation([
      { path: ['assetId'], message: `must be text, Markdown, HTML or PDF; this asset is ${asset.contentType}` },
    ]);
  checkSize(Number(asset.sizeBytes));
  const bytes = Buffer.concat(await (await core.storage.get(asset.key)).toArray());
  const isTold = claimed.startsWith('text/') && claimed !== 'text/markdown';
  return { bytes, contentType: asset.contentType === 'text/plain' && isTold ? claimed : asset.contentType };
}

function checkSize(sizeBytes: number): void {
  if (sizeBytes <= limits.documentBytes) return;
  throw new Refusal(
    'LimitExceededError',
    'DOCUMENT_TOO_LARGE',
    `A document has at most ${limits.documentBytes.toLocaleString('en-US')} bytes; this one has ${sizeBytes.toLocaleString('en-US')}.`,
    { limit: limits.documentBytes },
  );
}
