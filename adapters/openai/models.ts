import { isOpenAi, type OpenAiConfig } from './config.ts';

/** What the transformers have to know of a model. */
export interface Model {
  id: string;
  makes: 'text' | 'image' | 'speech';
  /** Thinks before it answers: takes `reasoning_effort`, and no temperature. */
  reasoning?: boolean;
  /** Which pictures it makes: the three standard sizes, or any that divide by 16. Undefined: it is not known. */
  sizes?: 'standard' | 'free';
  /** It knows `background: transparent`. */
  transparent?: boolean;
  /** It knows `input_fidelity`. */
  fidelity?: boolean;
  /** It takes `instructions` on how to speak. */
  instructions?: boolean;
}

/**
 * OpenAI's models, the default of each kind first. Written from https://platform.openai.com/docs/models and the types of
 * https://github.com/openai/openai-node 6.49.0.
 */
export const knownModels: Model[] = [
  { id: 'gpt-5.4-mini', makes: 'text', reasoning: true },
  { id: 'gpt-5.4', makes: 'text', reasoning: true },
  { id: 'gpt-5.4-nano', makes: 'text', reasoning: true },
  { id: 'gpt-5.6-sol', makes: 'text', reasoning: true },
  { id: 'gpt-5.6-terra', makes: 'text', reasoning: true },
  { id: 'gpt-5.6-luna', makes: 'text', reasoning: true },
  { id: 'gpt-4.1', makes: 'text' },
  { id: 'gpt-4.1-mini', makes: 'text' },
  { id: 'gpt-4.1-nano', makes: 'text' },
  { id: 'gpt-image-2', makes: 'image', sizes: 'free' },
  { id: 'gpt-image-1.5', makes: 'image', sizes: 'standard', transparent: true, fidelity: true },
  { id: 'gpt-image-1', makes: 'image', sizes: 'standard', transparent: true, fidelity: true },
  { id: 'gpt-image-1-mini', makes: 'image', sizes: 'standard', transparent: true },
  { id: 'gpt-4o-mini-tts', makes: 'speech', instructions: true },
  { id: 'tts-1', makes: 'speech' },
  { id: 'tts-1-hd', makes: 'speech' },
];

/** What is known of a model, by its id; what the configuration says wins. */
export function findModel(id: string, config: OpenAiConfig): Model {
  const own = isOpenAi(config) ? knownModels.find((model) => model.id === id) : undefined;
  return { id, makes: 'text', ...own, ...config.models?.find((model) => model.id === id) };
}
