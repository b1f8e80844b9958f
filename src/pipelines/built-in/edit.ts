import type { StageDefinitionInput } from '../definition.ts';

/** The reviewer's: lets a draft pass, or sends it back with what has to change. */
export const edit: StageDefinitionInput = {
  key: 'review',
  title: 'Review',
  kind: 'TASKS',
  input: 'draft',
  output: 'draft',
  taskType: 'generate_text',
  agent: 'REVIEWER',
  retrieve: { query: '{{assignment.topic}}', first: 4 },
  task: {
    prompt:
      'Can this be published as {{assignment.format}} for {{assignment.audience}}?\n\n{{draft.markdown}}\n\nWhat is known:\n{{passages}}',
    maxTokens: 300,
  },
  sendBack: { to: 'write', unless: 'json.approved', note: 'json.note', atMost: 2 },
};
