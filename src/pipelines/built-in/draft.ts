import type { StageDefinitionInput } from '../definition.ts';

/** The writer's: again, when the reviewer sends it back. */
export const draft: StageDefinitionInput = {
  key: 'write',
  title: 'Write',
  kind: 'TASKS',
  input: 'assignment',
  output: 'draft',
  taskType: 'generate_text',
  agent: 'WRITER',
  retrieve: { query: '{{assignment.topic}}', first: 6 },
  task: {
    prompt:
      'Write about {{assignment.topic}}. Form: {{assignment.format}}. For: {{assignment.audience}}.\n\nWhat has to change since the last draft: {{note}}\n\nWhat is known:\n{{passages}}',
    maxTokens: 2_000,
  },
  data: { topic: '{{assignment.topic}}', markdown: '{{result.text}}' },
};
