/** What a piece of work may use inside the engine's process. */
export interface Work {
  /** The only place it may write to; absolute. */
  directory: string;
  /** Fraction done, 0..1; `step` is one or two words for people. */
  progress(fraction: number, step?: string): void;
  /** A line for the task's log, which clients see. */
  log(level: 'INFO' | 'WARN', message: string): void;
}
