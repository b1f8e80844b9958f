import type { Core } from '../core.ts';
import type { KnowledgeDocument } from '../db.ts';
import { storable } from '../lifecycle/storable.ts';
import { foldText } from './fold.ts';

/** What a statement writes: longer ones would hold up every feed, which waits for open transactions. */
const chunkPassages = 200;
/** No text takes so long to write: whoever began it is gone. */
const abandonedAfter = '10 minutes';

export interface NewText {
  title: string;
  passages: string[];
  contentType: string;
  sizeBytes: number;
}

/**
 * Writes the passages of a document's next text in several statements, then shows them in one, in place of the former. Until then
 * nobody finds them; of two that are written at once the one that began later stays.
 * @param staged the text's version, which the document's `staged` was raised to.
 * @returns the document as it is now; null: it was deleted meanwhile.
 */
export async function writeText(
  core: Core,
  { id, projectId, staged }: Pick<KnowledgeDocument, 'id' | 'projectId' | 'staged'>,
  text: NewText,
): Promise<KnowledgeDocument | null> {
  const passages = text.passages.map(storable);
  for (let from = 0; from < passages.length; from += chunkPassages) {
    const chunk = passages.slice(from, from + chunkPassages);
    const words = chunk.map((passage) => foldText(`${text.title}\n${passage}`));
    const written = await core.db.sql(writePassages, [id, projectId, staged, from, chunk, words], 'knowledge_write');
    if (written[0]!.passages !== BigInt(chunk.length)) return null;
  }
  const { title, contentType, sizeBytes } = text;
  const shown = await core.db.sql<KnowledgeDocument>(
    showText,
    [id, projectId, staged, title, contentType, sizeBytes, passages.length],
    'knowledge_show',
  );
  if (shown[0]) return shown[0];
  await core.db.sql('DELETE FROM knowledge_passage WHERE document_id = $1 AND version = $2', [id, staged]);
  return core.db.prisma.knowledgeDocument.findUnique({ where: { id } });
}

/** The project is one of the words: see the search. */
const writePassages = `WITH document AS (SELECT id FROM knowledge_document WHERE id = $1 FOR KEY SHARE),
    passage AS (
      INSERT INTO knowledge_passage (document_id, project_id, version, place, text, search)
      SELECT document.id, $2, $3, $4 + place, text,
        strip(to_tsvector('english', words)) || array_to_tsvector(ARRAY[$2::uuid::text])
      FROM document, unnest($5::text[], $6::text[]) WITH ORDINALITY AS given (text, words, place)
      RETURNING id
    )
  SELECT count(*) AS passages FROM passage`;

const showText = `WITH raised AS (
      INSERT INTO knowledge_revision (project_id, revision) VALUES ($2, 1)
      ON CONFLICT (project_id) DO UPDATE SET revision = knowledge_revision.revision + 1
    ), shown AS (
      UPDATE knowledge_document SET version = $3, title = $4, content_type = $5, size_bytes = $6, passage_count = $7,
        embedding_model = NULL, embed_due_at = now(), updated_at = now(), staged_at = CASE WHEN staged > $3 THEN staged_at END
      WHERE id = $1 AND version < $3 RETURNING *
    ), former AS (DELETE FROM knowledge_passage USING shown WHERE document_id = shown.id AND knowledge_passage.version < $3)
  SELECT * FROM shown`;

/**
 * Removes what was written of texts whose writer is gone, and documents that never had another. Safe to run in every worker at once.
 * @returns how many documents it looked at.
 */
export async function dropAbandoned(core: Core, limit: number): Promise<number> {
  const rows = await core.db.sql<{ id: string }>(
    `WITH abandoned AS (
        SELECT id, version FROM knowledge_document WHERE staged_at < now() - interval '${abandonedAfter}'
        ORDER BY staged_at LIMIT $1 FOR UPDATE SKIP LOCKED
      ), empty AS (DELETE FROM knowledge_document USING abandoned WHERE knowledge_document.id = abandoned.id AND abandoned.version = 0),
      rest AS (UPDATE knowledge_document SET staged_at = NULL FROM abandoned WHERE knowledge_document.id = abandoned.id AND abandoned.version > 0),
      passage AS (DELETE FROM knowledge_passage AS p USING abandoned WHERE p.document_id = abandoned.id AND p.version > abandoned.version AND abandoned.version > 0)
    SELECT id FROM abandoned`,
    [limit],
  );
  return rows.length;
}
