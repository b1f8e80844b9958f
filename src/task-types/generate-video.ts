import { defineTaskType, fields, z } from '../sdk/index.ts';

export const generateVideo = defineTaskType({
  name: 'generate_video',
  description: 'Makes a video from a description of a scene and, if given, storyboard images.',
  lane: 'gpu_heavy',
  longestRunSeconds: 15 * 60,
  input: z.object({
    sceneDescription: z.string().min(1).max(10_000).describe('What happens; 1 to 10,000 characters.'),
    storyboardImages: fields
      .urls(16)
      .optional()
      .describe('http(s) URLs of key frames in order; at most 16, together with storyboardAssetIds.'),
    storyboardAssetIds: fields
      .assetIds(16)
      .optional()
      .describe('Assets as key frames, after the URLs; at most 16 together.'),
    cameraAngle: z.string().max(200).optional().describe('As "low angle, slow dolly in"; at most 200 characters.'),
    lighting: z.string().max(200).optional().describe('As "golden hour"; at most 200 characters.'),
    durationSeconds: z.number().min(1).max(60).default(7).describe('Seconds, 1 to 60.'),
    aspectRatio: z
      .string()
      .regex(/^[1-9]\d?:[1-9]\d?$/, 'must be two whole numbers, as 16:9')
      .optional()
      .describe('As "16:9", "9:16", "1:1". Default: the provider\'s own.'),
    seed: fields
      .safeInt()
      .optional()
      .describe('The same seed and input give the same video where the model can. Default: chosen once per task.'),
    options: fields.options(),
  }),
  result: z.object({
    video: fields.asset().describe('The video file.'),
    durationSeconds: z.number().describe('Length of the video in seconds.'),
    seed: fields.safeInt().optional().describe('The seed that was used, where the model has one.'),
  }),
  files: [{ urls: 'storyboardImages', assetIds: 'storyboardAssetIds', kinds: ['IMAGE'], maxCount: 16 }],
  estimate: (input) => [{ unit: 'second', quantity: input.durationSeconds }],
  prices: [{ unit: 'second', creditsPerUnit: '10' }],
});
