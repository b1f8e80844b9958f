import { defineTaskType, fields, z } from '../sdk/index.ts';

export const generateText = defineTaskType({
  name: 'generate_text',
  description: 'Writes a text, or JSON of a given schema, from a prompt.',
  lane: 'cpu_intensive',
  longestRunSeconds: 60,
  input: z.object({
    prompt: z.string().min(1).max(100_000).describe('1 to 100,000 characters.'),
    system: z
      .string()
      .max(100_000)
      .optional()
      .describe('Instructions that stand above the prompt; at most 100,000 characters.'),
    maxTokens: z
      .int()
      .min(1)
      .max(100_000)
      .optional()
      .describe('The longest answer in tokens, 1 to 100,000. Default: 1,024.'),
    temperature: z.number().min(0).max(2).optional().describe("0 to 2. Default: the model's own."),
    responseSchema: fields
      .json()
      .optional()
      .describe('A JSON Schema; the answer then also stands parsed in `result.json`.'),
    options: fields.options(),
  }),
  result: z.object({
    text: z.string().describe('The whole answer.'),
    json: fields.json().optional().describe('The answer parsed, when responseSchema was given.'),
  }),
  estimate: (input) => [{ unit: 'token', quantity: input.maxTokens ?? 1024 }],
  prices: [{ unit: 'token', creditsPerUnit: '0.01' }],
});
