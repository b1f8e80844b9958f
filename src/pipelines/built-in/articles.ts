import type { StageDefinitionInput } from '../definition.ts';

/** The articles, in Markdown. */
export const articles: StageDefinitionInput = {
  key: 'articles',
  title: 'Articles',
  kind: 'TASKS',
  input: 'brief',
  output: 'article',
  taskType: 'generate_text',
  agent: 'WRITER',
  retrieve: { query: '{{brief.title}}', first: 5 },
  task: {
    prompt:
      'Write the article "{{brief.title}}" in Markdown for {{brief.audience}}. Its headings: {{brief.outline}}. Angle: {{idea.angle}}\n\nWhat is known:\n{{passages}}',
    maxTokens: 2_000,
  },
  data: { title: '{{brief.title}}', markdown: '{{result.text}}' },
};
