import { defineTaskType, fields, z } from '../sdk/index.ts';

export const generateCharacterVoice = defineTaskType({
  name: 'generate_character_voice',
  description: 'Speaks a text with the voice of a character.',
  lane: 'cpu_intensive',
  longestRunSeconds: 2 * 60,
  input: z.object({
    text: z.string().min(1).max(10_000).describe('What is said; 1 to 10,000 characters.'),
    voice: z.string().max(200).optional().describe("The provider's name of a voice. Default: the provider's own."),
    language: z
      .string()
      .max(35)
      .regex(/^[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8})*$/, 'must be a BCP 47 tag, as en or pt-BR')
      .optional()
      .describe('BCP 47 tag, as "en" or "pt-BR". Default: the voice\'s own.'),
    speed: z.number().min(0.25).max(4).default(1).describe('1 is natural; 0.25 to 4.'),
    options: fields.options(),
  }),
  result: z.object({
    audio: fields.asset().describe('The recording.'),
    durationSeconds: z.number().describe('Length of the recording in seconds.'),
  }),
  estimate: (input) => [{ unit: 'character', quantity: [...input.text].length }],
  prices: [{ unit: 'character', creditsPerUnit: '0.02' }],
});
