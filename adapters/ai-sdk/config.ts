import { z } from 'atelier/adapter';

/**
 * What the packages call their keys in the environment. A secret is declared before the configuration is read, so these are all that there can be;
 * AI_SDK_API_KEY is for a package that is not among them.
 */
export const secretNames = [
  'AI_SDK_API_KEY',
  'ANTHROPIC_API_KEY',
  'AZURE_API_KEY',
  'BFL_API_KEY',
  'CEREBRAS_API_KEY',
  'COHERE_API_KEY',
  'DEEPGRAM_API_KEY',
  'DEEPINFRA_API_KEY',
  'DEEPSEEK_API_KEY',
  'ELEVENLABS_API_KEY',
  'FAL_API_KEY',
  'FIREWORKS_API_KEY',
  'GOOGLE_GENERATIVE_AI_API_KEY',
  'GROQ_API_KEY',
  'HUME_API_KEY',
  'LMNT_API_KEY',
  'LUMA_API_KEY',
  'MISTRAL_API_KEY',
  'OPENAI_API_KEY',
  'PERPLEXITY_API_KEY',
  'REPLICATE_API_TOKEN',
  'TOGETHER_AI_API_KEY',
  'VERCEL_API_KEY',
  'XAI_API_KEY',
] as const;

const provider = z
  .strictObject({
    id: z
      .string()
      .regex(/^[a-z][a-z0-9-]*$/)
      .describe("The first part of its models' ids."),
    package: z.string().min(1).describe('An npm package, or the path of a file, that exports `create…`.'),
    export: z
      .string()
      .optional()
      .describe('Which export makes the provider, as createOpenAI. Default: the one that is named so.'),
    settings: z.record(z.string(), z.json()).default({}).describe('What it is given: baseURL, organization, headers …'),
    secrets: z
      .record(z.string(), z.enum(secretNames))
      .default({})
      .describe('Which setting holds which secret, as {"apiKey": "OPENAI_API_KEY"}.'),
    hosts: z
      .array(z.string().min(1))
      .default([])
      .describe('Where it may go besides the host of settings.baseURL, the places of its outputs too.'),
  })
  .refine(({ hosts, settings }) => hosts.length > 0 || baseUrlOf(settings), {
    path: ['hosts'],
    message: 'name the hosts that the package may reach, as api.openai.com',
  })
  .superRefine(({ settings }, context) => {
    for (const path of secretsIn(settings))
      context.addIssue({
        code: 'custom',
        path: ['settings', ...path],
        message: `a secret does not belong into settings, where nothing hides it: name it in "secrets", as {"apiKey": "OPENAI_API_KEY"}`,
      });
  });

/** The places of what is named like a secret, headers too. */
function secretsIn(settings: Record<string, unknown>): string[][] {
  return Object.entries(settings).flatMap(([name, value]): string[][] => {
    if (/(key|keyid|secret|password|token|credentials?|authorization|cookie)$/i.test(name)) return [[name]];
    if (typeof value !== 'object' || value === null) return [];
    return secretsIn(value as Record<string, unknown>).map((path) => [name, ...path]);
  });
}

const option = z.strictObject({
  description: z.string().min(1).describe('What it does, with its unit and default.'),
  type: z.enum(['integer', 'number', 'string', 'boolean']).default('string'),
  min: z.number().optional(),
  max: z.number().optional(),
  values: z
    .array(z.union([z.string(), z.number()]))
    .min(1)
    .optional(),
});

const model = z.strictObject({
  id: z.string().regex(/^[a-z][a-z0-9-]*\/.+$/, 'must be a provider and its model, as openai/gpt-image-1'),
  taskTypes: z.array(z.enum(['generate_image', 'generate_character_voice', 'generate_text', 'generate_video'])).min(1),
  options: z
    .record(z.string(), option)
    .default({})
    .describe("Provider options that clients may give, by the package's own names."),
  fixed: z.record(z.string(), z.json()).default({}).describe('Provider options that are always sent.'),
  shape: z
    .enum(['size', 'aspectRatio'])
    .default('size')
    .describe('How an image model is told the width and height: in pixels, or as their ratio only.'),
  typicalMs: z.number().positive().optional(),
  concurrency: z.int().min(1).optional(),
});

/** What ATELIER_ADAPTER_AI_SDK holds. */
export const config = z
  .strictObject({ providers: z.array(provider).min(1), models: z.array(model).min(1) })
  .superRefine(({ providers, models }, context) => {
    const known = providers.map(({ id }) => id);
    for (const [index, { options, fixed }] of models.entries())
      for (const name of Object.keys(options).filter((each) => Object.hasOwn(fixed, each)))
        context.addIssue({
          code: 'custom',
          path: ['models', index, 'options', name],
          message: `"${name}" stands in fixed as well: it is either the client's or always the same`,
        });
    for (const [index, { id }] of models.entries())
      if (!known.includes(id.split('/')[0]!))
        context.addIssue({
          code: 'custom',
          path: ['models', index, 'id'],
          message: `"${id}" begins with no provider's id (${known.join(', ')})`,
        });
  });

export type Config = z.output<typeof config>;
export type ProviderConfig = Config['providers'][number];
export type ModelConfig = Config['models'][number];

/** @throws Error for a model that was taken out of the configuration. */
export function modelConfigOf(config: Config, id: string): ModelConfig {
  const found = config.models.find((each) => each.id === id);
  if (!found) throw new Error(`the configuration holds no model "${id}"`);
  return found;
}

/** The provider of a model, and what it calls that model. */
export function providerOf(config: Config, id: string): { provider: ProviderConfig; modelId: string } {
  const slash = id.indexOf('/');
  const provider = config.providers.find((each) => each.id === id.slice(0, slash));
  if (!provider) throw new Error(`the configuration holds no provider for "${id}"`);
  return { provider, modelId: id.slice(slash + 1) };
}

export const hostsOf = ({ providers }: Config): string[] =>
  providers.flatMap(({ hosts, settings }) => [...hosts, ...hostOf(baseUrlOf(settings))]);

/** Only a base URL names a server of the operator's own. */
export const privateHostsOf = ({ providers }: Config): string[] =>
  providers.flatMap(({ settings }) => hostOf(baseUrlOf(settings)));

const hostOf = (url: string | undefined): string[] => (url ? [new URL(url).host] : []);

function baseUrlOf(settings: Record<string, unknown>): string | undefined {
  const { baseURL } = settings;
  return typeof baseURL === 'string' && URL.canParse(baseURL) ? baseURL : undefined;
}
