import type { Core } from '../core.ts';
import type { KnowledgeDocument } from '../db.ts';
import { notFound } from '../errors.ts';
import { type DocumentFacts, readFacts } from './input.ts';
import { type DocumentSource, type ReadSource, readSource } from './source.ts';
import { writeText } from './text.ts';

/** A project. assetProjectId: of which project assets may be read; undefined: of all of the account. */
export interface DocumentScope {
  accountId: string;
  projectId: string;
  assetProjectId?: string;
}

/**
 * Reads a document and writes its passages: from then on searches find its words, and its meaning once {@link embedDue} has been at it.
 * @throws Refusal ValidationError, LimitExceededError, NotFoundError (the asset); nothing is written then.
 */
export async function addDocument(
  core: Core,
  scope: DocumentScope,
  given: DocumentFacts & DocumentSource & { title: string },
): Promise<KnowledgeDocument> {
  const { accountId, projectId } = scope;
  const { title, category, tags, weight } = readFacts(given);
  const source = await readSource(core, scope, given);
  const { contentType, sizeBytes } = source;
  const begun = await core.db.prisma.knowledgeDocument.create({
    data: { accountId, projectId, title: title!, category, tags, weight, contentType, sizeBytes },
  });
  const document = await writeText(core, begun, { title: title!, ...source });
  if (!document) throw notFound('project');
  return document;
}

/**
 * Changes what is given of a document. Another text or title replaces all passages at once, and is embedded anew; until it is written
 * searches find the former.
 * @param given.category null: none from now on.
 * @throws Refusal ValidationError, LimitExceededError, NotFoundError; nothing is changed then.
 */
export async function updateDocument(
  core: Core,
  document: KnowledgeDocument,
  given: DocumentFacts & { text?: string },
): Promise<KnowledgeDocument> {
  const { id, projectId, accountId } = document;
  const { title = document.title, category, tags, weight } = readFacts(given);
  const contentType = document.contentType.startsWith('text/') ? document.contentType : 'text/markdown';
  const source = given.text !== undefined && (await readSource(core, { accountId }, { text: given.text, contentType }));
  const isWritten = source !== false || title !== document.title;
  const rows = await core.db.sql<KnowledgeDocument>(
    `WITH raised AS (UPDATE knowledge_revision SET revision = revision + 1 WHERE project_id = $2)
    UPDATE knowledge_document SET category = CASE WHEN $3 THEN $4 ELSE category END, tags = coalesce($5, tags), weight = coalesce($6, weight),
      updated_at = now(), staged = staged + $7, staged_at = CASE WHEN $7 = 1 THEN now() ELSE staged_at END
    WHERE id = $1 AND version > 0 RETURNING *`,
    [id, projectId, category !== undefined, category ?? null, tags ?? null, weight ?? null, isWritten ? 1 : 0],
    'knowledge_update',
  );
  const [updated] = rows;
  const text = updated && isWritten ? source || (await readText(core, id)) : null;
  const written = updated && text ? await writeText(core, updated, { title, ...text }) : updated;
  if (!written) throw notFound('document');
  return written;
}

/**
 * Deletes a document with its passages.
 * @throws Refusal NotFoundError when it is gone already.
 */
export async function deleteDocument(core: Core, { id, projectId }: KnowledgeDocument): Promise<void> {
  const rows = await core.db.sql(
    `WITH raised AS (UPDATE knowledge_revision SET revision = revision + 1 WHERE project_id = $2)
    DELETE FROM knowledge_document WHERE id = $1 RETURNING id`,
    [id, projectId],
    'knowledge_delete',
  );
  if (rows.length === 0) throw notFound('document');
}

/** The text that is there, for another title; in one statement, for another may take its place at any time. */
async function readText(core: Core, id: string): Promise<ReadSource | undefined> {
  const rows = await core.db.sql<{ contentType: string; sizeBytes: bigint; passages: string[] }>(
    `SELECT content_type, size_bytes, ARRAY(
      SELECT text FROM knowledge_passage p WHERE p.document_id = d.id AND p.version = d.version ORDER BY place) AS passages
    FROM knowledge_document d WHERE id = $1`,
    [id],
  );
  return rows[0] && { ...rows[0], sizeBytes: Number(rows[0].sizeBytes) };
}
