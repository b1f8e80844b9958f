import type { Core } from '../core.ts';
import type { Task } from '../db.ts';
import { toId } from '../id.ts';
import { note, progress } from './status.ts';

/** What an attempt tells while it runs. Writes follow each other; what comes faster than they do is folded together. */
export interface Reporter {
  progress(fraction: number, step?: string): void;
  log(level: 'DEBUG' | 'INFO' | 'WARN' | 'ERROR', message: string): void;
  /** A piece of text as it is made. */
  text(text: string): void;
  output(index: number, assetId: string): void;
  /** Resolves when all that was told is written. */
  flush(): Promise<void>;
}

const smallestStep = 0.01;
const maxLogs = 1_000;
const maxLogLength = 2_000;

export function openReporter(core: Core, task: Task): Reporter {
  let told = task.progress;
  let toldStep = task.currentStep ?? undefined;
  let waiting: { fraction: number; step: string | undefined } | undefined;
  let text = '';
  const notes: { kind: 'output_added' | 'logged'; data: Record<string, unknown> }[] = [];
  let logs = 0;
  let writing: Promise<void> | undefined;

  async function writeNext(): Promise<void> {
    const piece = whole(text);
    const next = notes[0];
    if (piece) {
      text = text.slice(piece.length);
      await note(core, task, 'output_added', { index: 0, text: piece });
    } else if (next) {
      notes.shift();
      await note(core, task, next.kind, next.data);
    } else if (waiting) {
      const { fraction, step } = waiting;
      waiting = undefined;
      await progress(core, task, fraction, step);
    }
  }
  async function write(): Promise<void> {
    while (waiting || notes.length > 0 || whole(text)) {
      // What is told is for people; the outcome is what counts, and it is written by other means.
      await writeNext().catch((error) =>
        core.log.debug({ taskId: toId('Task', task.id), err: error }, 'progress was not written'),
      );
    }
  }
  function wake(): void {
    writing ??= write().finally(() => {
      writing = undefined;
    });
  }

  return {
    progress(fraction, step) {
      if (!Number.isFinite(fraction)) return;
      const bounded = Math.min(Math.max(fraction, told), 1);
      if (bounded - told < smallestStep && (step === undefined || step === toldStep)) return;
      told = bounded;
      toldStep = step ?? toldStep;
      waiting = { fraction: bounded, step: toldStep };
      wake();
    },
    log(level, message) {
      if (logs++ >= maxLogs) return;
      notes.push({ kind: 'logged', data: { level, message: message.slice(0, maxLogLength) } });
      wake();
    },
    text(piece) {
      text += piece;
      wake();
    },
    output(index, assetId) {
      notes.push({ kind: 'output_added', data: { index, assetId } });
      wake();
    },
    async flush() {
      while (writing) await writing;
    },
  };
}

/** Without half of a character at its end: the other half comes with the next piece. */
function whole(text: string): string {
  const last = text.charCodeAt(text.length - 1);
  return last >= 0xd800 && last <= 0xdbff ? text.slice(0, -1) : text;
}
