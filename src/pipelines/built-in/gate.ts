import type { StageDefinitionInput } from '../definition.ts';

/** A person looks at each illustrated article before it counts as done. */
export const gate: StageDefinitionInput = {
  key: 'review',
  title: 'Review',
  kind: 'REVIEW',
  input: 'image',
  form: {
    type: 'object',
    properties: {
      title: { type: 'string', title: 'Title', minLength: 1 },
      prompt: { type: 'string', title: 'What the image shows' },
    },
    required: ['title'],
  },
};
