import { runInNewContext } from 'node:vm';
import { AdapterFailure, type Usage } from 'atelier/adapter';

/** For all expressions of a task together: they run on the worker's only thread. */
const patternsTimeoutMs = 250;
/** As long as a template may be. A variable that is named often would grow it without bound, and the operator pays for what the model reads. */
const maxRendered = 100_000;

/**
 * `{{name}}` and `{{person.name}}`; one that is missing stays as it was written. Objects and lists are filled in as JSON.
 * @throws AdapterFailure invalid_input when the whole is longer than 100,000 characters.
 */
export function fillTemplate(
  template: string,
  variables: Record<string, unknown>,
): { rendered: string; missing: string[] } {
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
      if (length > maxRendered)
        throw invalid(['variables'], `make the template longer than ${maxRendered} characters`, 'nothing');
      return filled;
    },
  );
  return { rendered, missing: [...missing] };
}

/** A key that has dots itself comes first. Own keys only: `{{constructor}}` is missing. */
function lookUp(variables: Record<string, unknown>, name: string): unknown {
  if (Object.hasOwn(variables, name)) return variables[name];
  let value: unknown = variables;
  for (const key of name.split('.')) {
    if (typeof value !== 'object' || value === null || !Object.hasOwn(value, key)) return undefined;
    value = (value as Record<string, unknown>)[key];
  }
  return value;
}

/**
 * Which expectations a text meets, in their order: `/…/flags` is a regular expression, `!` before one negates it, anything else must occur, ignoring case.
 * @throws AdapterFailure invalid_input when an expression is none, or all of them together take too long.
 */
export function judge(expectations: string[], text: string, billed: Usage[] | 'nothing'): boolean[] {
  const lowerCase = text.toLowerCase();
  const read = expectations.map((expectation, index) => {
    const negated = expectation.startsWith('!') && expectation.length > 1;
    const wanted = negated ? expectation.slice(1).trimStart() : expectation;
    const [, source, flags = ''] = /^\/(.+)\/([a-z]*)$/s.exec(wanted) ?? [];
    if (source !== undefined) checkPattern(source, flags, (message) => refuse(index, message, billed));
    return { index, negated, wanted, source, flags };
  });
  const patterns = read.filter(({ source }) => source !== undefined);
  const matched = match(patterns, text, (failed, message) => refuse(patterns[failed]!.index, message, billed));
  const found = new Map(patterns.map(({ index }, place) => [index, matched[place]!]));
  return read.map(
    ({ index, negated, wanted }) => (found.get(index) ?? lowerCase.includes(wanted.toLowerCase())) !== negated,
  );
}

function refuse(index: number, message: string, billed: Usage[] | 'nothing'): never {
  const path = ['expectations', String(index)];
  throw invalid(path, message, billed);
}

const invalid = (path: string[], message: string, billed: Usage[] | 'nothing') =>
  new AdapterFailure({
    class: 'invalid_input',
    code: 'INVALID_INPUT',
    message: `${path.join('.')} ${message}`,
    issues: [{ path, message }],
    billed,
  });

function checkPattern(source: string, flags: string, refused: (message: string) => never): void {
  try {
    new RegExp(source, flags);
  } catch (error) {
    refused(`is no regular expression: ${(error as Error).message}`);
  }
}

/** In a context of its own, because only there can a pattern that never ends be stopped; all in one, so that many cannot take many times as long. */
function match(
  patterns: { source?: string; flags: string }[],
  text: string,
  refused: (failed: number, message: string) => never,
): boolean[] {
  const found: boolean[] = [];
  try {
    runInNewContext(
      'for (const { source, flags } of patterns) found.push(new RegExp(source, flags).test(text))',
      { patterns, text, found },
      { timeout: patternsTimeoutMs },
    );
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ERR_SCRIPT_EXECUTION_TIMEOUT') throw error;
    refused(
      found.length,
      `takes too long: all expressions together have ${patternsTimeoutMs} ms; write it without nested repetition`,
    );
  }
  return found;
}
