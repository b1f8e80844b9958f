import type { StageDefinitionInput } from '../definition.ts';

/** Each keyword once. */
export const keywords: StageDefinitionInput = {
  key: 'keywords',
  title: 'Keywords',
  kind: 'TRANSFORM',
  input: 'keyword',
  output: 'keyword',
  transform: 'unique_texts',
};
