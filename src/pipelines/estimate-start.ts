import type { Core } from '../core.ts';
import { configure, type Scope } from './configuration.ts';
import { estimateRun, type RunEstimate } from './estimate.ts';
import { checkInput } from './input.ts';

/**
 * What startRun would find: the estimate, and whether the account can pay for it.
 * @throws Refusal: ValidationError, NotFoundError.
 */
export async function estimateStart(
  core: Core,
  scope: Scope,
  pipeline: string,
  input: unknown,
): Promise<RunEstimate & { available: bigint; sufficient: boolean }> {
  const configured = await configure(core, scope, pipeline);
  const { input: read, items: added } = checkInput(core, configured.pipeline.definition, input);
  const estimate = await estimateRun(core, scope, configured, { input: read, added });
  const [account] = await core.db.sql<{ available: bigint }>('select available from account where id = $1', [
    scope.accountId,
  ]);
  const available = account?.available ?? 0n;
  return { ...estimate, available, sufficient: available >= estimate.required };
}
