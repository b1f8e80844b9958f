import { type MappedModel, type ModelShape, refuseInput, z } from 'atelier/adapter';
import type { Config } from './config.ts';

const nothing: ModelShape = { fields: {}, covers: [] };

const steps = (most: number, usual: number) =>
  z.int().min(1).max(most).default(usual).describe(`Denoising steps, 1 to ${most}. Default: ${usual}.`);
const fluxOptions = {
  guidance_scale: z
    .number()
    .min(0)
    .max(20)
    .default(3.5)
    .describe('How closely the prompt is kept to, 0 to 20. Default: 3.5.'),
  acceleration: z
    .enum(['none', 'regular', 'high'])
    .default('none')
    .describe('Faster, at some cost of quality. Default: none.'),
  output_format: z.enum(['jpeg', 'png']).default('jpeg').describe('File format. Default: jpeg.'),
};

function fluxShape({ count }: { count: number }): ModelShape {
  if (count > 4) refuseInput('count', 'this model makes at most 4 images at once');
  return nothing;
}

const klingOptions = {
  negative_prompt: z
    .string()
    .max(2500)
    .default('blur, distort, and low quality')
    .describe('What the video must not show. Default: "blur, distort, and low quality".'),
  cfg_scale: z.number().min(0).max(1).default(0.5).describe('How closely the prompt is kept to, 0 to 1. Default: 0.5.'),
};
const klingSeconds = [5, 10];

function klingShape({ durationSeconds }: { durationSeconds: number }): ModelShape {
  const seconds = klingSeconds.find((each) => each >= durationSeconds) ?? 10;
  return {
    fields: { duration: String(seconds) },
    covers: ['durationSeconds'],
    warnings:
      seconds === durationSeconds
        ? []
        : [`this model makes 5 or 10 seconds: ${seconds} rather than ${durationSeconds}`],
    asked: { seconds },
  };
}

function klingTextShape(input: { durationSeconds: number; aspectRatio?: string }): ModelShape {
  const { aspectRatio = '16:9' } = input;
  const ratios = ['16:9', '9:16', '1:1'];
  if (!ratios.includes(aspectRatio)) refuseInput('aspectRatio', `must be one of ${ratios.join(', ')}`);
  const { fields, covers, ...rest } = klingShape(input);
  return { ...rest, fields: { ...fields, aspect_ratio: aspectRatio }, covers: [...covers, 'aspectRatio'] };
}

function needs(input: Record<string, unknown[] | undefined>, urls: string, assetIds: string): void {
  if (!input[urls]?.length && !input[assetIds]?.length) refuseInput(urls, 'this model needs an image');
}

/** MiniMax takes the voice and the file as objects of their own. */
function speechShape(input: { text: string; voice?: string; speed: number; options: any }): ModelShape {
  const { text, voice, speed, options } = input;
  if (text.length > 5000) refuseInput('text', 'this model takes at most 5,000 characters');
  if (speed < 0.5 || speed > 2) refuseInput('speed', 'this model speaks at 0.5 to 2');
  return {
    fields: { voice_setting: { ...options.voice_setting, speed, ...(voice !== undefined && { voice_id: voice }) } },
    covers: ['voice', 'speed'],
  };
}

const only = (operation: string) => (input: { operation: string }) => {
  if (input.operation !== operation) refuseInput('operation', `this model does ${operation} only`);
  return nothing;
};

