import { runInNewContext } from 'node:vm';
import type { PromptAnswer, PromptRequest } from '../prompt.ts';
import { InputRefusal } from './refusal.ts';
import { composeText } from './text.ts';

const patternTimeoutMs = 250;

/** Fills the template, composes an answer to it, and judges the answer. */
export async function testPrompt({ template, variables, expectations }: PromptRequest): Promise<PromptAnswer> {
  const { rendered, missing } = fillTemplate(template, variables);
  const text = composeText(rendered, 1024);
  const judged = expectations.map((expectation, index) => ({ expectation, passed: judge(expectation, text, index) }));
  return {
    rendered,
    text,
    missingVariables: missing,
    expectations: judged,
    passed: missing.length === 0 && judged.every(({ passed }) => passed),
  };
}

/** `{{name}}` and `{{person.name}}`; one that is missing stays as it was written. Objects and lists are filled in as JSON. */
function fillTemplate(template: string, variables: Record<string, unknown>): { rendered: string; missing: string[] } {
  const missing = new Set<string>();
  const rendered = template.replace(
    /\{\{\s*([\p{L}_$][\p{L}\p{N}_$-]*(?:\.[\p{L}\p{N}_$-]+)*)\s*\}\}/gu,
    (written, name: string) => {
      const value = lookUp(variables, name);
      if (value === undefined) {
        missing.add(name);
        return written;
      }
      return typeof value === 'object' ? JSON.stringify(value) : String(value);
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

function judge(expectation: string, text: string, index: number): boolean {
  const negated = expectation.startsWith('!') && expectation.length > 1;
  const wanted = negated ? expectation.slice(1).trimStart() : expectation;
  const pattern = /^\/(.+)\/([a-z]*)$/s.exec(wanted);
  const found = pattern
    ? matches(pattern[1]!, pattern[2]!, text, index)
    : text.toLowerCase().includes(wanted.toLowerCase());
  return found !== negated;
}

/** In a context of its own, because only there can a pattern that never ends be stopped. */
function matches(source: string, flags: string, text: string, index: number): boolean {
  const refuse = (message: string) => new InputRefusal(['expectations', String(index)], message);
  try {
    new RegExp(source, flags);
  } catch (error) {
    throw refuse(`is no regular expression: ${(error as Error).message}`);
  }
  try {
    return runInNewContext(
      'new RegExp(source, flags).test(text)',
      { source, flags, text },
      { timeout: patternTimeoutMs },
    );
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ERR_SCRIPT_EXECUTION_TIMEOUT') throw error;
    throw refuse(`takes longer than ${patternTimeoutMs} ms to match; write it without nested repetition`);
  }
}
