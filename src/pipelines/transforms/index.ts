import type { PipelineTransform } from '../../sdk/index.ts';
import { clusterByMeaning } from './cluster-by-meaning.ts';
import { uniqueTexts } from './unique-texts.ts';

/** The functions for TRANSFORM stages that come with Atelier. */
export const builtInTransforms: PipelineTransform[] = [uniqueTexts, clusterByMeaning];
