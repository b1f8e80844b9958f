import type { Core } from '../core.ts';
import { keepDefaultAgents } from './agent.ts';
import { keepPipelines } from './catalog.ts';

/**
 * Keeps the pipelines and agents that come with this Atelier and its plugins.
 * @throws ConfigError for a plugin's pipeline that does not fit.
 */
export async function seedPipelines(core: Core): Promise<void> {
  await keepPipelines(core);
  await keepDefaultAgents(core);
}
