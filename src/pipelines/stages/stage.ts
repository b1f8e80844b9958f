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

/** What came of beginning batches. */
export interface Beginning {
  /** How many go on without the worker. */
  begun: number;
  /** Those that have ended at once. */
  outcomes: Outcome[];
  /** The run's hold has too little for the rest: the credits of the first that was refused. */
  refused?: number;
}

/** How one kind of stage works. */
export interface StageKind<Stage extends StageDefinition> {
  /** Batches that are begun in one go: between two goes the run hears what it is told. */
  atOnce: number;
  /** Begins batches. Asked again for one that was begun before, it does nothing twice. */
  begin(turn: Turn, stage: Stage, batches: FullBatch[]): Promise<Beginning>;
  /** What became of batches that are due. Null: nothing yet. */
  collect(turn: Turn, stage: Stage, batches: FullBatch[]): Promise<(Outcome | null)[]>;
  /** Ends batches that have no task and that the run does not want any more. Left out are those that are collected all the same. */
  giveUp(turn: Turn, batches: FullBatch[]): Promise<Outcome[]>;
}
