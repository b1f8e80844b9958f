import { type PayloadTransformer, type TaskTypes, z } from 'atelier/adapter';

/** What `options` may hold: nothing. */
export const textOptions = z.strictObject({});

export interface TextRequest {
  work: 'text';
  prompt: string;
  /** The most words of the answer. */
  maxTokens: number;
  /** Null: plain text is asked for. */
  responseSchema: { schema: unknown } | null;
}

export interface TextAnswer {
  text: string;
  /** Present when a schema was given; its `value` is valid for it. */
  json?: { value: any };
  /** Words. */
  tokens: number;
}

type Type = TaskTypes['generate_text'];

export const text: PayloadTransformer<Type['input'], Type['result'], TextRequest, TextAnswer> = {
  toProvider(input) {
    const warnings: string[] = [];
    if (input.system) warnings.push('system is not followed by the local engine, which is no language model');
    if (input.temperature !== undefined)
      warnings.push('temperature is not supported by the local engine, whose text is always the same');
    return {
      request: {
        work: 'text',
        prompt: input.prompt,
        maxTokens: input.maxTokens ?? 1024,
        responseSchema: input.responseSchema === undefined ? null : { schema: input.responseSchema },
      },
      warnings,
    };
  },
  fromProvider: (answer) => ({
    outputs: [],
    result: answer.json ? { text: answer.text, json: answer.json.value } : { text: answer.text },
    usage: [{ unit: 'token', quantity: answer.tokens }],
  }),
};
