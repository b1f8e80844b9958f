import type { Core } from '../core.ts';
import type { KnowledgeDocument } from '../db.ts';
import { type Embedder, embedderOf } from './embedder.ts';
import { hasVectors, toLiteral } from './nearest.ts';
import { dropAbandoned } from './text.ts';
import { toBytes } from './vector.ts';

/** A worker that has not come back within it is gone, and another takes over. */
const takenFor = '2 minutes';
/** After a failure of the model. */
const retryAfter = '30 seconds';

/**
 * Embeds the next passages that wait for it, of the document that has waited longest, and removes what abandoned writers left. Any number
 * of workers may call it at once.
 * @param limit passages a call; the local model takes about 0.1 s each.
 * @returns true when there may be more to do.
 * @throws OutsideError when the model does not answer; the document is tried again in 30 s.
 */
export async function embedDue(core: Core, limit: number): Promise<boolean> {
  const embedder = embedderOf(core);
  await embedAnew(core, embedder);
  const document = await take(core);
  if (!document) return (await dropAbandoned(core, 10)) === 10;
  const passages = await core.db.sql<{ id: string; text: string }>(
    `SELECT id, text FROM knowledge_passage WHERE document_id = $1 AND version = $2 AND embedding_model IS DISTINCT FROM $3
    ORDER BY place LIMIT $4`,
    [document.id, document.version, embedder.model, limit + 1],
    'knowledge_embed_read',
  );
  const now = passages.slice(0, limit);
  try {
    const vectors = await embedder.embed(
      now.map(({ text }) => `${document.title}\n${text}`),
      {},
    );
    const ids = now.map(({ id }) => id);
    await write(core, document, embedder, { ids, vectors, isLast: passages.length <= limit });
  } catch (error) {
    await core.db.sql(
      `UPDATE knowledge_document SET embed_due_at = now() + interval '${retryAfter}' WHERE id = $1 AND version = $2`,
      [document.id, document.version],
    );
    throw error;
  }
  return true;
}

const anewAtOnce = 5_000;
const asked = new WeakSet<Core>();

/** Vectors of another model than the one of the settings compare with nothing. Looked at once a process: settings do not change later. */
async function embedAnew(core: Core, embedder: Embedder): Promise<void> {
  if (asked.has(core)) return;
  const rows = await core.db.sql(
    `UPDATE knowledge_document SET embed_due_at = now() WHERE id IN (
      SELECT id FROM knowledge_document WHERE embed_due_at IS NULL AND version > 0 AND embedding_model IS DISTINCT FROM $1 LIMIT $2)
    RETURNING id`,
    [embedder.model, anewAtOnce],
  );
  if (rows.length < anewAtOnce) asked.add(core);
}

async function take(core: Core): Promise<KnowledgeDocument | undefined> {
  const rows = await core.db.sql<KnowledgeDocument>(
    `UPDATE knowledge_document SET embed_due_at = now() + interval '${takenFor}' WHERE id = (
      SELECT id FROM knowledge_document WHERE embed_due_at <= now() ORDER BY embed_due_at LIMIT 1 FOR UPDATE SKIP LOCKED)
    RETURNING *`,
    [],
    'knowledge_embed_take',
  );
  return rows[0];
}

/** A text that was replaced meanwhile has no such passages any more, and its document is not touched; what another worker wrote first stays. */
async function write(
  core: Core,
  document: KnowledgeDocument,
  embedder: Embedder,
  { ids, vectors, isLast }: { ids: string[]; vectors: Float32Array[]; isLast: boolean },
): Promise<void> {
  const withVectors = await hasVectors(core);
  await core.db.sql(
    `WITH document AS (
        UPDATE knowledge_document SET embed_due_at = CASE WHEN $5 THEN NULL ELSE now() END,
          embedding_model = CASE WHEN $5 THEN $6 ELSE embedding_model END
        WHERE id = $1 AND version = $2 RETURNING project_id
      ), raised AS (
        INSERT INTO knowledge_revision (project_id, revision) SELECT project_id, 1 FROM document
        ON CONFLICT (project_id) DO UPDATE SET revision = knowledge_revision.revision + 1 RETURNING revision
      )
    UPDATE knowledge_passage SET embedding = given.embedding, embedding_model = $6, revision = raised.revision
      ${withVectors ? ', vector = given.vector::vector' : ''}
    FROM raised, unnest($3::uuid[], $4::bytea[], $7::text[]) AS given (id, embedding, vector)
    WHERE knowledge_passage.id = given.id AND knowledge_passage.embedding_model IS DISTINCT FROM $6`,
    [
      document.id,
      document.version,
      ids,
      vectors.map(toBytes),
      isLast,
      embedder.model,
      // Zeros have no direction: pgvector says NaN of them, and so would every search.
      vectors.map((vector) => (withVectors && vector.some((value) => value !== 0) ? toLiteral(vector) : null)),
    ],
    'knowledge_embed_write',
  );
}
