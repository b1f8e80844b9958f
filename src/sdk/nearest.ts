import { closest, distance } from 'fastest-levenshtein';

/** The known word that a misspelt one was probably meant to be; undefined when none resembles it. */
export function nearest(word: string, known: string[]): string | undefined {
  const found = closest(word, known);
  return distance(word, found) <= Math.min(2, Math.floor((word.length + 1) / 3)) ? found : undefined;
}
