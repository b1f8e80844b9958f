/** A passage as a run keeps it: which, and with what scores. */
export interface KeptPassage {
  /** As GraphQL has it: `doc_…`. */
  documentId: string;
  title: string;
  text: string;
  score: number;
  fullTextScore: number;
  trigramScore: number;
  semanticScore: number;
  weight: number;
}

/** Passages as a prompt holds them. */
export function writePassages(passages: KeptPassage[]): string {
  return passages.map(({ title, text }, index) => `[${index + 1}] ${title}\n${text}`).join('\n\n');
}
