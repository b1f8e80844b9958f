import { definePipeline } from '../../sdk/index.ts';
import type { PipelineDefinitionInput } from '../definition.ts';
import { articles } from './articles.ts';
import { briefs } from './briefs.ts';
import { clusters } from './clusters.ts';
import { gate } from './gate.ts';
import { ideas } from './ideas.ts';
import { imagePrompts } from './image-prompts.ts';
import { images } from './images.ts';
import { keywords } from './keywords.ts';

/** From keywords to illustrated articles: seven stages, and a person at the end. */
export const contentAutomation = definePipeline<PipelineDefinitionInput>({
  name: 'content_automation',
  title: 'Content automation',
  stages: [keywords, clusters, ideas, briefs, articles, imagePrompts, images, gate],
});
