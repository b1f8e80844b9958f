import { AdapterFailure, type PayloadTransformer, type TaskTypes, z } from 'atelier/adapter';

/** What `options` may hold. Strict, and each described with its default and unit: clients see it in `providers`. */
export const exampleOptions = z.strictObject({
  grain: z.number().min(0).max(1).default(0.2).describe('How rough the colour is, 0 (flat) to 1. Default: 0.2.'),
});

/** The body of POST /v1/jobs. */
export interface ExampleRequest {
  prompt: string;
  width: number;
  height: number;
  count: number;
  seed?: number;
  grain: number;
}

/** What the vendor says of a job. Anything may be missing: its answers are read leniently. */
export interface Job {
  id?: string;
  status?: string;
  position?: number;
  progress?: number;
  /** PNG files. */
  images?: { base64?: string | null }[] | null;
  seed?: number;
  error?: { code?: string; message?: string };
}

type Type = TaskTypes['generate_image'];

/** PURE, both ways: no clock, no network, no chance, no secrets. The same functions serve the worker, the quote and the tests. */
export const image: PayloadTransformer<Type['input'], Type['result'], ExampleRequest, Job> = {
  toProvider(input) {
    const { grain } = exampleOptions.parse(input.options ?? {});
    const warnings: string[] = [];
    if (input.negativePrompt) warnings.push('negativePrompt is not supported by this model and was left out');
    if (input.referenceImages?.length || input.referenceAssetIds?.length)
      warnings.push('reference images are not supported by this model and were left out');
    const { prompt, width, height, count, seed } = input;
    // seed 0 is a seed: it is left out only when it is undefined.
    return { request: { prompt, width, height, count, seed, grain }, warnings };
  },
  fromProvider(job) {
    const files = (job.images ?? []).flatMap(({ base64 }) => base64 || []);
    if (files.length === 0)
      throw new AdapterFailure({ class: 'permanent', code: 'NO_OUTPUT', message: 'the job is done without an image' });
    return {
      outputs: files.map((base64) => ({
        kind: 'IMAGE',
        contentType: 'image/png',
        from: { bytes: Buffer.from(base64, 'base64') },
      })),
      result: { images: files.map((_, output) => ({ output })), seed: job.seed },
      usage: [{ unit: 'image', quantity: files.length }],
    };
  },
};
