import type { StageDefinitionInput } from '../definition.ts';

/** Two articles that could be written for a cluster. */
export const ideas: StageDefinitionInput = {
  key: 'ideas',
  title: 'Ideas',
  kind: 'TASKS',
  input: 'cluster',
  output: 'idea',
  taskType: 'generate_text',
  task: {
    prompt:
      'Give two ideas for articles about {{cluster.name}}. People who look for it search for: {{cluster.keywords}}. Each idea answers one question that they have.',
    maxTokens: 600,
    responseSchema: {
      type: 'object',
      properties: {
        ideas: {
          type: 'array',
          minItems: 2,
          maxItems: 2,
          items: {
            type: 'object',
            properties: {
              title: { type: 'string', description: 'Of the article.' },
              angle: { type: 'string', description: 'What it says that others do not, in one sentence.' },
            },
            required: ['title', 'angle'],
          },
        },
      },
      required: ['ideas'],
    },
  },
  each: 'json.ideas',
  yields: 2,
};
