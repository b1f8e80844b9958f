import { type FieldIssue, validation } from '../errors.ts';
import { isStorable, notStorable } from '../lifecycle/storable.ts';
import { limits } from './limits.ts';

/** What a client says of a document beside its text. */
export interface DocumentFacts {
  title?: string;
  category?: string | null;
  tags?: string[];
  weight?: number;
}

/**
 * Checks what is there and tidies it: trimmed, each tag once.
 * @throws Refusal ValidationError that names every field that does not fit.
 */
export function readFacts(given: DocumentFacts): DocumentFacts {
  const issues: FieldIssue[] = [];
  const line = (path: string, value: string, longest: number) => {
    const text = value.trim();
    const hasLength = text !== '' && [...text].length <= longest;
    if (!isStorable(text)) issues.push({ path: path.split('.'), message: notStorable });
    else if (!hasLength) issues.push({ path: path.split('.'), message: `must have 1 to ${longest} characters` });
    return text;
  };
  const facts: DocumentFacts = {};
  if (given.title !== undefined) facts.title = line('title', given.title, limits.titleCharacters);
  if (given.category !== undefined)
    facts.category = given.category === null ? null : line('category', given.category, limits.categoryCharacters);
  if (given.tags !== undefined) {
    if (given.tags.length > limits.tags) issues.push({ path: ['tags'], message: `must be at most ${limits.tags}` });
    facts.tags = [
      ...new Set(
        given.tags.slice(0, limits.tags).map((tag, index) => line(`tags.${index}`, tag, limits.tagCharacters)),
      ),
    ];
  }
  if (given.weight !== undefined) {
    if (!(given.weight >= 0 && given.weight <= limits.weight))
      issues.push({ path: ['weight'], message: `must be from 0 to ${limits.weight}` });
    facts.weight = given.weight;
  }
  if (issues.length > 0) throw validation(issues);
  return facts;
}
