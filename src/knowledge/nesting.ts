import { Parser } from 'htmlparser2';

/** Of each the parser knows at once what was opened in it: opening costs it the more the deeper it is. */
const chunkCharacters = 16 * 1024;

/** True for HTML with more elements within each other than `most`. It takes no longer than reading the text once. */
export function nestsDeeper(html: string, most: number): boolean {
  let depth = 0;
  let deepest = 0;
  const parser = new Parser({
    onopentag: () => {
      depth++;
      if (depth > deepest) deepest = depth;
    },
    onclosetag: () => depth--,
  });
  for (let from = 0; from < html.length; from += chunkCharacters) {
    parser.write(html.slice(from, from + chunkCharacters));
    if (deepest > most) return true;
  }
  return false;
}
