import { setTimeout as pause } from 'node:timers/promises';
import type { Core } from '../core.ts';
import type { Task } from '../db.ts';
import type { Output } from '../sdk/index.ts';
import { type OutputPlace, storeOutput } from './assets.ts';
import type { Reporter } from './report.ts';

export interface Previews {
  /** Stores it and tells of it, sooner or later; a newer one takes the place of one that waits. Its failure is nobody's. */
  show(output: Output): void;
  /** Resolves when nothing is under way any more; what waits is dropped. */
  end(): Promise<void>;
}

/** Clients need no more than one in this time. */
const intervalMs = 1_000;
/** No output has this number: a preview never takes the place of one. */
const previewPlace = -1;

export function openPreviews(
  core: Core,
  task: Task,
  given: { report: Reporter; place: Omit<OutputPlace, 'output'>; signal: AbortSignal },
): Previews {
  let ended: AbortController | undefined;
  let waiting: Output | undefined;
  let showing: Promise<void> | undefined;

  async function showAll(signal: AbortSignal): Promise<void> {
    while (waiting && !signal.aborted) {
      const output = waiting;
      waiting = undefined;
      const asset = await storeOutput(core, task, output, { ...given.place, signal, output: previewPlace });
      given.report.output(0, asset.id);
      await pause(intervalMs, undefined, { signal });
    }
  }
  return {
    show(output) {
      waiting = output;
      ended ??= new AbortController();
      const signal = AbortSignal.any([given.signal, ended.signal]);
      showing ??= showAll(signal)
        .catch((error) => signal.aborted || core.log.debug({ err: error }, 'a preview was not shown'))
        .then(() => {
          showing = undefined;
        });
    },
    async end() {
      ended?.abort();
      await showing;
    },
  };
}
