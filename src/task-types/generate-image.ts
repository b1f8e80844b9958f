import { defineTaskType, fields, z } from '../sdk/index.ts';

export const generateImage = defineTaskType({
  name: 'generate_image',
  description: 'Makes one or more still images from a text prompt.',
  lane: 'gpu_medium',
  longestRunSeconds: 5 * 60,
  input: z.object({
    prompt: z.string().min(1).max(10_000).describe('What the image shows; 1 to 10,000 characters.'),
    negativePrompt: z.string().max(10_000).optional().describe('What it must not show; at most 10,000 characters.'),
    width: z.int().min(64).max(4096).default(1024).describe('Pixels, 64 to 4096.'),
    height: z.int().min(64).max(4096).default(1024).describe('Pixels, 64 to 4096.'),
    count: z.int().min(1).max(8).default(1).describe('How many images, 1 to 8.'),
    seed: fields
      .safeInt()
      .optional()
      .describe('The same seed and input give the same image where the model can. Default: chosen once per task.'),
    referenceImages: fields
      .urls(8)
      .optional()
      .describe('http(s) URLs of images to go by; at most 8, together with referenceAssetIds.'),
    referenceAssetIds: fields
      .assetIds(8)
      .optional()
      .describe('Assets to go by; at most 8, together with referenceImages.'),
    options: fields.options(),
  }),
  result: z.object({
    images: z.array(fields.asset()).describe('As many as `count` asked for.'),
    seed: fields.safeInt().optional().describe('The seed that was used, where the model has one.'),
  }),
  files: [{ urls: 'referenceImages', assetIds: 'referenceAssetIds', kinds: ['IMAGE'], maxCount: 8 }],
  estimate: (input) => [{ unit: 'image', quantity: input.count }],
  prices: [{ unit: 'image', creditsPerUnit: '4' }],
});
