import { runInNewContext } from 'node:vm';
import { refuseInput } from './refuse.ts';
import type { Usage } from './task-type.ts';

/** For all expressions of a task together: they run on the worker's only thread. */
const patternsTimeoutMs = 250;
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
  let length = template.length;
  const rendered = template.replace(
    /\{\{\s*([\p{L}_$][\p{L}\p{N}_$-]*(?:\.[\p{L}\p{N}_$-]+)*)\s*\}\}/gu,
    (written, name: string) => {
      const value = lookUp(variables, name);
      if (value === undefined) {
        missing.add(name);
        return written;
      }
      const filled = typeof value === 'object' ? JSON.stringify(value) : String(value);
      length += filled.length - written.length;
      if (length > maxRendered) refuseInput('variables', `make the template longer than ${maxRendered} characters`);
      return filled;
    },
  );
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
 * negates it, anything else must occur, ignoring case. All expressions together have 250 ms.
 *
 * Call it twice: in `toProvider` with an empty text, so that what is no regular expression is refused before anything is bought; in `fromProvider` with the answer.
 * @param billed what the answer cost, for the failure.
 * @throws AdapterFailure `invalid_input` at `expectations.<place>` when an expression is none, or uses the time up.
 */
export function judgeExpectations(
  expectations: string[],
  text: string,
  billed: Usage[] | 'nothing',
): { expectation: string; passed: boolean }[] {
  const lowerCase = text.toLowerCase();
  const read = expectations.map((expectation, index) => {
    const negated = expectation.startsWith('!') && expectation.length > 1;
    const wanted = negated ? expectation.slice(1).trimStart() : expectation;
    const [, source, flags = ''] = /^\/(.+)\/([a-z]*)$/s.exec(wanted) ?? [];
    const refuse = (message: string): never => refuseInput(`expectations.${index}`, message, billed);
    if (source !== undefined) checkPattern(source, flags, refuse);
    return { expectation, negated, wanted, source, flags, refuse };
  });
  const patterns = read.filter(({ source }) => source !== undefined);
  const matched = match(patterns, text);
  return read.map((each) => {
    const place = patterns.indexOf(each);
    const found = place < 0 ? lowerCase.includes(each.wanted.toLowerCase()) : matched[place]!;
    return { expectation: each.expectation, passed: found !== each.negated };
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

/** In a context of its own, because only there can a pattern that never ends be stopped; all in one, so that many cannot take many times as long. */
function match(patterns: Pattern[], text: string): boolean[] {
  const found: boolean[] = [];
  try {
    runInNewContext(
      'for (const { source, flags } of patterns) found.push(new RegExp(source, flags).test(text))',
      { patterns, text, found },
      { timeout: patternsTimeoutMs },
    );
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ERR_SCRIPT_EXECUTION_TIMEOUT') throw error;
    patterns[found.length]!.refuse(
      `takes too long: all expressions together have ${patternsTimeoutMs} ms; write it without nested repetition`,
    );
  }
  return found;
}
