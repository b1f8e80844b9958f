import type { Core } from '../core.ts';
import type { KnowledgeDocument } from '../db.ts';
import { OutsideError, validation } from '../errors.ts';
import { isStorable, storable } from '../lifecycle/storable.ts';
import { embedderOf } from './embedder.ts';
import { limits } from './limits.ts';
import { openNearest } from './nearest.ts';
import { embedQuery } from './query.ts';
import { trigramScorer } from './trigram.ts';
import { dot, fromBytes } from './vector.ts';
import type { Chosen } from './vectors.ts';
import { readWords } from './words.ts';

/** A passage that was found. score = weight × (0.35 fullTextScore + 0.15 trigramScore + 0.5 semanticScore); the parts are 0 to 1. */
export interface KnowledgePassage {
  document: KnowledgeDocument;
  text: string;
  score: number;
  /** `ts_rank` of the passage: the share of the query's words that it has, stop words apart. */
  fullTextScore: number;
  /** For each word of the query the most similar one of the passage. */
  trigramScore: number;
  /** The cosine of the two meanings; 0 until the passage is embedded. */
  semanticScore: number;
  /** The document's. */
  weight: number;
}

/** What each part of the score counts. */
const shares = { fullText: 0.35, trigram: 0.15, semantic: 0.5 };
/** For the model; after it a search goes on by words alone. */
const patienceMs = 10_000;
/** Passages that each way of finding puts forward. */
const candidates = 30;

/**
 * The passages of a project that say most about a query, the best first: found by words (full text, words that are spelled otherwise too)
 * and by meaning, then scored by both. While the model does not answer the words alone decide.
 * @param how.query 1 to 2,000 characters; how.first 1 to 20.
 * @param how.category of documents of this category only; how.tags of those that have all of them, at most 20. Null or undefined: of all.
 * @throws Refusal ValidationError.
 */
export async function searchKnowledge(
  core: Core,
  { accountId, projectId }: { accountId: string; projectId: string },
  how: { query: string; first: number; category?: string | null; tags?: string[] | null },
): Promise<KnowledgePassage[]> {
  const query = readQuery(how);
  if (![how.category ?? '', ...(how.tags ?? [])].every(isStorable)) return [];
  const chosen: Chosen | null =
    how.category == null && how.tags == null
      ? null
      : { category: how.category ?? undefined, tags: how.tags ?? undefined };
  const [byWords, meaning] = await Promise.all([
    findByWords(core, projectId, query, chosen),
    findByMeaning(core, projectId, query, chosen),
  ]);
  const found = await readCandidates(core, { accountId, projectId }, byWords, meaning);
  const trigramScore = trigramScorer(query);
  return found
    .map((passage) => {
      const { text, title, weight } = passage;
      const fullTextScore = byWords.get(passage.passageId) ?? 0;
      const words = trigramScore(`${title}\n${text}`);
      const semanticScore = clamp(similarityOf(passage, meaning));
      const sum = shares.fullText * fullTextScore + shares.trigram * words + shares.semantic * semanticScore;
      return {
        document: passage,
        text,
        score: weight * sum,
        fullTextScore,
        trigramScore: words,
        semanticScore,
        weight,
      };
    })
    .sort((one, other) => other.score - one.score)
    .slice(0, how.first);
}

function readQuery({ query, first, tags }: { query: string; first: number; tags?: string[] | null }): string {
  const issues = [];
  const text = storable(query).trim();
  if (text === '' || query.length > limits.queryCharacters)
    issues.push({
      path: ['query'],
      message: `must have 1 to ${limits.queryCharacters.toLocaleString('en')} characters`,
    });
  if (!Number.isInteger(first) || first < 1 || first > limits.found)
    issues.push({ path: ['first'], message: `must be from 1 to ${limits.found}` });
  if (tags && tags.length > limits.tags) issues.push({ path: ['tags'], message: `must be at most ${limits.tags}` });
  if (issues.length > 0) throw validation(issues);
  return text;
}

