import type { Core } from '../core.ts';
import { type Chosen, openVectors } from './vectors.ts';

export interface Near {
  id: string;
  /** The cosine: 1 = the same meaning, 0 or less = another. */
  similarity: number;
}

/**
 * Finds the passages nearest to a vector.
 * @param chosen which documents; null: all.
 * @param most how many.
 */
export type FindNearest = (query: Float32Array, options: { chosen: Chosen | null; most: number }) => Promise<Near[]>;

/** What is known of a project's vectors of a model at this moment: in pgvector where the database has it, else in this process. */
export async function openNearest(core: Core, projectId: string, model: string): Promise<FindNearest> {
  if (await hasVectors(core))
    return (query, options) => askVectors(core, { projectId, model }, toLiteral(query), options);
  const vectors = await openVectors(core, projectId, model);
  return async (query, options) => vectors.nearest(query, options);
}

/** As pgvector reads it. */
export const toLiteral = (vector: Float32Array): string => `[${vector.join(',')}]`;

async function askVectors(
  core: Core,
  { projectId, model }: { projectId: string; model: string },
  query: string,
  { chosen, most }: { chosen: Chosen | null; most: number },
): Promise<Near[]> {
  const documents =
    chosen &&
    (await core.db.sql<{ id: string }>(
      `SELECT id FROM knowledge_document WHERE project_id = $1 AND version > 0
        AND ($2::text IS NULL OR category = $2) AND ($3::text[] IS NULL OR tags @> $3)`,
      [projectId, chosen.category ?? null, chosen.tags ?? null],
      'knowledge_chosen',
    ));
  return core.db.sql<Near>(
    'SELECT id, similarity FROM knowledge_nearest($1, $2, $3::vector, $4, $5)',
    [projectId, model, query, documents?.map(({ id }) => id) ?? null, most],
    'knowledge_nearest',
  );
}

/** True when the migration found pgvector; asked once. */
export function hasVectors(core: Core): Promise<boolean> {
  return askOnce(core, `SELECT EXISTS (SELECT FROM pg_proc WHERE proname = 'knowledge_nearest') AS found`);
}

/** True when the migration found pg_trgm; asked once. */
export function hasTrigrams(core: Core): Promise<boolean> {
  return askOnce(core, `SELECT to_regclass('knowledge_word_trigrams') IS NOT NULL AS found`);
}

const answers = new WeakMap<Core, Map<string, boolean>>();

async function askOnce(core: Core, question: string): Promise<boolean> {
  const known = answers.get(core) ?? new Map<string, boolean>();
  answers.set(core, known);
  let found = known.get(question);
  if (found === undefined) {
    found = (await core.db.sql<{ found: boolean }>(question))[0]!.found;
    known.set(question, found);
  }
  return found;
}
