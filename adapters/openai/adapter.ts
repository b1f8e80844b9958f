import { type AdapterContext, defineAdapter } from 'atelier/adapter';
import { streamChat } from './chat.ts';
import { configSchema, hostOf, type OpenAiConfig } from './config.ts';
import { classify } from './failure.ts';
import { type ImageRequest, image, makeImages } from './image.ts';
import { listModels } from './list-models.ts';
import { prompt } from './prompt.ts';
import { type SpeechRequest, speak, speech } from './speech.ts';
import { type ChatRequest, text } from './text.ts';

/** OpenAI, and any server that speaks its API: vLLM, Ollama, LM Studio, llama.cpp, LiteLLM. */
export default defineAdapter<OpenAiConfig>({
  name: 'openai',
  contract: 1,
  version: '1.0.0',
  title: 'OpenAI, or any server that speaks its API',
  website: 'https://platform.openai.com',
  // A server in one's own house often wants none.
  secrets: { OPENAI_API_KEY: { title: 'API key', required: ({ baseUrl }) => baseUrl === undefined } },
  config: configSchema,
  hosts: (config) => [hostOf(config)],
  assetHosts: (config) => [hostOf(config), ...config.assetHosts],
  privateHosts: (config) => [...(config.baseUrl === undefined ? [] : [hostOf(config)]), ...config.assetHosts],
  runs: 'vendor',
  // Its clients send an Idempotency-Key; no document says that the API honours it.
  resubmit: 'never',
  streams: true,
  startTimeoutMs: 300_000,
  files: 'path',
  models: listModels,
  transformers: { generate_image: image, generate_character_voice: speech, generate_text: text, test_prompt: prompt },
  async start(request: ChatRequest | ImageRequest | SpeechRequest, context: AdapterContext<OpenAiConfig>) {
    if (request.work === 'chat') return { observations: streamChat(request, context) };
    if (request.work === 'image') return makeImages(request, context);
    return { answer: await speak(request, context) };
  },
  classify,
});