/** Passages with their full-text score. */
async function findByWords(
  core: Core,
  projectId: string,
  query: string,
  chosen: Chosen | null,
): Promise<Map<string, number>> {
  const { words, wordsAndMeant } = await readWords(core, projectId, query);
  if (words === '') return new Map();
  // The project's id is a word of its passages. Materialized, so that queries are read once and not for each row, and the index is asked
  // once and not for each document. ts_rank of words without places: each that is there gives 6/π² of its share.
  const rows = await core.db.sql<{ id: string; score: number }>(
    `WITH asked AS MATERIALIZED (
        SELECT $2::tsquery AS words, $3::tsquery AS meant, quote_literal($1::uuid::text)::tsquery && $3::tsquery AS mine
      ), hit AS MATERIALIZED (
        SELECT id, document_id, version, ts_rank('{1,1,1,1}', search, (SELECT meant FROM asked)) AS rank FROM knowledge_passage
        WHERE search @@ (SELECT mine FROM asked) AND project_id = $1
      ), best AS MATERIALIZED (
        SELECT hit.id FROM hit JOIN knowledge_document d ON d.id = hit.document_id AND d.version = hit.version
        WHERE d.weight > 0 AND ($4::text IS NULL OR d.category = $4) AND ($5::text[] IS NULL OR d.tags @> $5)
        ORDER BY rank * d.weight DESC, hit.id LIMIT $6
      )
    SELECT id, least(1, round((ts_rank('{1,1,1,1}', search, words) * pi() * pi() / 6)::numeric, 4))::float8 AS score
    FROM best JOIN knowledge_passage USING (id), asked`,
    [projectId, words, wordsAndMeant, chosen?.category ?? null, chosen?.tags ?? null, candidates],
    'knowledge_by_words',
  );
  return new Map(rows.map(({ id, score }) => [id, score]));
}

interface Meaning {
  query: Float32Array | null;
  model: string;
  near: Map<string, number>;
}

async function findByMeaning(core: Core, projectId: string, text: string, chosen: Chosen | null): Promise<Meaning> {
  const { model } = embedderOf(core);
  try {
    const [query, findNearest] = await Promise.all([
      embedQuery(core, text, AbortSignal.timeout(patienceMs)),
      openNearest(core, projectId, model),
    ]);
    const near = query.some((value) => value !== 0) ? await findNearest(query, { chosen, most: candidates }) : [];
    return { query, model, near: new Map(near.map(({ id, similarity }) => [id, similarity])) };
  } catch (error) {
    if (!(error instanceof OutsideError) && (error as Error).name !== 'TimeoutError') throw error;
    core.log.warn({ err: error }, 'a search goes without its meaning');
    return { query: null, model, near: new Map() };
  }
}

/** A passage with its document. passageEmbedding: null where the meaning's way of finding has put it forward. */
interface Candidate extends KnowledgeDocument {
  passageId: string;
  text: string;
  passageEmbedding: Buffer | null;
}

async function readCandidates(
  core: Core,
  { accountId, projectId }: { accountId: string; projectId: string },
  byWords: Map<string, number>,
  { near, model }: Meaning,
): Promise<Candidate[]> {
  return core.db.sql<Candidate>(
    `SELECT p.id AS passage_id, p.text, d.*, CASE WHEN p.id = ANY ($4::uuid[]) AND p.embedding_model = $5 THEN p.embedding END AS passage_embedding
    FROM knowledge_passage p JOIN knowledge_document d ON d.id = p.document_id AND d.version = p.version
    WHERE p.id = ANY ($3::uuid[]) AND d.account_id = $1 AND d.project_id = $2`,
    [
      accountId,
      projectId,
      [...new Set([...byWords.keys(), ...near.keys()])],
      [...byWords.keys()].filter((id) => !near.has(id)),
      model,
    ],
    'knowledge_candidates',
  );
}

function similarityOf({ passageId, passageEmbedding }: Candidate, { query, near }: Meaning): number {
  const known = near.get(passageId);
  if (known !== undefined || !query || passageEmbedding?.length !== query.byteLength) return known ?? 0;
  return dot(query, fromBytes(passageEmbedding));
}

const clamp = (value: number): number => Math.min(1, Math.max(0, value));
