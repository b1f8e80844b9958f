import { z } from 'atelier/adapter';
import { source } from './fields.ts';

const taskTypes = [
  'generate_image',
  'generate_video',
  'generate_character_voice',
  'process_audio',
  'generate_text',
] as const;

/** A model that the operator names: which of its fields takes what. */
const namedModel = z
  .strictObject({
    id: z
      .string()
      .regex(
        /^(deployments\/)?[a-z0-9_.-]+\/[a-z0-9_.-]+(:[0-9a-f]{64})?$/i,
        'must be owner/name, owner/name:version or deployments/owner/name',
      )
      .describe(
        '`owner/name` for an official model, `owner/name:version` for any other, `deployments/owner/name` for a deployment.',
      ),
    taskTypes: z.array(z.enum(taskTypes)).min(1).describe('What it makes.'),
    fields: z.record(z.string(), source).describe('Its own field → what is put into it.'),
    set: z
      .record(z.string(), z.json())
      .default({})
      .describe('Its own field → what is always put into it. Default: nothing.'),
    options: z
      .array(z.string())
      .default([])
      .describe('Which of its other fields clients may fill, in `options`. Default: none.'),
    typicalMs: z.int().positive().optional().describe('How long one usually takes, in milliseconds.'),
    concurrency: z.int().positive().optional().describe('Jobs in flight at once. Default: no limit.'),
  })
  .superRefine(({ fields, set, options }, issues) => {
    for (const name of options)
      if (name in fields || name in set)
        issues.addIssue({ code: 'custom', path: ['options'], message: `"${name}" stands in fields or set already` });
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
  models: z.array(namedModel).default([]).describe('Further models; one with the id of a known one replaces it.'),
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
export type NamedModel = z.output<typeof namedModel>;
