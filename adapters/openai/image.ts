import { readFile } from 'node:fs/promises';
import { basename } from 'node:path';
import {
  type AdapterContext,
  type AssetReference,
  type FetchAnswer,
  type FetchOptions,
  NetworkFailure,
  type Observation,
  type Output,
  type PayloadTransformer,
  refuseInput,
  type TaskTypes,
  z,
} from 'atelier/adapter';
import { parseEvent } from './chat.ts';
import { call, isOpenAi, type OpenAiConfig } from './config.ts';
import { failureInside } from './failure.ts';
import { findModel, type Model } from './models.ts';
import { defined } from './text.ts';

export interface ImageRequest {
  work: 'image';
  body: Record<string, unknown>;
  /** The largest that the answer can be. */
  maxBytes: number;
  /** To go by. Paths on this machine when `start` gets them; none: the picture is made from words alone. */
  images: (AssetReference | string)[];
}

/** What is used of https://platform.openai.com/docs/api-reference/images/object */
export interface ImageAnswer {
  data: { b64_json?: string; url?: string }[];
}

type Type = TaskTypes['generate_image'];

const standardSizes = [
  [1024, 1024],
  [1536, 1024],
  [1024, 1536],
] as const;
/** Of the larger side to the smaller, and the largest picture that OpenAI makes. */
const limits = { ratio: 3, longSide: 3840, pixels: 3840 * 2160 };
/** Of an answer. It is parsed as one JSON text, which takes some times as much memory. */
const mostBytes = 256 * 1024 * 1024;
/** What stands in an answer beside its pictures. */
const spareBytes = 1024 * 1024;
const qualities = ['low', 'medium', 'high'] as const;

/** What `options` may hold: nothing that is dearer than the operator's limits. Other servers share none of them. */
export function imageOptions(model: Model, own: boolean, { limits }: Pick<OpenAiConfig, 'limits'>) {
  if (!own) return z.strictObject({});
  const background = ['auto', 'opaque', ...(model.transparent ? ['transparent'] : [])] as [string, ...string[]];
  const shared = {
    quality: z
      .enum(qualities.slice(0, qualities.indexOf(limits.quality) + 1))
      .default(limits.quality)
      .describe(`How fine it is. Default: ${limits.quality}, the best that is allowed here.`),
    background: z.enum(background).optional().describe('transparent needs format png or webp. Default: auto.'),
    format: z.enum(['png', 'jpeg', 'webp']).optional().describe('Default: png.'),
    compression: z
      .int()
      .min(0)
      .max(100)
      .optional()
      .describe('Quality of jpeg and webp, 0 to 100 percent. Default: 100.'),
    previews: z
      .int()
      .min(0)
      .max(limits.previews)
      .default(0)
      .describe(`Pictures shown while it is made, 0 to ${limits.previews}. Needs count 1. Default: 0.`),
  };
  if (!model.fidelity) return z.strictObject(shared);
  return z.strictObject({
    ...shared,
    inputFidelity: z
      .enum(limits.inputFidelity === 'low' ? ['low'] : ['low', 'high'])
      .optional()
      .describe('How closely reference images are kept to, faces above all. Default: low.'),
  });
}

export const image: PayloadTransformer<Type['input'], Type['result'], ImageRequest, ImageAnswer, OpenAiConfig> = {
  toProvider(input, id, { config, files }) {
    const model = findModel(id, config);
    const own = isOpenAi(config);
    const options = imageOptions(model, own, config).parse(input.options ?? {}) as Record<string, any>;
    const images = files.referenceImages ?? [];
    const warnings: string[] = [];
    if (input.negativePrompt) warnings.push(`negativePrompt is not supported by ${id}; say it in the prompt`);
    if (input.seed !== undefined) warnings.push(`seed is not supported by ${id}: each run gives another image`);
    const [width, height] = sizeFor(model, input.width, input.height);
    if (width !== input.width || height !== input.height)
      warnings.push(`${id} makes ${width}×${height}, not ${input.width}×${input.height}`);
    const megapixels = (width * height) / 1_000_000;
    if (megapixels > config.limits.megapixels)
      refuseInput(
        width >= height ? 'width' : 'height',
        `${width}×${height} is ${megapixels.toFixed(2)} megapixels; at most ${config.limits.megapixels} are made here`,
      );
    const pictures = input.count + (options.previews ?? 0);
    const bytes = answerBytes(width, height);
    if (pictures * bytes > mostBytes)
      refuseInput('count', `at most ${Math.floor(mostBytes / bytes)} of ${width}×${height} fit into one answer`);
    if (options.previews && input.count > 1) refuseInput('options.previews', 'needs count 1');
    if (options.inputFidelity && images.length === 0) refuseInput('options.inputFidelity', 'needs reference images');
    const body = defined({
      model: id,
      prompt: input.prompt,
      n: input.count,
      size: `${width}x${height}`,
      // GPT image models give base64 only, and refuse to be asked for it.
      response_format: own ? undefined : 'b64_json',
      quality: options.quality,
      background: options.background,
      output_format: options.format,
      output_compression: options.compression,
      moderation: own && images.length === 0 ? config.moderation : undefined,
      input_fidelity: options.inputFidelity,
      stream: options.previews ? true : undefined,
      partial_images: options.previews || undefined,
    });
    return { request: { work: 'image', body, maxBytes: pictures * bytes + spareBytes, images }, warnings };
  },
  fromProvider({ data }) {
    const outputs = data.flatMap(outputOf);
    return {
      outputs,
      result: { images: outputs.map((_, output) => ({ output })) },
      usage: [{ unit: 'image', quantity: outputs.length }],
    };
  },
};

