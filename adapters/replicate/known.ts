import { type MappedModel, type ModelShape, refuseInput, z } from 'atelier/adapter';
import type { Config } from './config.ts';
import { nearestRatio } from './ratio.ts';

const fluxOptions = {
  output_format: z.enum(['webp', 'jpg', 'png']).default('webp').describe('File format. Default: webp.'),
  output_quality: z.int().min(0).max(100).default(80).describe('0 to 100, not for png. Default: 80.'),
  go_fast: z
    .boolean()
    .default(true)
    .describe('A faster, quantized model, which gives another image each time for the same seed. Default: true.'),
  megapixels: z.enum(['1', '0.25']).default('1').describe('About how many megapixels an image has. Default: 1.'),
};
/** @see https://github.com/replicate/cog-flux/blob/main/predict.py */
const fluxSizes: Record<string, [number, number]> = {
  '1:1': [1024, 1024],
  '16:9': [1344, 768],
  '21:9': [1536, 640],
  '3:2': [1216, 832],
  '2:3': [832, 1216],
  '4:5': [896, 1088],
  '5:4': [1088, 896],
  '9:16': [768, 1344],
  '9:21': [640, 1536],
};

/** Flux knows shapes, not sizes, and makes four images at most. */
function fluxShape({ width, height, count }: { width: number; height: number; count: number }): ModelShape {
  if (count > 4) refuseInput('count', 'this model makes at most 4 images at once');
  const ratio = nearestRatio(Object.keys(fluxSizes), width, height);
  const [across, down] = fluxSizes[ratio]!;
  const exact = across === width && down === height;
  return {
    fields: { aspect_ratio: ratio },
    covers: ['width', 'height'],
    warnings: exact
      ? []
      : [`this model has no ${width} × ${height}: the image has the shape ${ratio}, as ${across} × ${down}`],
  };
}

const klingSeconds = [5, 10];

function klingShape({ durationSeconds, aspectRatio }: { durationSeconds: number; aspectRatio?: string }): ModelShape {
  const ratios = ['16:9', '9:16', '1:1'];
  if (aspectRatio !== undefined && !ratios.includes(aspectRatio))
    refuseInput('aspectRatio', `must be one of ${ratios.join(', ')}`);
  const seconds = klingSeconds.find((each) => each >= durationSeconds) ?? 10;
  return {
    fields: { duration: seconds, ...(aspectRatio !== undefined && { aspect_ratio: aspectRatio }) },
    covers: ['durationSeconds', 'aspectRatio'],
    warnings:
      seconds === durationSeconds
        ? []
        : [`this model makes 5 or 10 seconds: ${seconds} rather than ${durationSeconds}`],
    asked: { seconds },
  };
}

const wanFrames = { fewest: 81, most: 100 };

/** Wan makes 81 to 100 frames, at the client's rate. */
function wanShape(
  input: {
    durationSeconds: number;
    aspectRatio?: string;
    options: { frames_per_second: number; resolution: '480p' | '720p' };
  },
  { maxResolution }: Config,
): ModelShape {
  const { durationSeconds, aspectRatio, options } = input;
  if (options.resolution === '720p' && maxResolution === '480p')
    refuseInput('options.resolution', 'at most 480p is allowed here');
  if (aspectRatio !== undefined && aspectRatio !== '16:9' && aspectRatio !== '9:16')
    refuseInput('aspectRatio', 'must be 16:9 or 9:16');
  const rate = options.frames_per_second;
  const frames = Math.min(Math.max(Math.round(durationSeconds * rate), wanFrames.fewest), wanFrames.most);
  const seconds = frames / rate;
  const near = Math.abs(seconds - durationSeconds) <= 0.1;
  return {
    fields: { num_frames: frames, ...(aspectRatio !== undefined && { aspect_ratio: aspectRatio }) },
    covers: ['durationSeconds', 'aspectRatio'],
    warnings: near
      ? []
      : [`this model makes ${frames} frames, at ${rate} a second ${seconds} seconds rather than ${durationSeconds}`],
    asked: { seconds },
  };
}

