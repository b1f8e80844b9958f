import { namedModel, z } from 'atelier/adapter';

const named = namedModel({
  id: z
    .string()
    .regex(
      /^(deployments\/)?[a-z0-9_.-]+\/[a-z0-9_.-]+(:[0-9a-f]{64})?$/i,
      'must be owner/name, owner/name:version or deployments/owner/name',
    )
    .describe(
      '`owner/name` for an official model, `owner/name:version` for any other, `deployments/owner/name` for a deployment.',
    ),
  taskTypes: ['generate_image', 'generate_video', 'generate_character_voice', 'process_audio', 'generate_text'],
});

/** Where the API is, unless the operator says otherwise. */
export const replicateUrl = 'https://api.replicate.com/v1';

/** `ATELIER_ADAPTER_REPLICATE`. */
export const config = z.strictObject({
  baseUrl: z
    .url({ protocol: /^https?$/ })
    .default(replicateUrl)
    .transform((url) => url.replace(/\/$/, ''))
    .describe('Where the API is, with its version. Default: https://api.replicate.com/v1.'),
  models: z.array(named).default([]).describe('Further models; one with the id of a known one replaces it.'),
  maxMegapixels: z
    .number()
    .positive()
    .default(1)
    .describe(
      'The largest image that clients may ask a model for which takes a size, in units of 1024 × 1024 pixels; one with more is refused. Default: 1.',
    ),
  maxResolution: z
    .enum(['480p', '720p'])
    .default('480p')
    .describe(
      'The highest `resolution` that clients may ask a known video model for, `480p` or `720p`. Default: 480p.',
    ),
  maxInputCharacters: z
    .int()
    .positive()
    .default(32_000)
    .describe(
      'The longest prompt, with system, that clients may give to a text model, in characters. Default: 32,000.',
    ),
  assetHosts: z
    .array(z.string())
    .default([])
    .describe('Hosts beside replicate.delivery that outputs may come from, as `media.example` or `*.media.example`.'),
});

export type Config = z.output<typeof config>;
