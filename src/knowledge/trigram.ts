import { foldText } from './fold.ts';

/** Words of a text, folded, without repeats. */
export function wordsOf(text: string): Set<string> {
  return new Set(foldText(text).match(/[\p{L}\p{M}\p{N}]+/gu));
}

/** Below it two words only happen to share letters; pg_trgm's own threshold. */
export const similarFrom = 0.3;

/** How alike two words are: the share of their trigrams that both have, 0 to 1, as `similarity` of pg_trgm says it. */
export function similarity(one: string, other: string): number {
  if (one === other) return 1;
  const [first, second] = [trigramsOf(one), trigramsOf(other)];
  let shared = 0;
  for (const trigram of first) if (second.has(trigram)) shared++;
  return shared / (first.size + second.size - shared);
}

/**
 * Scores texts against a query: for each of its words the most similar one of the text counts, longer words more.
 * @returns a function of a text: 0 (no word is like any of the query) to 1 (each is there).
 */
export function trigramScorer(query: string): (text: string) => number {
  const asked = [...wordsOf(query)].slice(0, mostWords);
  const weights = asked.map((word) => word.length);
  const sum = weights.reduce((total, weight) => total + weight, 0);
  // Texts of one project share most of their words.
  const known = new Map<string, number[]>();
  const compare = (word: string) => {
    let row = known.get(word);
    if (!row) {
      row = asked.map((each) => similarity(each, word)).map((each) => (each < similarFrom ? 0 : each));
      known.set(word, row);
    }
    return row;
  };
  return (text) => {
    if (sum === 0) return 0;
    const best = asked.map(() => 0);
    for (const word of wordsOf(text)) {
      const row = compare(word);
      for (let index = 0; index < row.length; index++) if (row[index]! > best[index]!) best[index] = row[index]!;
    }
    return best.reduce((total, each, index) => total + each * weights[index]!, 0) / sum;
  };
}

/** A longer query is text rather than words that somebody spelled. */
const mostWords = 32;

const remembered = new Map<string, Set<string>>();
const mostRemembered = 50_000;
/** What is longer is hardly a word that comes again, and has many. */
const longestRemembered = 32;

function trigramsOf(word: string): Set<string> {
  let trigrams = remembered.get(word);
  if (!trigrams) {
    const padded = `  ${word} `;
    trigrams = new Set();
    for (let at = 0; at + 3 <= padded.length; at++) trigrams.add(padded.slice(at, at + 3));
    if (word.length > longestRemembered) return trigrams;
    if (remembered.size >= mostRemembered) remembered.clear();
    remembered.set(word, trigrams);
  }
  return trigrams;
}
