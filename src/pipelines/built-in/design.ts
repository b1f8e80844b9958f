import type { StageDefinitionInput } from '../definition.ts';

/** The designer's: what its illustration shows. */
export const design: StageDefinitionInput = {
  key: 'design',
  title: 'Design',
  kind: 'TASKS',
  input: 'draft',
  output: 'design',
  taskType: 'generate_text',
  agent: 'DESIGNER',
  retrieve: { query: '{{assignment.topic}}', first: 3 },
  task: {
    prompt:
      'Design one illustration for this text about {{draft.topic}}:\n\n{{draft.markdown}}\n\nWhat is known:\n{{passages}}',
    maxTokens: 300,
  },
  data: { markdown: '{{draft.markdown}}', illustration: '{{result.json.prompt}}' },
};
