import { type FetchAnswer, type FetchOptions, type VendorContext, z } from 'atelier/adapter';

const openAiUrl = 'https://api.openai.com/v1';

/** What is dearer at OpenAI than the quote of Atelier's own prices covers. */
const limits = z
  .strictObject({
    quality: z
      .enum(['low', 'medium', 'high'])
      .default('medium')
      .describe('The best quality of a picture, and what is made where a task asks for none. Default: medium.'),
    megapixels: z
      .number()
      .positive()
      .default(1.6)
      .describe('The largest picture, in millions of pixels. Default: 1.6, as 1536×1024.'),
    previews: z.int().min(0).max(3).default(0).describe('Pictures shown while one is made, 0 to 3. Default: 0.'),
    inputFidelity: z
      .enum(['low', 'high'])
      .default('low')
      .describe('How closely reference images may be kept to. Default: low.'),
    testPromptTokens: z
      .int()
      .min(1)
      .max(100_000)
      .default(1024)
      .describe('The longest answer of test_prompt, in tokens; what a model thinks counts. Default: 1,024.'),
  })
  .prefault({})
  .describe('What clients may ask for at most, because the quote is the same for it.');

/** What `ATELIER_ADAPTER_OPENAI` may hold. `{}` is OpenAI itself. */
export const configSchema = z.strictObject({
  baseUrl: z
    .url({ protocol: /^https?$/ })
    .optional()
    .describe('Where the API is, up to and with /v1. May be private. Default: https://api.openai.com/v1.'),
  dialect: z
    .enum(['openai', 'compatible'])
    .optional()
    .describe(
      'openai: OpenAI itself, or a proxy in front of it; compatible: another server that speaks the same API. Default: openai at *.openai.com, else compatible.',
    ),
  models: z
    .array(
      z.strictObject({
        id: z.string().min(1).max(200).describe('As the server calls it.'),
        makes: z.enum(['text', 'image', 'speech']).default('text').describe('What it makes. Default: text.'),
        reasoning: z
          .boolean()
          .optional()
          .describe('It thinks before it answers: takes reasoningEffort, and no temperature. Default: false.'),
      }),
    )
    .min(1)
    .optional()
    .describe(
      "The models; the first of a kind is the default. Default: OpenAI's that the adapter knows, or with dialect compatible what GET {baseUrl}/models lists, all for text.",
    ),
  streamUsage: z
    .boolean()
    .default(true)
    .describe('Ask for usage with stream_options; false for a server that refuses it. Default: true.'),
  organization: z.string().optional().describe('Sent as OpenAI-Organization. Default: none.'),
  project: z.string().optional().describe('Sent as OpenAI-Project. Default: none.'),
  limits,
  moderation: z
    .enum(['auto', 'low'])
    .optional()
    .describe(
      "How strictly OpenAI filters pictures that are made from words; low filters less. Default: OpenAI's, auto.",
    ),
  assetHosts: z
    .array(z.string())
    .default([])
    .describe("Further hosts that images may be fetched from, where they come as URLs. Default: only baseUrl's."),
});

export type OpenAiConfig = z.output<typeof configSchema>;

export const baseUrlOf = ({ baseUrl }: OpenAiConfig): string => (baseUrl ?? openAiUrl).replace(/\/+$/, '');

/** With its port, where the URL names one. */
export const hostOf = (config: OpenAiConfig): string => new URL(baseUrlOf(config)).host;

/** OpenAI's own parameters, limits and models hold, not only those that all servers share. */
export function isOpenAi(config: OpenAiConfig): boolean {
  return config.dialect ? config.dialect === 'openai' : /(^|\.)openai\.com$/.test(new URL(baseUrlOf(config)).hostname);
}

/** One request to the server, with the credential when there is one: servers in one's own house often want none. */
export function call(
  context: VendorContext<OpenAiConfig>,
  path: string,
  options: FetchOptions = {},
): Promise<FetchAnswer> {
  const { config, secrets } = context;
  return context.fetch(`${baseUrlOf(config)}${path}`, {
    ...options,
    headers: {
      ...(secrets.OPENAI_API_KEY && { authorization: `Bearer ${secrets.OPENAI_API_KEY}` }),
      ...(config.organization && { 'openai-organization': config.organization }),
      ...(config.project && { 'openai-project': config.project }),
    },
  });
}
