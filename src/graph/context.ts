import type { Caller, Scope } from '../access.ts';
import type { Core } from '../core.ts';
import { forbidden } from '../errors.ts';
import type { Events } from '../lifecycle/events.ts';
import type { Metrics } from '../metrics.ts';
import type { RunEvents } from '../pipelines/events.ts';
import { createLoaders, type Loaders } from './loaders.ts';

/** What every resolver gets: who asks, and what it takes to answer. One per operation. */
export interface GraphContext {
  core: Core;
  caller: Caller;
  events: Events;
  runEvents: RunEvents;
  metrics: Metrics;
  load: Loaders;
}

/** What all operations of an API process share. */
export type GraphServices = Pick<GraphContext, 'core' | 'events' | 'runEvents' | 'metrics'>;

export function createContext(services: GraphServices, caller: Caller): GraphContext {
  return { ...services, caller, load: createLoaders(services.core) };
}

/**
 * Passes when the caller has one of the scopes.
 * @throws Refusal ForbiddenError that names the first of them.
 */
export function requireScope(context: GraphContext, ...scopes: [Scope, ...Scope[]]): void {
  if (!scopes.some((scope) => context.caller.scopes.has(scope))) throw forbidden(scopes[0]);
}
