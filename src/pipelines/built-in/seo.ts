import type { StageDefinitionInput } from '../definition.ts';

/** Who makes it findable, without changing what it says. */
export const seo: StageDefinitionInput = {
  key: 'seo',
  title: 'SEO',
  kind: 'TASKS',
  input: 'design',
  output: 'publication',
  taskType: 'generate_text',
  agent: 'SEO',
  retrieve: { query: '{{assignment.topic}}', first: 3 },
  task: {
    prompt: 'Make this text findable:\n\n{{draft.markdown}}\n\nWhat is known:\n{{passages}}',
    maxTokens: 400,
  },
  data: {
    title: '{{result.json.title}}',
    description: '{{result.json.description}}',
    slug: '{{result.json.slug}}',
    keywords: '{{result.json.keywords}}',
    markdown: '{{draft.markdown}}',
    illustration: '{{design.illustration}}',
  },
};
