import { definePipeline } from '../../sdk/index.ts';
import type { PipelineDefinitionInput } from '../definition.ts';
import { design } from './design.ts';
import { draft } from './draft.ts';
import { edit } from './edit.ts';
import { seo } from './seo.ts';

/** One piece, from a topic: a writer, a reviewer who can send it back, a designer, and one who makes it findable. */
export const editorial = definePipeline<PipelineDefinitionInput>({
  name: 'editorial',
  title: 'Editorial',
  input: {
    kind: 'assignment',
    schema: {
      type: 'object',
      properties: {
        topic: { type: 'string', minLength: 1, maxLength: 1_000, description: 'What it is about.' },
        audience: { type: 'string', maxLength: 1_000, default: 'everybody', description: 'Who it is for.' },
        format: { type: 'string', maxLength: 200, default: 'article', description: 'As article, newsletter, speech.' },
      },
      required: ['topic'],
    },
  },
  stages: [draft, edit, design, seo],
});
