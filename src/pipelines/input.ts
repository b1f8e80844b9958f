import type { Core } from '../core.ts';
import { validation } from '../errors.ts';
import { isStorableJson, notStorable } from '../lifecycle/storable.ts';
import type { PipelineDefinition } from './definition.ts';
import { itemLimits, tooLarge } from './items.ts';
import { openSchema } from './json-schema.ts';

/** What a run is started with. */
export interface RunInput {
  /** As it was given, with the defaults of the pipeline's schema; null: nothing was given. */
  input: object | null;
  /** The item that is made of it. */
  items: { kind: string; data: Record<string, unknown> }[];
  callbackUrl: string | null;
}

/**
 * Checks what a run is started with. Every pipeline takes `callbackUrl` in it, to which webhooks go.
 * @throws Refusal ValidationError.
 */
export function checkInput(core: Core, { input: wanted }: PipelineDefinition, given: unknown): RunInput {
  if (given === undefined || given === null) return { input: null, items: [], callbackUrl: null };
  if (typeof given !== 'object' || Array.isArray(given)) throw refuse([], 'must be a JSON object');
  if (!isStorableJson(given)) throw refuse([], notStorable);
  if (Buffer.byteLength(JSON.stringify(given)) > itemLimits.bytes) throw refuse([], tooLarge);
  const { callbackUrl = null, ...rest } = given as Record<string, unknown>;
  if (callbackUrl !== null) {
    const reason = typeof callbackUrl === 'string' ? core.outbound.refuses(callbackUrl) : 'must be a URL';
    if (reason) throw refuse(['callbackUrl'], reason);
  }
  const told = { callbackUrl: callbackUrl as string | null };
  if (!wanted || Object.keys(rest).length === 0) return { input: given, items: [], ...told };
  const data = structuredClone(rest);
  const issues = openSchema(wanted.schema, { fills: true })(data, ['input']);
  if (issues.length > 0) throw validation(issues);
  return { input: { ...given, ...data }, items: [{ kind: wanted.kind, data }], ...told };
}

const refuse = (path: string[], message: string) => validation([{ path: ['input', ...path], message }]);
