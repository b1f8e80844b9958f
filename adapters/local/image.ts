import { type PayloadTransformer, type TaskTypes, z } from 'atelier/adapter';
import { type InputFile, inputFiles } from './input-file.ts';

/** What `options` may hold. */
export const imageOptions = z.strictObject({
  caption: z.boolean().default(true).describe('Write the prompt over the lower edge. Default: true.'),
  referenceStrength: z
    .number()
    .min(0)
    .max(1)
    .default(0.5)
    .describe('How far reference images show through, 0 to 1. Default: 0.5.'),
});

export interface ImageRequest extends z.output<typeof imageOptions> {
  work: 'image';
  prompt: string;
  seed: number;
  width: number;
  height: number;
  count: number;
  references: InputFile[];
}

export interface ImageAnswer {
  /** Absolute paths of PNG files. */
  files: string[];
  seed: number;
}

type Type = TaskTypes['generate_image'];

export const image: PayloadTransformer<Type['input'], Type['result'], ImageRequest, ImageAnswer> = {
  toProvider: (input, _model, { files }) => ({
    request: {
      work: 'image',
      prompt: input.prompt,
      seed: input.seed ?? 0,
      width: input.width,
      height: input.height,
      count: input.count,
      references: inputFiles(
        files.referenceImages ?? [],
        'referenceImages',
        input.referenceImages?.length ?? 0,
        'referenceAssetIds',
      ),
      ...imageOptions.parse(input.options ?? {}),
    },
    warnings: input.negativePrompt ? ['negativePrompt is not supported by the local engine and was left out'] : [],
  }),
  fromProvider: ({ files, seed }) => ({
    outputs: files.map((file) => ({ kind: 'IMAGE', contentType: 'image/png', from: { file } })),
    result: { images: files.map((_, output) => ({ output })), seed },
    usage: [{ unit: 'image', quantity: files.length }],
  }),
};
