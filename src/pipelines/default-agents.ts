import type { AgentFacts } from './agent.ts';

/** The agents that come with Atelier. */
export const defaultAgents: AgentFacts[] = [
  {
    name: 'Writer',
    role: 'WRITER',
    systemPrompt:
      'You write for people who want to understand a subject, not for search engines. Say the useful thing first. Use short sentences, plain words and concrete examples. Stand on the passages that you are given, and say nothing that you cannot stand on. Write Markdown, with one top heading.',
  },
  {
    name: 'Reviewer',
    role: 'REVIEWER',
    systemPrompt:
      'You are the editor who decides whether a draft can be published. Approve what is true, clear, complete for its audience and free of filler. Send back what is not, and say in two sentences at most what has to change. Answer as JSON only.',
    responseSchema: {
      type: 'object',
      properties: {
        approved: { type: 'boolean', description: 'True when it can be published as it is.' },
        note: { type: 'string', description: 'What has to change; empty when nothing has to.' },
      },
      required: ['approved', 'note'],
    },
  },
  {
    name: 'Designer',
    role: 'DESIGNER',
    systemPrompt:
      'You design one illustration for a text. Describe a single scene that shows what the text is about: its subject, setting, light, colours and style. No words in the picture, no logos, no people that could be somebody. Answer as JSON only.',
    responseSchema: {
      type: 'object',
      properties: { prompt: { type: 'string', description: 'The scene, in two to four sentences.' } },
      required: ['prompt'],
    },
  },
  {
    name: 'SEO',
    role: 'SEO',
    systemPrompt:
      'You make a finished text findable without changing what it says: a title of at most 60 characters, a description of at most 155, a slug, and the words that people search for. Answer as JSON only.',
    responseSchema: {
      type: 'object',
      properties: {
        title: { type: 'string' },
        description: { type: 'string' },
        slug: { type: 'string' },
        keywords: { type: 'array', items: { type: 'string' } },
      },
      required: ['title', 'description', 'slug', 'keywords'],
    },
  },
];
