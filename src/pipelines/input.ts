import type { Core } from '../core.ts';
import { validation } from '../errors.ts';
import type { PipelineDefinition } from './definition.ts';
import { itemLimits } from './items.ts';
import { schemaIssues } from './json-schema.ts';

/**
 * Checks what a run is started with. Every pipeline takes `callbackUrl` in it, to which webhooks go.
 * @returns the items that it brings.
 * @throws Refusal ValidationError.
 */
export function checkInput(
  core: Core,
  { input: wanted }: PipelineDefinition,
  given: unknown,
): { items: { kind: string; data: Record<string, unknown> }[]; callbackUrl: string | null } {
  if (given === undefined || given === null) return { items: [], callbackUrl: null };
  if (typeof given !== 'object' || Array.isArray(given)) throw refuse([], 'must be a JSON object');
  if (Buffer.byteLength(JSON.stringify(given)) > itemLimits.bytes)
    throw refuse([], `must be at most ${itemLimits.bytes} bytes of JSON`);
  const { callbackUrl = null, ...data } = given as Record<string, unknown>;
  if (callbackUrl !== null) {
    const reason = typeof callbackUrl === 'string' ? core.outbound.refuses(callbackUrl) : 'must be a URL';
    if (reason) throw refuse(['callbackUrl'], reason);
  }
  const isEmpty = Object.keys(data).length === 0;
  if (!wanted || isEmpty) return { items: [], callbackUrl: callbackUrl as string | null };
  const issues = schemaIssues(wanted.schema, data, ['input']);
  if (issues.length > 0) throw validation(issues);
  return { items: [{ kind: wanted.kind, data }], callbackUrl: callbackUrl as string | null };
}

const refuse = (path: string[], message: string) => validation([{ path: ['input', ...path], message }]);
