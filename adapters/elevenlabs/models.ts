import { type AdapterModel, z } from 'atelier/adapter';
import type { ElevenLabsConfig } from './config.ts';

/** What the transformer has to know of a model. */
export interface Model {
  id: string;
  /** The longest text; Unicode characters. */
  maxCharacters: number;
  /** Takes `language_code`. */
  languages?: boolean;
  /** Takes `previous_text` and `next_text`, and a stability of any number. */
  continuous?: boolean;
}

/** https://elevenlabs.io/docs/overview/models, the default first. */
const known: Model[] = [
  { id: 'eleven_multilingual_v2', maxCharacters: 10_000, continuous: true },
  { id: 'eleven_v3', maxCharacters: 5_000, languages: true },
  { id: 'eleven_flash_v2_5', maxCharacters: 40_000, languages: true, continuous: true },
  { id: 'eleven_flash_v2', maxCharacters: 30_000, continuous: true },
];

/** What is known of a model, by its id. */
export function findModel(id: string, config: ElevenLabsConfig): Model {
  return (
    known.find((model) => model.id === id) ??
    config.models.find((model) => model.id === id) ?? { id, maxCharacters: 5_000 }
  );
}

/** Those that are known, then those that the configuration adds. */
export function listModels(config: ElevenLabsConfig): AdapterModel[] {
  const ids = new Set([...known, ...config.models].map(({ id }) => id));
  return [...ids].map((id) => ({
    id,
    taskTypes: ['generate_character_voice'],
    options: optionsOf(findModel(id, config)),
    typicalMs: 3_000,
  }));
}

/** https://elevenlabs.io/docs/api-reference/text-to-speech/convert. Raw PCM and telephone formats are not here: without a header nobody can tell what they are. */
const formats = [
  'mp3_44100_128',
  'mp3_22050_32',
  'mp3_24000_48',
  'mp3_44100_32',
  'mp3_44100_64',
  'mp3_44100_96',
  'mp3_44100_192',
  'opus_48000_32',
  'opus_48000_64',
  'opus_48000_96',
  'opus_48000_128',
  'opus_48000_192',
  'wav_8000',
  'wav_16000',
  'wav_22050',
  'wav_24000',
  'wav_32000',
  'wav_44100',
  'wav_48000',
] as const;

/** What `options` may hold. */
export function optionsOf(model: Model) {
  const fraction = (what: string) => z.number().min(0).max(1).optional().describe(what);
  const nearby = (what: string) => z.string().min(1).max(5_000).optional().describe(what);
  const shared = {
    format: z
      .enum(formats)
      .default('mp3_44100_128')
      .describe(
        'Codec, sampling rate in hertz and, for mp3 and opus, kbit/s. Some need a larger plan. Default: mp3_44100_128.',
      ),
    stability: fraction("0 varies most, 1 is even; eleven_v3 knows 0, 0.5 and 1. Default: the voice's own."),
    similarityBoost: fraction("How closely the original voice is kept to, 0 to 1. Default: the voice's own."),
    seed: z
      .int()
      .min(0)
      .max(4_294_967_295)
      .optional()
      .describe('The same seed and input give the same recording where the model can. Default: none.'),
    textNormalization: z
      .enum(['auto', 'on', 'off'])
      .optional()
      .describe('Whether numbers and the like are spelled out. Default: auto.'),
  };
  if (!model.continuous) return z.strictObject(shared);
  return z.strictObject({
    ...shared,
    style: fraction("Exaggeration of the voice's style, 0 to 1. Default: the voice's own."),
    useSpeakerBoost: z
      .boolean()
      .optional()
      .describe("Closer to the original speaker, and slower. Default: the voice's own."),
    previousText: nearby('What was said before, for the flow; at most 5,000 characters.'),
    nextText: nearby('What is said after, for the flow; at most 5,000 characters.'),
  });
}