function outputOf({ b64_json, url }: { b64_json?: string; url?: string }): Output[] {
  if (b64_json) return [{ kind: 'IMAGE', from: { bytes: Buffer.from(b64_json, 'base64') } }];
  return url ? [{ kind: 'IMAGE', from: { url } }] : [];
}

/** Of a picture at its largest: a PNG that nothing shrinks, four bytes a pixel and one a line, as base64. */
const answerBytes = (width: number, height: number): number => Math.ceil((height * (width * 4 + 1) * 4) / 3) + 65_536;

/**
 * The size that a model makes instead: of three the one that is nearest in shape, or the nearest that divides by 16.
 * @throws AdapterFailure invalid_input for a shape that it does not make.
 */
function sizeFor(model: Model, width: number, height: number): readonly [number, number] {
  if (model.sizes === 'standard') {
    const off = ([w, h]: readonly [number, number]) => Math.abs(Math.log(w / h / (width / height)));
    return standardSizes.reduce((best, size) => (off(size) < off(best) ? size : best));
  }
  if (model.sizes !== 'free') return [width, height];
  const [long, short] = [Math.max(width, height), Math.min(width, height)];
  if (long > short * limits.ratio || long > limits.longSide || long * short > limits.pixels)
    refuseInput(
      width >= height ? 'width' : 'height',
      `${model.id} makes at most 3840×2160, and no side more than three times the other`,
    );
  return [Math.round(width / 16) * 16, Math.round(height / 16) * 16];
}

/** @throws HttpFailure, or NetworkFailure when there is no whole answer. */
export async function makeImages(
  request: ImageRequest,
  context: AdapterContext<OpenAiConfig>,
): Promise<{ answer: ImageAnswer } | { observations: AsyncIterable<Observation<ImageAnswer>> }> {
  if (request.body.stream) return { observations: watchImage(request, context) };
  return { answer: await readImages(await ask(request, context)) };
}

/** @throws NetworkFailure when it is no list of images: a paid answer that cannot be read is lost. */
async function readImages(answer: FetchAnswer): Promise<ImageAnswer> {
  const list = await answer.json();
  if (Array.isArray(list?.data)) return { data: list.data };
  throw new NetworkFailure('images were asked for, and no list of them came', { sent: 'maybe' });
}

/** One picture and its previews, as they come. https://platform.openai.com/docs/api-reference/images-streaming */
async function* watchImage(
  request: ImageRequest,
  context: AdapterContext<OpenAiConfig>,
): AsyncGenerator<Observation<ImageAnswer>> {
  const answer = await ask(request, context);
  if (/json|html/.test(answer.headers.get('content-type') ?? ''))
    return yield { state: 'succeeded', answer: await readImages(answer) };
  const data: { b64_json: string }[] = [];
  const asked = Number(request.body.partial_images);
  for await (const message of answer.events()) {
    if (message.data === '[DONE]') break;
    const event = parseEvent(message.data);
    if (event.error) return yield { state: 'failed', failure: failureInside(event.error) };
    if (typeof event.b64_json !== 'string') continue;
    const from = { bytes: Buffer.from(event.b64_json, 'base64') };
    if (/\.partial_image$/.test(event.type))
      yield {
        state: 'running',
        progress: (Number(event.partial_image_index ?? 0) + 1) / (asked + 1),
        partial: { kind: 'IMAGE', from },
      };
    else if (/\.completed$/.test(event.type)) data.push({ b64_json: event.b64_json });
  }
  if (data.length === 0) throw new NetworkFailure('the stream ended before the image came', { sent: 'maybe' });
  yield { state: 'succeeded', answer: { data } };
}

async function ask({ body, images, maxBytes }: ImageRequest, context: AdapterContext<OpenAiConfig>) {
  const paths = images as string[];
  const options: FetchOptions = paths.length > 0 ? { body: await formOf(body, paths) } : { json: body };
  return call(context, paths.length > 0 ? '/images/edits' : '/images/generations', { ...options, maxBytes });
}

async function formOf(body: Record<string, unknown>, paths: string[]): Promise<FormData> {
  const form = new FormData();
  for (const [name, value] of Object.entries(body)) form.append(name, String(value));
  for (const path of paths) {
    const type = `image/${basename(path).split('.').at(-1)!.replace('jpg', 'jpeg')}`;
    form.append('image[]', new Blob([await readFile(path)], { type }), basename(path));
  }
  return form;
}
