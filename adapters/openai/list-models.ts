import type { AdapterModel, VendorContext } from 'atelier/adapter';
import { call, isOpenAi, type OpenAiConfig } from './config.ts';
import { imageOptions } from './image.ts';
import { findModel, knownModels, type Model } from './models.ts';
import { speechOptions } from './speech.ts';
import { textOptions } from './text.ts';

/**
 * The models that there are. None without a key at OpenAI itself: the adapter then makes nothing.
 * @throws HttpFailure or NetworkFailure when a compatible server does not list its models.
 */
export async function listModels(context: VendorContext<OpenAiConfig>): Promise<AdapterModel[]> {
  const { config, secrets } = context;
  if (config.baseUrl === undefined && !secrets.OPENAI_API_KEY) return [];
  const ids =
    config.models?.map(({ id }) => id) ??
    (isOpenAi(config) ? knownModels.map(({ id }) => id) : namesOf(await (await call(context, '/models')).json()));
  return [...new Set(ids)].map((id) => describe(findModel(id, config), config));
}

const namesOf = (list: { data?: { id?: unknown }[] }): string[] =>
  (list?.data ?? []).map(({ id }) => id).filter((id): id is string => typeof id === 'string' && id !== '');

function describe(model: Model, config: OpenAiConfig): AdapterModel {
  const { id, makes } = model;
  const own = isOpenAi(config);
  if (makes === 'image')
    return { id, taskTypes: ['generate_image'], options: imageOptions(model, own, config), typicalMs: 30_000 };
  if (makes === 'speech')
    return { id, taskTypes: ['generate_character_voice'], options: speechOptions(model, own), typicalMs: 5_000 };
  return { id, taskTypes: ['generate_text', 'test_prompt'], options: textOptions(model), typicalMs: 5_000 };
}
