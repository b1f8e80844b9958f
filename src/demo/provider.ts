import type { Client } from '../client.ts';
import { readConfig } from '../config.ts';
import { ConfigError } from '../errors.ts';
import { loadRegistry } from '../registry.ts';

/** How texts are had from a model on this machine. */
export const openAiHint = `  ATELIER_ADAPTER_OPENAI='{"baseUrl":"http://127.0.0.1:11434/v1"}' npm run demo -- pipeline openai`;

const shownModels = 10;

/**
 * Looks whether a provider is installed and switched on, before anything is started for it.
 * @throws ConfigError that says what to set.
 */
export async function checkProvider(environment: NodeJS.ProcessEnv, name: string): Promise<void> {
  const registry = await loadRegistry(readConfig(environment), { adapters: [], taskTypes: [] }, environment);
  const found = registry.adapter(name);
  if (!found) {
    const names = registry.adapters.map(({ adapter }) => adapter.name).join(', ');
    throw new ConfigError(`no provider is called "${name}"; there are ${names}`);
  }
  if (found.disabled === undefined) return;
  const ownServer =
    name === 'openai'
      ? `.\nA server of your own that speaks the OpenAI API (Ollama, llama.cpp, LM Studio, vLLM) needs its address alone:\n\n${openAiHint}`
      : '';
  throw new ConfigError(`the provider "${name}" is switched off: ${found.disabled}${ownServer}`);
}

/**
 * The model that writes the texts, once the API is up and has asked the vendor for its models.
 * @param wanted its id. Undefined: the provider's first.
 * @throws ConfigError when the provider has none, or not this one.
 */
export async function findModel(
  client: Client,
  provider: string,
  wanted: string | undefined,
): Promise<{ model: string; others: number }> {
  const { providers } = await client.request('{ providers { name models { id taskTypes } } }');
  const { models } = providers.find(({ name }: { name: string }) => name === provider);
  const ids: string[] = models
    .filter(({ taskTypes }: { taskTypes: string[] }) => taskTypes.includes('GENERATE_TEXT'))
    .map(({ id }: { id: string }) => id);
  const some = `${ids.slice(0, shownModels).join(', ')}${ids.length > shownModels ? ', …' : ''}`;
  const first = ids[0];
  if (first === undefined)
    throw new ConfigError(
      `the provider "${provider}" names no model that writes texts. Is its server running, and at the address that is set? ` +
        `It may also not list its models: its README says how to name them`,
    );
  if (wanted !== undefined && !ids.includes(wanted))
    throw new ConfigError(`the provider "${provider}" has no model "${wanted}" that writes texts; it has ${some}`);
  return { model: wanted ?? first, others: ids.length - 1 };
}