/** What is known of models without being told; each from its page on fal.ai. The first of a task type is its default. */
export const known: MappedModel<Config>[] = [
  {
    id: 'fal-ai/flux/schnell',
    taskTypes: ['generate_image'],
    typicalMs: 2_000,
    options: z.strictObject({ num_inference_steps: steps(12, 4), ...fluxOptions }),
    fields: { prompt: 'prompt', image_size: 'size', num_images: 'count', seed: 'seed' },
    shape: fluxShape,
  },
  {
    id: 'fal-ai/flux/dev',
    taskTypes: ['generate_image'],
    typicalMs: 5_000,
    options: z.strictObject({ num_inference_steps: steps(50, 28), ...fluxOptions }),
    fields: { prompt: 'prompt', image_size: 'size', num_images: 'count', seed: 'seed' },
    shape: fluxShape,
  },
  {
    id: 'fal-ai/flux/dev/image-to-image',
    taskTypes: ['generate_image'],
    typicalMs: 6_000,
    options: z.strictObject({
      num_inference_steps: steps(50, 40),
      strength: z
        .number()
        .min(0)
        .max(1)
        .default(0.95)
        .describe('How little is left of the reference image, 0 to 1. Default: 0.95.'),
      ...fluxOptions,
    }),
    fields: { prompt: 'prompt', image_url: 'referenceImage', num_images: 'count', seed: 'seed' },
    shape(input) {
      needs(input, 'referenceImages', 'referenceAssetIds');
      return fluxShape(input);
    },
  },
  {
    id: 'fal-ai/kling-video/v2.5-turbo/pro/text-to-video',
    taskTypes: ['generate_video'],
    typicalMs: 120_000,
    options: z.strictObject(klingOptions),
    fields: { prompt: 'sceneDescription' },
    shape: klingTextShape,
  },
  {
    id: 'fal-ai/kling-video/v2.5-turbo/pro/image-to-video',
    taskTypes: ['generate_video'],
    typicalMs: 120_000,
    options: z.strictObject(klingOptions),
    fields: { prompt: 'sceneDescription', image_url: 'storyboardImage' },
    shape(input) {
      needs(input, 'storyboardImages', 'storyboardAssetIds');
      return klingShape(input);
    },
  },
  {
    id: 'fal-ai/minimax/speech-02-hd',
    taskTypes: ['generate_character_voice'],
    typicalMs: 5_000,
    options: z.strictObject({
      voice_setting: z
        .strictObject({
          emotion: z
            .enum(['happy', 'sad', 'angry', 'fearful', 'disgusted', 'surprised', 'neutral'])
            .optional()
            .describe("How it is said. Default: the model's choice."),
          pitch: z.int().min(-12).max(12).default(0).describe('Semitones, -12 to 12. Default: 0.'),
          vol: z.number().min(0).max(10).default(1).describe('Loudness, 0 to 10. Default: 1.'),
          english_normalization: z
            .boolean()
            .default(false)
            .describe('Reads English numbers better, a little later. Default: false.'),
        })
        .prefault({})
        .describe('The voice.'),
      audio_setting: z
        .strictObject({
          format: z.enum(['mp3', 'flac']).default('mp3').describe('File format. Default: mp3.'),
          sample_rate: z
            .enum(['8000', '16000', '22050', '24000', '32000', '44100'])
            .default('32000')
            .describe('Hertz. Default: 32000.'),
          bitrate: z
            .enum(['32000', '64000', '128000', '256000'])
            .default('128000')
            .describe('Bits a second of an mp3. Default: 128000.'),
          channel: z.enum(['1', '2']).default('1').describe('1 = mono, 2 = stereo. Default: 1.'),
        })
        .prefault({})
        .describe('The file.'),
      language_boost: z
        .string()
        .max(40)
        .default('auto')
        .describe('A language by its English name, or auto. Default: auto.'),
    }),
    fields: { text: 'text' },
    // Its default is the bytes in hexadecimal, inside the answer.
    set: { output_format: 'url' },
    shape: speechShape,
  },
  {
    id: 'fal-ai/ffmpeg-api/loudnorm',
    taskTypes: ['process_audio'],
    typicalMs: 5_000,
    options: z.strictObject({
      true_peak: z.number().min(-9).max(0).default(-1).describe('Highest true peak, dBTP, -9 to 0. Default: -1.'),
      loudness_range: z.number().min(1).max(50).default(7).describe('Loudness range, LU, 1 to 50. Default: 7.'),
    }),
    fields: { audio_url: 'source', integrated_loudness: 'targetLoudnessLufs' },
    shape: only('NORMALIZE'),
  },
  {
    id: 'fal-ai/ffmpeg-api/merge-audios',
    taskTypes: ['process_audio'],
    typicalMs: 5_000,
    options: z.strictObject({
      output_format: z
        .enum(['mp3_44100_128', 'mp3_44100_192', 'pcm_44100', 'pcm_48000', 'opus_48000_128', 'opus_48000_192'])
        .default('mp3_44100_192')
        .describe('Codec, sample rate in hertz and kilobits a second. Default: mp3_44100_192.'),
    }),
    fields: { audio_urls: 'sources' },
    shape: only('CONCATENATE'),
  },
];
