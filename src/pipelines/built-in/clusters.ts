import type { StageDefinitionInput } from '../definition.ts';

/** Keywords that mean much the same, together. */
export const clusters: StageDefinitionInput = {
  key: 'clusters',
  title: 'Clusters',
  kind: 'TRANSFORM',
  input: 'keyword',
  output: 'cluster',
  transform: 'cluster_by_meaning',
  yields: 0.3,
};
