import { z } from 'atelier/adapter';

const elevenLabsUrl = 'https://api.elevenlabs.io';

/** What `ATELIER_ADAPTER_ELEVENLABS` may hold. */
export const configSchema = z.strictObject({
  baseUrl: z
    .url({ protocol: /^https?$/ })
    .default(elevenLabsUrl)
    .describe('Where the API is, without /v1. May be private. Default: https://api.elevenlabs.io.'),
  voices: z
    .record(z.string().min(1).max(200), z.string().min(1).max(100))
    .default({})
    .describe(
      'Names that tasks may use for voices: { "narrator": "JBFqnCBsd6RMkjVDRZzb" }. Ids may be used as they are. Default: none.',
    ),
  defaultVoice: z
    .string()
    .min(1)
    .max(200)
    .default('JBFqnCBsd6RMkjVDRZzb')
    .describe("A name of voices, or an id. Default: the voice of ElevenLabs' own examples."),
  models: z
    .array(
      z.strictObject({
        id: z.string().min(1).max(200).describe('As ElevenLabs calls it.'),
        maxCharacters: z.int().min(1).default(5_000).describe('The longest text. Default: 5,000.'),
      }),
    )
    .default([])
    .describe('Further models that this adapter does not know yet. Default: none.'),
});

export type ElevenLabsConfig = z.output<typeof configSchema>;

/** With its port, where the URL names one. */
export const hostOf = ({ baseUrl }: ElevenLabsConfig): string => new URL(baseUrl).host;

export const isElsewhere = ({ baseUrl }: ElevenLabsConfig): boolean => baseUrl !== elevenLabsUrl;
