import type { Check } from './check.ts';

const marks = { passed: '✓', failed: '✗', 'not applicable': '–' };
/** As long as the longest group. */
const groupWidth = 'transformers'.length;
/** One mistake may be found in every case and under every fault. */
const mostLines = 12;

/** A check as a row of a table in plain text, without its line break. */
export function printCheck({ group, name, outcome, detail, follows }: Check): string {
  const remark = outcome === 'not applicable' ? detail : follows && 'for a reason that is shown above';
  return `  ${marks[outcome]} ${group.padEnd(groupWidth)}  ${name}${remark ? ` (${remark})` : ''}`;
}

/** What goes below the table: what is wrong, what to do about it, and the sum. Each cause stands there once. Ends with a line break. */
export function printFindings(checks: Check[]): string {
  const failed = checks.filter(({ outcome }) => outcome === 'failed');
  const remedies = failed
    .filter(({ follows }) => !follows)
    .flatMap(({ name, detail = '', fix }) => {
      const others = failed.filter(({ follows }) => follows === name).length;
      const more = `  and ${others} more ${others === 1 ? 'check fails' : 'checks fail'} for the same reason`;
      return [
        '',
        `✗ ${name}`,
        ...shortened(detail.split('\n')).map((line) => `    ${line}`),
        `  → ${fix}`,
        ...(others > 0 ? [more] : []),
      ];
    });
  const count = (outcome: Check['outcome']) => checks.filter((check) => check.outcome === outcome).length;
  const sum = `${count('passed')} passed, ${count('failed')} failed, ${count('not applicable')} not applicable`;
  return `${[...remedies, '', sum].join('\n')}\n`;
}

const shortened = (lines: string[]): string[] =>
  lines.length <= mostLines + 1 ? lines : [...lines.slice(0, mostLines), `… and ${lines.length - mostLines} more`];

/** The checks as a table in plain text; below it, what is wrong and what to do about it. Ends with a line break. */
export function printChecks(checks: Check[]): string {
  return `${checks.map(printCheck).join('\n')}\n${printFindings(checks)}`;
}
