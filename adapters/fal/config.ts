import { namedModel, z } from 'atelier/adapter';

const named = namedModel({
  id: z
    .string()
    .regex(/^[a-z0-9_.-]+(\/[a-z0-9_.-]+)+$/i, 'must be an endpoint id, as fal-ai/flux/dev')
    .describe('Its endpoint id, as `fal-ai/flux/dev`.'),
  taskTypes: ['generate_image', 'generate_video', 'generate_character_voice', 'process_audio'],
});

/** Where the queue and the storage are, unless the operator says otherwise. */
export const falUrls = { baseUrl: 'https://queue.fal.run', restUrl: 'https://rest.fal.ai' };

const url = (normal: string) =>
  z
    .url({ protocol: /^https?$/ })
    .default(normal)
    .transform((given) => given.replace(/\/$/, ''));

/** `ATELIER_ADAPTER_FAL`. */
export const config = z.strictObject({
  baseUrl: url(falUrls.baseUrl).describe('Where the queue is. Default: https://queue.fal.run.'),
  restUrl: url(falUrls.restUrl).describe(
    'Where files are uploaded and the keys of webhooks are. Default: https://rest.fal.ai.',
  ),
  models: z.array(named).default([]).describe('Further models; one with the id of a known one replaces it.'),
  assetHosts: z
    .array(z.string())
    .default([])
    .describe('Hosts beside fal.media that files go to and come from, as `media.example` or `*.media.example`.'),
  maxMegapixels: z
    .number()
    .positive()
    .default(1)
    .describe(
      'The largest image that clients may ask a model for which takes a size, in units of 1024 × 1024 pixels; one with more is refused. Default: 1.',
    ),
  keepSeconds: z
    .int()
    .min(3600)
    .default(86_400)
    .describe('How long fal keeps files that go in and come out, in seconds. Default: 86,400, a day.'),
});

export type Config = z.output<typeof config>;
