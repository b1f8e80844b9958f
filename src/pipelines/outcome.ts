import type { TaskError } from '../lifecycle/status.ts';
import type { FullBatch } from './batch.ts';
import { isGate, nextOf, type PipelineDefinition, type StageDefinition } from './definition.ts';

/** What became of a batch, as run_settle takes it. */
export interface Outcome {
  batch: string;
  /** Whose. */
  stage: string;
  state: 'DONE' | 'FAILED' | 'CANCELLED';
  error?: RunError;
  items: {
    id: string;
    /** Of its work at this stage. */
    state: 'DONE' | 'FAILED' | 'REJECTED' | 'WAITING';
    data?: unknown;
    next?: string[];
  }[];
  outputs: { kind: string; data: unknown; origin: string[]; assets: string[]; next: string[] }[];
  /** Items that an earlier stage does again. */
  back?: { item: string; stage: string; note: string }[];
}

/** Why an item, or a run, FAILED. */
export type RunError = Pick<TaskError, 'code' | 'message' | 'retryable'>;

/** What a batch gave: new items, or the same ones, going on. */
export interface Made {
  data: unknown;
  /** Ids of items of the batch. */
  from: string[];
  assets?: string[];
}

/** A batch that gave items. Those of its own that nothing was made from are done all the same; of a gate they go no further. */
export function done(definition: PipelineDefinition, stage: StageDefinition, batch: FullBatch, made: Made[]): Outcome {
  const next = nextOf(definition, stage);
  if (!isGate(stage)) {
    const kind = 'output' in stage ? stage.output : stage.input;
    return {
      batch: batch.id,
      stage: stage.key,
      state: 'DONE',
      items: batch.items.map(({ id }) => ({ id, state: 'DONE' })),
      outputs: made.map(({ data, from, assets = [] }) => ({ kind, data, origin: from, assets, next })),
    };
  }
  const byItem = new Map(made.flatMap((each) => each.from.map((id) => [id, each] as const)));
  return {
    batch: batch.id,
    stage: stage.key,
    state: 'DONE',
    items: batch.items.map(({ id }) => {
      const goesOn = byItem.get(id);
      if (!goesOn) return { id, state: 'REJECTED' };
      return { id, state: 'DONE', data: goesOn.data, next };
    }),
    outputs: [],
  };
}

/** A batch whose items all failed. */
export function failed(batch: FullBatch, error: RunError): Outcome {
  const items = batch.items.map(({ id }) => ({ id, state: 'FAILED' as const }));
  return { batch: batch.id, stage: batch.stage, state: 'FAILED', error, items, outputs: [] };
}

/** A batch that is given up: its items wait again. */
export function givenBack(batch: FullBatch): Outcome {
  const items = batch.items.map(({ id }) => ({ id, state: 'WAITING' as const }));
  return { batch: batch.id, stage: batch.stage, state: 'CANCELLED', items, outputs: [] };
}
