import type { Core } from '../core.ts';

/**
 * What each provider allows, as the functions of the migrations take it: its credentials, and how many jobs each may have in
 * flight. The counting is theirs: in Postgres, in the transaction that claims the task, so that no worker and no lost Redis can exceed it.
 */
export function doorsOf(core: Core): string {
  const doors = core.registry.adapters
    .filter(({ disabled }) => disabled === undefined)
    .map(({ adapter, credentials, models }) => [
      adapter.name,
      {
        credentials: credentials.map(({ id }) => ({ id, limit: adapter.limits?.concurrency })),
        models: Object.fromEntries(
          models.flatMap(({ id, concurrency }) => (concurrency === undefined ? [] : [[id, concurrency]])),
        ),
      },
    ]);
  return JSON.stringify(Object.fromEntries(doors));
}
