import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { setTimeout as wait } from 'node:timers/promises';

/** A process, told from a later one that got the same number: `born` is when the system says that it began. */
export interface ProcessMark {
  pid: number;
  born: string;
}

/** The mark of a living process; null when there is none with this number. */
export function markOf(pid: number): ProcessMark | null {
  const born = birthOf(pid);
  return born === null ? null : { pid, born };
}

export function isAlive(mark: ProcessMark): boolean {
  return birthOf(mark.pid) === mark.born;
}

/**
 * Asks a process to end and waits until it has; after `graceMs` (default 10 s) it is killed. Resolves at once when it is
 * gone, and never touches another process that got its number.
 */
export async function stopProcess(mark: ProcessMark, signal: NodeJS.Signals, graceMs = 10_000): Promise<void> {
  const killAt = Date.now() + graceMs;
  if (isAlive(mark)) sendSignal(mark.pid, signal);
  while (isAlive(mark)) {
    if (Date.now() >= killAt) sendSignal(mark.pid, 'SIGKILL');
    await wait(10);
  }
}

/** Sends a signal to a process, or to a group (a negative number); nothing happens when it is gone already. */
export function sendSignal(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}

function birthOf(pid: number): string | null {
  if (process.platform !== 'linux')
    return spawnSync('ps', ['-o', 'lstart=', '-p', String(pid)], { encoding: 'utf8' }).stdout?.trim() || null;
  try {
    // After the name, which may itself hold blanks and parentheses: state is the 1st field, the start time the 20th.
    const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ').at(-1)!.split(' ');
    return fields[0] === 'Z' ? null : fields[19]!;
  } catch {
    return null;
  }
}
