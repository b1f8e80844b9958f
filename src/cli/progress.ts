import cliProgress from 'cli-progress';

/** Lines of progress, one per task: bars in a terminal; elsewhere a plain line for each change of note and each tenth. */
export interface ProgressBoard {
  add(label: string): ProgressLine;
  /** Leaves the last state standing, and the terminal as it was found. Idempotent; what is updated later is not shown. */
  stop(): void;
}

export interface ProgressLine {
  /** `fraction` 0..1; `note` is a word or two. */
  update(fraction: number, note: string): void;
}

const barColumns = 28;
const noteColumns = 36;

/** @param output where it is drawn; a bar needs a terminal. @param labelColumns the width of the widest label. */
export function openProgress(output: NodeJS.WriteStream, labelColumns: number): ProgressBoard {
  return output.isTTY ? openBars(output, labelColumns) : openLines(output, labelColumns);
}

function openBars(output: NodeJS.WriteStream, labelColumns: number): ProgressBoard {
  const bars = new cliProgress.MultiBar(
    {
      stream: output,
      format: `  {label}  {bar} {percentage}%  {note}`,
      barsize: barColumns,
      hideCursor: true,
      // Signals are ours to handle.
      gracefulExit: false,
      autopadding: true,
      emptyOnZero: true,
      forceRedraw: true,
    },
    cliProgress.Presets.shades_classic,
  );
  let isStopped = false;
  return {
    add(label) {
      const bar = bars.create(1, 0, { label: label.padEnd(labelColumns), note: '' });
      return {
        update(fraction, note) {
          if (!isStopped) bar.update(fraction, { note: note.slice(0, noteColumns) });
        },
      };
    },
    stop() {
      if (!isStopped) bars.stop();
      isStopped = true;
    },
  };
}

function openLines(output: NodeJS.WriteStream, labelColumns: number): ProgressBoard {
  let isStopped = false;
  return {
    add(label) {
      let lastNote = '';
      let lastTenth = 0;
      return {
        update(fraction, note) {
          const tenth = Math.floor(fraction * 10);
          if (isStopped || (note === lastNote && tenth <= lastTenth)) return;
          lastNote = note;
          lastTenth = tenth;
          output.write(
            `  ${label.padEnd(labelColumns)}  ${String(Math.round(fraction * 100)).padStart(3)} %  ${note}\n`,
          );
        },
      };
    },
    stop() {
      isStopped = true;
    },
  };
}
