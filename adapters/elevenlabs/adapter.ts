import { defineAdapter } from 'atelier/adapter';
import { configSchema, type ElevenLabsConfig, hostOf, isElsewhere } from './config.ts';
import { classify } from './failure.ts';
import { listModels } from './models.ts';
import { speak, speech } from './speech.ts';

/** ElevenLabs' text to speech. */
export default defineAdapter<ElevenLabsConfig>({
  name: 'elevenlabs',
  contract: 1,
  version: '1.0.0',
  title: 'ElevenLabs',
  website: 'https://elevenlabs.io',
  secrets: { ELEVENLABS_API_KEY: { title: 'API key', required: true } },
  config: configSchema,
  hosts: (config) => [hostOf(config)],
  privateHosts: (config) => (isElsewhere(config) ? [hostOf(config)] : []),
  runs: 'vendor',
  // No document speaks of idempotency, and nothing of ours shows in the history: a lost answer is not found again.
  resubmit: 'never',
  models: ({ config }) => listModels(config),
  transformers: { generate_character_voice: speech },
  start: async (request, context) => ({ answer: await speak(request, context) }),
  classify,
});
