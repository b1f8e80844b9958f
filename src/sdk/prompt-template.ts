import { spawnSync } from 'node:child_process';
import { refuseInput } from './refuse.ts';
import type { Usage } from './task-type.ts';

/** For all expressions of a task together: the worker waits for them. */
const patternsTimeoutMs = 1_000;
/** As long as a template may be. A variable that is named often would grow it without bound, and the operator pays for what the model reads. */
const maxRendered = 100_000;

/**
 * The template of `test_prompt` with its variables in place: `{{name}}` and `{{person.name}}`; one that is missing stays as it was written.
 * Objects and lists are filled in as JSON. A key that has dots itself comes first; keys that only JavaScript has (`constructor`) are missing.
 * PURE: call it in `toProvider`.
 * @param variables the input's `variables`, an object. Undefined: none.
 * @returns `rendered`, and in `missing` the names that `variables` lacks, each once.
 * @throws AdapterFailure `invalid_input` at `variables` when the whole is longer than 100,000 characters.
 */
export function fillTemplate(template: string, variables: unknown): { rendered: string; missing: string[] } {
  const missing = new Set<string>();
  let filledLength = 0;
  const refuseLength = () => refuseInput('variables', `make the template longer than ${maxRendered} characters`);
  const rendered = template.replace(
    /\{\{\s*([\p{L}_$][\p{L}\p{N}_$-]*(?:\.[\p{L}\p{N}_$-]+)*)\s*\}\}/gu,
    (written, name: string) => {
      const value = lookUp(variables, name);
      if (value === undefined) {
        missing.add(name);
        return written;
      }
      const filled = typeof value === 'object' ? JSON.stringify(value) : String(value);
      filledLength += filled.length;
      if (filledLength > maxRendered) refuseLength();
      return filled;
    },
  );
  if (rendered.length > maxRendered) refuseLength();
  return { rendered, missing: [...missing] };
}

function lookUp(variables: unknown, name: string): unknown {
  const whole = ownValue(variables, name);
  return whole === undefined ? name.split('.').reduce(ownValue, variables) : whole;
}

function ownValue(of: unknown, key: string): unknown {
  return typeof of === 'object' && of !== null && Object.hasOwn(of, key) ? (of as any)[key] : undefined;
}

/**
 * Which expectations of `test_prompt` a text meets, in their order and in the shape of its result: `/…/flags` is a regular expression, `!` before one
 * negates it, anything else must occur, ignoring case. All regular expressions together have 1 s, in which nothing else is done by the process. Call it in
 * `fromProvider`, and {@link checkExpectations} in `toProvider`.
 * @param billed what the answer cost, for the failure.
 * @throws AdapterFailure `invalid_input` at `expectations.<place>` when an expression is none, or uses the time up.
 */
export function judgeExpectations(
  expectations: string[],
  text: string,
  billed: Usage[] | 'nothing',
): { expectation: string; passed: boolean }[] {
  const lowerCase = text.toLowerCase();
  const read = readExpectations(expectations, billed);
  const patterns = read.filter(({ source }) => source !== undefined);
  const matched = match(patterns, text);
  return read.map((each) => {
    const place = patterns.indexOf(each);
    const found = place < 0 ? lowerCase.includes(each.wanted.toLowerCase()) : matched[place]!;
    return { expectation: each.expectation, passed: found !== each.negated };
  });
}

/**
 * Refuses expectations of which one is no regular expression, before anything is bought. PURE: call it in `toProvider`.
 * @throws AdapterFailure `invalid_input` at `expectations.<place>`.
 */
export function checkExpectations(expectations: string[]): void {
  readExpectations(expectations, 'nothing');
}

function readExpectations(expectations: string[], billed: Usage[] | 'nothing') {
  return expectations.map((expectation, index) => {
    const negated = expectation.startsWith('!') && expectation.length > 1;
    const wanted = negated ? expectation.slice(1).trimStart() : expectation;
    const [, source, flags = ''] = /^\/(.+)\/([a-z]*)$/s.exec(wanted) ?? [];
    const refuse = (message: string): never => refuseInput(`expectations.${index}`, message, billed);
    if (source !== undefined) checkPattern(source, flags, refuse);
    return { expectation, negated, wanted, source, flags, refuse };
  });
}

interface Pattern {
  source?: string;
  flags: string;
  refuse(message: string): never;
}

function checkPattern(source: string, flags: string, refuse: Pattern['refuse']): void {
  try {
    new RegExp(source, flags);
  } catch (error) {
    refuse(`is no regular expression: ${(error as Error).message}`);
  }
}

/** In a process of its own, because only that can be ended, whatever the engine is at: some patterns keep it busy before they meet any text. */
function match(patterns: Pattern[], text: string): boolean[] {
  if (patterns.length === 0) return [];
  const input = JSON.stringify({ patterns: patterns.map(({ source, flags }) => ({ source, flags })), text });
  const { error, stdout } = spawnSync(process.execPath, ['--eval', matcher], {
    input,
    timeout: patternsTimeoutMs,
    killSignal: 'SIGKILL',
    encoding: 'utf8',
    env: {},
  });
  const found = [...(stdout ?? '')].map((letter) => letter === '1');
  if (found.length === patterns.length) return found;
  const isLate = (error as NodeJS.ErrnoException | undefined)?.code === 'ETIMEDOUT';
  const why = isLate
    ? `takes too long: all expressions together have ${patternsTimeoutMs / 1000} s`
    : 'takes too much memory';
  return patterns[found.length]!.refuse(`${why}; write it without nested repetition`);
}

const matcher = `
let input = '';
process.stdin.setEncoding('utf8').on('data', (chunk) => (input += chunk)).on('end', () => {
  const { patterns, text } = JSON.parse(input);
  for (const { source, flags } of patterns) require('fs').writeSync(1, new RegExp(source, flags).test(text) ? '1' : '0');
});`;
