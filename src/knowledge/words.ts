import type { Core } from '../core.ts';
import { foldText } from './fold.ts';
import { hasTrigrams } from './nearest.ts';
import { similarFrom, similarity } from './trigram.ts';

/** What a search asks the full text for, as `tsquery`; empty when the query holds no word that counts. */
export interface Asked {
  /** The words of the query, any of them. */
  words: string;
  /** And those that the ones which no text has may have meant. */
  wordsAndMeant: string;
}

/** Longer words are rarer: of a long query they say the most. */
const mostWords = 24;
const meantForEach = 3;
/** Words of the project that are compared here: without pg_trgm, and for those beyond ASCII. */
const mostCompared = 20_000;

/** The words of a query as the full text has them, and what those that occur nowhere in the project are most similar to. */
export async function readWords(core: Core, projectId: string, query: string): Promise<Asked> {
  const rows = await core.db.sql<{ word: string; known: boolean }>(
    `SELECT word, length(word) NOT BETWEEN 4 AND 32 OR word ~ '[[:digit:][:punct:]]' OR EXISTS (
        SELECT FROM knowledge_word WHERE project_id = $1 AND knowledge_word.word = asked.word) AS known
    FROM unnest(tsvector_to_array(to_tsvector('english', $2))) AS asked (word) ORDER BY length(word) DESC, word LIMIT $3`,
    [projectId, foldText(query), mostWords],
    'knowledge_words',
  );
  const words = rows.map(({ word }) => word);
  const unknown = rows.filter(({ known }) => !known).map(({ word }) => word);
  const meant = unknown.length > 0 ? await readMeant(core, projectId, unknown) : [];
  return { words: anyOf(words), wordsAndMeant: anyOf([...words, ...meant]) };
}

async function readMeant(core: Core, projectId: string, unknown: string[]): Promise<string[]> {
  // In the locale C pg_trgm knows no other letters.
  const isAscii = (word: string) => /^[a-z]+$/.test(word);
  const indexed = (await hasTrigrams(core)) ? unknown.filter(isAscii) : [];
  const others = unknown.filter((word) => !indexed.includes(word));
  const found = await Promise.all([askTrigrams(core, projectId, indexed), compareAll(core, projectId, others)]);
  return found.flat();
}

async function askTrigrams(core: Core, projectId: string, unknown: string[]): Promise<string[]> {
  if (unknown.length === 0) return [];
  const rows = await core.db.sql<{ word: string }>(
    `SELECT near.word FROM unnest($2::text[]) AS asked (word) CROSS JOIN LATERAL (
      SELECT word FROM knowledge_word WHERE project_id = $1 AND knowledge_word.word % asked.word
      ORDER BY similarity(knowledge_word.word, asked.word) DESC, word LIMIT $3) AS near`,
    [projectId, unknown, meantForEach],
    'knowledge_meant',
  );
  return rows.map(({ word }) => word);
}

async function compareAll(core: Core, projectId: string, unknown: string[]): Promise<string[]> {
  if (unknown.length === 0) return [];
  const lengths = unknown.map((word) => word.length);
  const rows = await core.db.sql<{ word: string }>(
    'SELECT word FROM knowledge_word WHERE project_id = $1 AND length(word) BETWEEN $2 AND $3 LIMIT $4',
    [projectId, Math.min(...lengths) - 2, Math.max(...lengths) + 2, mostCompared],
    'knowledge_compared',
  );
  return unknown.flatMap((each) =>
    rows
      .map(({ word }) => ({ word, alike: similarity(word, each) }))
      .filter(({ alike }) => alike >= similarFrom)
      .sort((one, other) => other.alike - one.alike)
      .slice(0, meantForEach)
      .map(({ word }) => word),
  );
}

/** Quoted as `tsquery` reads it. */
const anyOf = (words: string[]): string =>
  words.map((word) => `'${word.replaceAll('\\', '\\\\').replaceAll("'", "''")}'`).join(' | ');
