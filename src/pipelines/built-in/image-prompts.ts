import type { StageDefinitionInput } from '../definition.ts';

/** What an illustration of an article shows. */
export const imagePrompts: StageDefinitionInput = {
  key: 'image_prompts',
  title: 'Image prompts',
  kind: 'TASKS',
  input: 'article',
  output: 'image_prompt',
  taskType: 'generate_text',
  agent: 'DESIGNER',
  task: {
    prompt: 'Design one illustration for the article "{{article.title}}". Its angle: {{idea.angle}}',
    maxTokens: 300,
    responseSchema: {
      type: 'object',
      properties: { prompt: { type: 'string', description: 'The scene, in two to four sentences.' } },
      required: ['prompt'],
    },
  },
  data: { title: '{{article.title}}', prompt: '{{result.json.prompt}}' },
};
