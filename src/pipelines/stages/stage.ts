import type { Core } from '../../core.ts';
import type { Run } from '../../db.ts';
import type { FullBatch } from '../batch.ts';
import type { StageSettings } from '../configuration.ts';
import type { PipelineDefinition, StageDefinition } from '../definition.ts';
import type { Outcome } from '../outcome.ts';

/** A worker's turn at a run: what the stages need of it. */
export interface Turn {
  core: Core;
  run: Run;
  definition: PipelineDefinition;
  settings(stage: StageDefinition): StageSettings;
  /** For the run's log. */
  log(level: 'DEBUG' | 'INFO' | 'WARN' | 'ERROR', message: string, stage?: string): void;
  /** Aborted when this process has lost the run or is going. */
  signal: AbortSignal;
}

/** A batch that was begun and goes on without the worker. */
export interface Begun {
  batch: string;
  /** The task that it waits for. */
  task?: string;
  agent?: { id: string; version: number };
  passages?: unknown;
  /** When it is looked at again, if nothing happens before. */
  dueAt?: Date;
}

/** How one kind of stage works. */
export interface StageKind<Stage extends StageDefinition> {
  /** Begins batches, each as it fits. Those that have ended at once come back as outcomes. Asked again for one that was begun before, it does nothing twice.
   * `isEmpty`: the run's hold has too little for the rest. */
  begin(
    turn: Turn,
    stage: Stage,
    batches: FullBatch[],
  ): Promise<{ begun: Begun[]; outcomes: Outcome[]; isEmpty?: boolean }>;
  /** What became of batches that are due. Null: nothing yet. */
  collect(turn: Turn, stage: Stage, batches: FullBatch[]): Promise<(Outcome | null)[]>;
  /** Ends batches that the run does not want any more. Those that have ended at once come back as outcomes; the others are collected when they have. */
  abandon(turn: Turn, batches: FullBatch[]): Promise<Outcome[]>;
}
