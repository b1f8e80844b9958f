import { defineTaskType, fields, z } from '../sdk/index.ts';

export const testPrompt = defineTaskType({
  name: 'test_prompt',
  description: 'Fills a prompt template, runs it and judges the answer against expectations.',
  lane: 'cpu_intensive',
  longestRunSeconds: 60,
  input: z.object({
    template: z.string().min(1).max(100_000).describe('A prompt with {{variables}}; 1 to 100,000 characters.'),
    variables: fields.json().optional().describe('An object: the value of each variable.'),
    system: z
      .string()
      .max(100_000)
      .optional()
      .describe('Instructions that stand above the prompt; at most 100,000 characters.'),
    expectations: z
      .array(z.string().min(1).max(1_000))
      .max(50)
      .optional()
      .describe(
        'What the answer must hold, each judged on its own; at most 50 of 1,000 characters. `/…/flags` is a regular expression, `!` before one negates it, anything else must occur, ignoring case.',
      ),
    options: fields.options(),
  }),
  result: z.object({
    rendered: z.string().describe('The template with its variables filled in; a missing one stays as it was written.'),
    text: z.string().describe('The whole answer.'),
    passed: z.boolean().describe('True when no variable was missing and every expectation passed.'),
    missingVariables: z.array(z.string()).describe('Names that the template uses and `variables` lacks.'),
    expectations: z
      .array(
        fields.object('ExpectationResult', {
          expectation: z.string().describe('As it was given.'),
          passed: z.boolean().describe('Whether the answer meets it.'),
        }),
      )
      .describe('One for each expectation, in their order.'),
  }),
  check: (input) =>
    input.variables !== undefined &&
    (typeof input.variables !== 'object' || input.variables === null || Array.isArray(input.variables))
      ? [{ path: ['variables'], message: 'must be a JSON object, as {"name": "Ada"}' }]
      : [],
  estimate: () => [{ unit: 'run', quantity: 1 }],
  prices: [{ unit: 'run', creditsPerUnit: '1' }],
});
