import { type PayloadTransformer, type TaskTypes, z } from 'atelier/adapter';

/** What `options` may hold. */
export const voiceOptions = z.strictObject({
  format: z.enum(['wav', 'mp3']).default('wav').describe('Default: wav.'),
  pitch: z.int().min(0).max(99).default(50).describe('0 is deep, 99 is high. Default: 50.'),
});

export interface VoiceRequest extends z.output<typeof voiceOptions> {
  work: 'voice';
  text: string;
  voice: string | null;
  language: string | null;
  speed: number;
}

export interface VoiceAnswer {
  /** Absolute path. */
  file: string;
  contentType: string;
  durationSeconds: number;
  /** Characters that were spoken. */
  characters: number;
}

type Type = TaskTypes['generate_character_voice'];

export const voice: PayloadTransformer<Type['input'], Type['result'], VoiceRequest, VoiceAnswer> = {
  toProvider: (input) => ({
    request: {
      work: 'voice',
      text: input.text,
      voice: input.voice ?? null,
      language: input.language ?? null,
      speed: input.speed,
      ...voiceOptions.parse(input.options ?? {}),
    },
    warnings: [],
  }),
  fromProvider: ({ file, contentType, durationSeconds, characters }) => ({
    outputs: [{ kind: 'AUDIO', contentType, from: { file } }],
    result: { audio: { output: 0 }, durationSeconds },
    usage: [{ unit: 'character', quantity: characters }],
  }),
};
