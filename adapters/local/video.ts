import { type PayloadTransformer, type TaskTypes, z } from 'atelier/adapter';
import { type Camera, cameraFrom, type Light, lightsFrom } from './direction.ts';
import { type InputFile, inputFiles } from './input-file.ts';

const heights = { '360p': 360, '540p': 540, '720p': 720 };

/** What `options` may hold. */
export const videoOptions = z.strictObject({
  resolution: z
    .enum(['360p', '540p', '720p'])
    .default('540p')
    .describe('The size at 16:9; other shapes have as many pixels. Default: 540p.'),
  framesPerSecond: z.int().min(12).max(60).default(24).describe('12 to 60. Default: 24.'),
});

export interface VideoRequest {
  work: 'video';
  sceneDescription: string;
  seed: number;
  storyboard: InputFile[];
  width: number;
  height: number;
  framesPerSecond: number;
  durationSeconds: number;
  /** Null: a gentle move that changes with each picture. */
  camera: Partial<Camera> | null;
  lights: Light[];
}

export interface FilmAnswer {
  /** Absolute path of an MP4 file. */
  file: string;
  durationSeconds: number;
  seed: number;
}

type Type = TaskTypes['generate_video'];

export const video: PayloadTransformer<Type['input'], Type['result'], VideoRequest, FilmAnswer> = {
  toProvider(input, _model, { files }) {
    const { resolution, framesPerSecond } = videoOptions.parse(input.options ?? {});
    const warnings: string[] = [];
    const camera = input.cameraAngle ? cameraFrom(input.cameraAngle) : null;
    const lights = input.lighting ? lightsFrom(input.lighting) : [];
    if (input.cameraAngle && !camera)
      warnings.push(
        `cameraAngle "${input.cameraAngle}" holds no word that the local engine knows; it moves gently instead`,
      );
    if (input.lighting && lights.length === 0)
      warnings.push(`lighting "${input.lighting}" holds no word that the local engine knows and was left out`);
    const size = sizeFor(input.aspectRatio ?? '16:9', heights[resolution]);
    if (size.clamped)
      warnings.push(
        `aspectRatio ${input.aspectRatio} is beyond what the local engine draws; the video is ${size.width} × ${size.height}`,
      );
    return {
      request: {
        work: 'video',
        sceneDescription: input.sceneDescription,
        seed: input.seed ?? 0,
        storyboard: inputFiles(
          files.storyboardImages ?? [],
          'storyboardImages',
          input.storyboardImages?.length ?? 0,
          'storyboardAssetIds',
        ),
        width: size.width,
        height: size.height,
        framesPerSecond,
        durationSeconds: input.durationSeconds,
        camera,
        lights,
      },
      warnings,
    };
  },
  fromProvider: ({ file, durationSeconds, seed }) => ({
    outputs: [{ kind: 'VIDEO', contentType: 'video/mp4', from: { file } }],
    result: { video: { output: 0 }, durationSeconds, seed },
    usage: [{ unit: 'second', quantity: durationSeconds }],
  }),
};

/** Even sides in the ratio, with about the pixels that 16:9 has at `height`. */
function sizeFor(aspectRatio: string, height: number): { width: number; height: number; clamped: boolean } {
  const [across, down] = aspectRatio.split(':').map(Number) as [number, number];
  const area = height * height * (16 / 9);
  const side = (length: number) => 2 * Math.round(Math.min(1920, Math.max(128, length)) / 2);
  const [wide, tall] = [Math.sqrt((area * across) / down), Math.sqrt((area * down) / across)];
  return { width: side(wide), height: side(tall), clamped: Math.max(wide, tall) > 1920 || Math.min(wide, tall) < 128 };
}
