import { contentAutomation } from './content-automation.ts';
import { editorial } from './editorial.ts';

/** The pipelines that come with Atelier. */
export const builtInPipelines = [contentAutomation, editorial];