/** What is known of models without being told; each from its page on replicate.com. The first of a task type is its default. */
export const known: MappedModel<Config>[] = [
  {
    id: 'black-forest-labs/flux-schnell',
    taskTypes: ['generate_image'],
    typicalMs: 2_000,
    options: z.strictObject({
      num_inference_steps: z.int().min(1).max(4).default(4).describe('Denoising steps, 1 to 4. Default: 4.'),
      ...fluxOptions,
    }),
    fields: { prompt: 'prompt', num_outputs: 'count', seed: 'seed' },
    shape: fluxShape,
  },
  {
    id: 'black-forest-labs/flux-dev',
    taskTypes: ['generate_image'],
    typicalMs: 6_000,
    options: z.strictObject({
      num_inference_steps: z.int().min(1).max(50).default(28).describe('Denoising steps, 1 to 50. Default: 28.'),
      guidance: z
        .number()
        .min(0)
        .max(10)
        .default(3)
        .describe('How closely the prompt is kept to, 0 to 10. Default: 3.'),
      prompt_strength: z
        .number()
        .min(0)
        .max(1)
        .default(0.8)
        .describe('With a reference image: how little is left of it, 0 to 1. Default: 0.8.'),
      ...fluxOptions,
    }),
    fields: { prompt: 'prompt', num_outputs: 'count', seed: 'seed', image: 'referenceImage' },
    shape: fluxShape,
  },
  {
    id: 'wan-video/wan-2.2-t2v-fast',
    taskTypes: ['generate_video'],
    typicalMs: 30_000,
    options: z.strictObject({
      resolution: z.enum(['480p', '720p']).default('480p').describe('480p is 832 × 480 at 16:9. Default: 480p.'),
      frames_per_second: z.int().min(5).max(24).default(16).describe('5 to 24. Default: 16.'),
      go_fast: z.boolean().default(true).describe('Faster, at some cost of quality. Default: true.'),
      sample_shift: z
        .number()
        .min(1)
        .max(20)
        .default(12)
        .describe('Shift of the sampling schedule, 1 to 20. Default: 12.'),
    }),
    fields: { prompt: 'sceneDescription', seed: 'seed' },
    shape: wanShape,
  },
  {
    id: 'kwaivgi/kling-v2.5-turbo-pro',
    taskTypes: ['generate_video'],
    typicalMs: 120_000,
    options: z.strictObject({
      negative_prompt: z.string().max(2500).optional().describe('What the video must not show. Default: nothing.'),
    }),
    fields: { prompt: 'sceneDescription', start_image: 'storyboardImage' },
    shape: klingShape,
  },
  {
    id: 'minimax/speech-02-turbo',
    taskTypes: ['generate_character_voice'],
    typicalMs: 4_000,
    options: z.strictObject({
      emotion: z
        .enum(['auto', 'happy', 'sad', 'angry', 'fearful', 'disgusted', 'surprised', 'calm', 'fluent', 'neutral'])
        .default('auto')
        .describe('How it is said. Default: auto.'),
      pitch: z.int().min(-12).max(12).default(0).describe('Semitones, -12 to 12. Default: 0.'),
      volume: z.number().min(0).max(10).default(1).describe('Loudness, 0 to 10. Default: 1.'),
      audio_format: z.enum(['mp3', 'wav', 'flac']).default('mp3').describe('File format. Default: mp3.'),
      sample_rate: z
        .literal([8000, 16000, 22050, 24000, 32000, 44100])
        .default(32000)
        .describe('Hertz. Default: 32000.'),
      bitrate: z
        .literal([32000, 64000, 128000, 256000])
        .default(128000)
        .describe('Bits a second of an mp3. Default: 128000.'),
      channel: z.enum(['mono', 'stereo']).default('mono').describe('Default: mono.'),
      language_boost: z
        .string()
        .max(40)
        .default('None')
        .describe('A language by its English name, or Automatic. Default: None.'),
      english_normalization: z
        .boolean()
        .default(false)
        .describe('Reads English numbers better, a little later. Default: false.'),
    }),
    fields: { text: 'text', voice_id: 'voice' },
    shape: ({ speed }) => {
      if (speed < 0.5 || speed > 2) refuseInput('speed', 'this model speaks at 0.5 to 2');
      return { fields: { speed }, covers: ['speed'] };
    },
  },
  {
    id: 'meta/meta-llama-3-8b-instruct',
    taskTypes: ['generate_text'],
    typicalMs: 3_000,
    options: z.strictObject({
      top_p: z.number().min(0).max(1).default(0.95).describe('Nucleus sampling, 0 to 1. Default: 0.95.'),
      top_k: z.int().min(0).default(0).describe('Only the likeliest so many tokens; 0 = all. Default: 0.'),
      presence_penalty: z.number().default(0).describe('Default: 0.'),
      frequency_penalty: z.number().default(0).describe('Default: 0.'),
    }),
    fields: { prompt: 'prompt', system_prompt: 'system', max_tokens: 'maxTokens', temperature: 'temperature' },
    // The quote goes by it: without one, the model's own limit would be another.
    set: { max_tokens: 1024 },
    shape: ({ responseSchema }) => {
      if (responseSchema !== undefined) refuseInput('responseSchema', 'this model cannot be held to a schema');
      return { fields: {}, covers: [] };
    },
  },
];
