import { defineTaskType, fields, z } from '../sdk/index.ts';

export const renderAnimation = defineTaskType({
  name: 'render_animation',
  description: 'Renders an animation to a video, from an SVG, a Lottie document or a description.',
  lane: 'gpu_heavy',
  longestRunSeconds: 15 * 60,
  input: z.object({
    description: z.string().min(1).max(10_000).describe('What moves and how; 1 to 10,000 characters.'),
    svg: z
      .string()
      .max(1_000_000)
      .optional()
      .describe('An SVG document to animate; at most 1,000,000 characters. Not together with lottie.'),
    lottie: fields.json().optional().describe('A Lottie document. Not together with svg.'),
    durationSeconds: z.number().min(1).max(60).default(3).describe('Seconds, 1 to 60.'),
    framesPerSecond: z.int().min(1).max(60).default(24).describe('1 to 60.'),
    width: z.int().min(64).max(4096).default(640).describe('Pixels, 64 to 4096.'),
    height: z.int().min(64).max(4096).default(360).describe('Pixels, 64 to 4096.'),
    seed: fields
      .safeInt()
      .optional()
      .describe('The same seed and input give the same animation where the model can. Default: chosen once per task.'),
    options: fields.options(),
  }),
  result: z.object({
    video: fields.asset().describe('The animation as a video file.'),
    durationSeconds: z.number().describe('Length of the video in seconds.'),
    seed: fields.safeInt().optional().describe('The seed that was used, where the model has one.'),
  }),
  check: (input) =>
    input.svg !== undefined && input.lottie !== undefined
      ? [{ path: ['lottie'], message: 'give svg or lottie, not both' }]
      : [],
  estimate: (input) => [{ unit: 'second', quantity: input.durationSeconds }],
  prices: [{ unit: 'second', creditsPerUnit: '2' }],
});
