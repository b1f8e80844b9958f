import { limits } from './limits.ts';

/** A passage has at most so many UTF-16 units: about 200 tokens, what the local model reads well. */
export const passageCharacters = 800;
/** How much of the end of a passage the next one repeats, so that a thought which is cut is whole in one of them. */
const overlapCharacters = 100;
/** A section that is shorter goes on in the same passage. */
const shortSection = 200;

/**
 * Cuts a text into passages: at headings (lines that begin with #), else between paragraphs, else between sentences, else between words, and
 * only a word that is longer than a passage within, never inside a surrogate pair. Each is trimmed and holds a letter or a digit.
 * @returns null for more than 5,000.
 */
export function splitPassages(text: string): string[] | null {
  const passages: string[] = [];
  let passage = '';
  const keep = () => {
    if (/[\p{L}\p{N}]/u.test(passage)) passages.push(passage);
  };
  for (const block of blocksOf(text)) {
    if (passages.length > limits.passages) return null;
    if (block.startsWith('#') && passage.length >= shortSection) {
      keep();
      passage = '';
    }
    for (const [index, piece] of piecesOf(block).entries()) {
      const joint = passage === '' ? '' : index === 0 ? '\n\n' : ' ';
      if (passage.length + joint.length + piece.length <= passageCharacters) {
        passage += joint + piece;
        continue;
      }
      keep();
      const repeated = tailOf(passage);
      const fits = repeated !== '' && repeated.length + joint.length + piece.length <= passageCharacters;
      passage = fits ? repeated + joint + piece : piece;
    }
  }
  keep();
  return passages.length > limits.passages ? null : passages;
}

/** Paragraphs, and headings by themselves. */
function* blocksOf(text: string): Generator<string> {
  let lines: string[] = [];
  const block = () => lines.join('\n').trim();
  for (const line of text.split(/\r\n|[\n\r\f\v\u2028\u2029]/)) {
    const isHeading = /^#{1,6}\s/.test(line);
    if (line.trim() !== '' && !isHeading) {
      lines.push(line.trimEnd());
      continue;
    }
    if (block()) yield block();
    lines = [];
    if (isHeading) yield line.trim();
  }
  if (block()) yield block();
}

/** A block in pieces that fit into a passage. */
function piecesOf(block: string): string[] {
  if (block.length <= passageCharacters) return [block];
  return block.split(/(?<=[.!?…]["'”’)\]]?)\s+|(?<=[。！？])|\n/u).flatMap((sentence) => wordsOf(sentence.trim()));
}

function wordsOf(sentence: string): string[] {
  const pieces: string[] = [];
  for (let rest = sentence; rest !== ''; ) {
    const end = rest.length <= passageCharacters ? rest.length : cutBefore(rest, passageCharacters);
    pieces.push(rest.slice(0, end).trimEnd());
    rest = rest.slice(end).trimStart();
  }
  return pieces;
}

/** The last place to cut at or before `at`: behind a word, or between two characters. */
function cutBefore(text: string, at: number): number {
  const space = text.lastIndexOf(' ', at);
  if (space > at / 2) return space;
  return isLowSurrogate(text, at) ? at - 1 : at;
}

/** The last words of a passage. */
function tailOf(passage: string): string {
  if (passage.length <= overlapCharacters) return '';
  const from = passage.length - overlapCharacters;
  const space = passage.slice(from).search(/\s/);
  if (space >= 0) return passage.slice(from + space).trimStart();
  return passage.slice(isLowSurrogate(passage, from) ? from + 1 : from);
}

function isLowSurrogate(text: string, at: number): boolean {
  const unit = text.charCodeAt(at);
  return unit >= 0xdc00 && unit <= 0xdfff;
}
