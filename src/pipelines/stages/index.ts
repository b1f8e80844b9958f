import type { StageDefinition } from '../definition.ts';
import { retrieveKind } from './retrieve.ts';
import { reviewKind } from './review.ts';
import type { StageKind } from './stage.ts';
import { tasksKind } from './tasks.ts';
import { transformKind } from './transform.ts';

const kinds: { [Kind in StageDefinition['kind']]: StageKind<any> } = {
  TASKS: tasksKind,
  TRANSFORM: transformKind,
  RETRIEVE: retrieveKind,
  REVIEW: reviewKind,
};

/** How a stage works, by its kind. */
export const kindOf = (stage: StageDefinition): StageKind<any> => kinds[stage.kind];
