import { AdapterFailure, type PayloadTransformer, type TaskTypes, type Usage, z } from 'atelier/adapter';
import { isOpenAi, type OpenAiConfig } from './config.ts';
import { findModel, type Model } from './models.ts';

/** What the input leaves open. Documented by Atelier's task type. */
const defaultMaxTokens = 1024;

/** A chat completion, and what its answer needs to know of the input. */
export interface ChatRequest<Kept = unknown> {
  work: 'chat';
  body: Record<string, unknown>;
  kept: Kept;
}

export interface ChatAnswer<Kept = unknown> {
  /** The sum of all that was streamed. */
  text: string;
  /** Why the model would not answer; empty: it did. */
  refusal: string;
  /** `stop`, `length`, `content_filter` or another word of the server's. */
  finishReason: string;
  /** Tokens that the model wrote, the hidden ones of its reasoning too. Undefined: the server does not say. */
  tokens?: number;
  kept: Kept;
}

type Type = TaskTypes['generate_text'];

interface Kept {
  json: boolean;
}

/** What `options` may hold. */
export function textOptions(model: Model) {
  const shared = {
    strictSchema: z
      .boolean()
      .default(false)
      .describe(
        'The server holds the answer to responseSchema, in which each object must then forbid additionalProperties and require all of its own. Default: false, the model is told of it.',
      ),
  };
  if (model.reasoning)
    return z.strictObject({
      ...shared,
      reasoningEffort: z
        .enum(['none', 'minimal', 'low', 'medium', 'high', 'xhigh', 'max'])
        .optional()
        .describe("How long it thinks; what it thinks counts as tokens. Default: the model's own."),
    });
  return z.strictObject({
    ...shared,
    topP: z.number().min(0).max(1).optional().describe("Share of the likeliest tokens, 0 to 1. Default: the model's."),
    frequencyPenalty: z.number().min(-2).max(2).optional().describe('Against repeating words, -2 to 2. Default: 0.'),
    presencePenalty: z.number().min(-2).max(2).optional().describe('For new topics, -2 to 2. Default: 0.'),
    stop: z.array(z.string().min(1)).max(4).optional().describe('Ends the answer before one of these; at most 4.'),
  });
}

export const text: PayloadTransformer<
  Type['input'],
  Type['result'],
  ChatRequest<Kept>,
  ChatAnswer<Kept>,
  OpenAiConfig
> = {
  toProvider(input, id, { config }) {
    const model = findModel(id, config);
    const warnings: string[] = [];
    if (model.reasoning && input.temperature !== undefined)
      warnings.push(`temperature is not supported by ${id}, which reasons; it was left out`);
    const body = chatBody(model, config, {
      messages: messages(input.prompt, input.system),
      maxTokens: input.maxTokens ?? defaultMaxTokens,
      temperature: input.temperature,
      responseSchema: input.responseSchema,
      options: input.options ?? {},
    });
    return { request: { work: 'chat', body, kept: { json: input.responseSchema !== undefined } }, warnings };
  },
  fromProvider(answer) {
    const usage = usageOf(answer);
    checkAnswer(answer, usage);
    if (!answer.kept.json) return { outputs: [], result: { text: answer.text }, usage };
    return { outputs: [], result: { text: answer.text, json: parseJson(answer, usage) }, usage };
  },
};

/** As the chat API takes them. */
export const messages = (prompt: string, system: string | undefined) => [
  ...(system === undefined ? [] : [{ role: 'system', content: system }]),
  { role: 'user', content: prompt },
];

/** The body of a streamed chat completion. */
export function chatBody(
  model: Model,
  config: OpenAiConfig,
  asked: {
    messages: unknown[];
    maxTokens: number;
    temperature?: number;
    responseSchema?: unknown;
    options: Record<string, unknown>;
  },
): Record<string, unknown> {
  const { options, responseSchema } = asked;
  return defined({
    model: model.id,
    messages: asked.messages,
    stream: true,
    stream_options: config.streamUsage ? { include_usage: true } : undefined,
    // OpenAI's reasoning models know only the new name; other servers often only the old one.
    [isOpenAi(config) ? 'max_completion_tokens' : 'max_tokens']: asked.maxTokens,
    temperature: model.reasoning ? undefined : asked.temperature,
    top_p: options.topP,
    frequency_penalty: options.frequencyPenalty,
    presence_penalty: options.presencePenalty,
    stop: options.stop,
    reasoning_effort: options.reasoningEffort,
    response_format:
      responseSchema === undefined
        ? undefined
        : {
            type: 'json_schema',
            json_schema: { name: 'answer', schema: responseSchema, strict: options.strictSchema === true },
          },
  });
}

/**
 * An answer that can be given to a client.
 * @throws AdapterFailure content_policy for a refusal, NO_OUTPUT for an empty answer.
 */
export function checkAnswer(answer: ChatAnswer, billed: Usage[] | undefined): void {
  const fail = (className: 'content_policy' | 'permanent', code: string, message: string): never => {
    throw new AdapterFailure({ class: className, code, message, billed: billed ?? 'unknown' });
  };
  if (answer.finishReason === 'content_filter') fail('content_policy', 'CONTENT_POLICY', 'the content filter cut it');
  if (answer.refusal && !answer.text) fail('content_policy', 'CONTENT_POLICY', `the model refused: ${answer.refusal}`);
  if (answer.text) return;
  if (answer.finishReason === 'length')
    fail('permanent', 'NO_OUTPUT', 'maxTokens were used up before the answer began: a model that reasons needs more');
  fail('permanent', 'NO_OUTPUT', `the model answered nothing (${answer.finishReason})`);
}

function parseJson(answer: ChatAnswer, billed: Usage[] | undefined): any {
  try {
    return JSON.parse(answer.text);
  } catch (cause) {
    const cut = answer.finishReason === 'length';
    throw new AdapterFailure(
      {
        class: 'permanent',
        code: cut ? 'OUTPUT_TRUNCATED' : 'INVALID_OUTPUT',
        message: `the answer is no JSON${cut ? ': it was cut at maxTokens' : ''}`,
        publicMessage: cut ? 'The answer was cut at maxTokens and is no whole JSON.' : 'The answer is no JSON.',
        billed: billed ?? 'unknown',
      },
      { cause },
    );
  }
}

/** Some servers count nothing and say 0: beside a text that is not known, and not free. */
const usageOf = ({ tokens, text }: ChatAnswer): Usage[] | undefined =>
  tokens === undefined || (tokens === 0 && text) ? undefined : [{ unit: 'token', quantity: tokens }];

/** Without what is undefined; what is 0, false or empty stays. */
export const defined = (body: Record<string, unknown>): Record<string, unknown> =>
  Object.fromEntries(Object.entries(body).filter(([, value]) => value !== undefined));
