import type { StageDefinitionInput } from '../definition.ts';

/** What a writer has to know before an article is written. */
export const briefs: StageDefinitionInput = {
  key: 'briefs',
  title: 'Briefs',
  kind: 'TASKS',
  input: 'idea',
  output: 'brief',
  taskType: 'generate_text',
  task: {
    prompt:
      'Write the brief for an article called "{{idea.title}}". Its angle: {{idea.angle}} It belongs to {{cluster.name}}, and should be found with: {{cluster.keywords}}.',
    maxTokens: 800,
    responseSchema: {
      type: 'object',
      properties: {
        title: { type: 'string' },
        audience: { type: 'string', description: 'Who reads it, and what they know already.' },
        outline: { type: 'array', items: { type: 'string' }, minItems: 3, maxItems: 6, description: 'Its headings.' },
      },
      required: ['title', 'audience', 'outline'],
    },
  },
  data: { title: '{{idea.title}}', audience: '{{result.json.audience}}', outline: '{{result.json.outline}}' },
};
