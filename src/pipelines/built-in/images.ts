import type { StageDefinitionInput } from '../definition.ts';

/** The illustrations. */
export const images: StageDefinitionInput = {
  key: 'images',
  title: 'Images',
  kind: 'TASKS',
  input: 'image_prompt',
  output: 'image',
  taskType: 'generate_image',
  task: { prompt: '{{image_prompt.prompt}}', width: 1024, height: 576, count: 1 },
  data: { title: '{{article.title}}', prompt: '{{image_prompt.prompt}}' },
};
