import {
  AdapterFailure,
  type AssetReference,
  type PayloadTransformer,
  type TaskTypes,
  type Usage,
} from 'atelier/adapter';
import { type Config, modelConfigOf } from './config.ts';

/** A call of a model, before the options are put under the provider's own name. */
export interface SdkRequest {
  taskType: 'generate_image' | 'generate_character_voice' | 'generate_text' | 'generate_video';
  call: Record<string, any>;
  options: Record<string, unknown>;
  /** Data URIs, once Atelier has put them in place. */
  images: (AssetReference | string)[];
  /** What the result says and the answer does not. */
  told: Told;
}

export interface Told {
  seed?: number;
  durationSeconds?: number;
  characters?: number;
  isJson?: boolean;
}

export interface SdkAnswer extends Told {
  files?: ({ bytes: Uint8Array; contentType?: string } | { url: string; contentType?: string })[];
  text?: string;
  finishReason?: string;
  tokens?: number;
}

type Transformer<Name extends keyof TaskTypes> = PayloadTransformer<
  TaskTypes[Name]['input'],
  TaskTypes[Name]['result'],
  SdkRequest,
  SdkAnswer,
  Config
>;

export const image: Transformer<'generate_image'> = {
  toProvider(input, model, { config, files }) {
    const { fixed, shape } = modelConfigOf(config, model);
    const size = `${input.width}x${input.height}`;
    return {
      request: {
        taskType: 'generate_image',
        call: {
          prompt: input.prompt,
          n: input.count,
          size: shape === 'size' ? size : undefined,
          aspectRatio: shape === 'size' ? undefined : ratioOf(input.width, input.height),
          seed: input.seed,
        },
        options: { ...input.options, ...fixed },
        images: files.referenceImages ?? [],
        told: { seed: input.seed },
      },
      warnings: input.negativePrompt ? ['negativePrompt is not known to the AI SDK and was left out'] : [],
    };
  },
  fromProvider({ files = [], seed }) {
    return {
      outputs: files.map(({ contentType, ...from }) => ({ kind: 'IMAGE', contentType, from })),
      result: { images: files.map((_, output) => ({ output })), seed },
      usage: [{ unit: 'image', quantity: files.length }],
    };
  },
};

export const voice: Transformer<'generate_character_voice'> = {
  toProvider(input, model, { config }) {
    return {
      request: {
        taskType: 'generate_character_voice',
        call: {
          text: input.text,
          voice: input.voice,
          language: input.language,
          // 1 is every model's own; said aloud, those that know no speed complain of it.
          speed: input.speed === 1 ? undefined : input.speed,
        },
        options: { ...input.options, ...modelConfigOf(config, model).fixed },
        images: [],
        told: { characters: [...input.text].length },
      },
      warnings: [],
    };
  },
  fromProvider({ files = [], characters = 0 }) {
    return {
      outputs: files.map(({ contentType, ...from }) => ({ kind: 'AUDIO', contentType, from })),
      result: { audio: { output: 0 } },
      usage: [{ unit: 'character', quantity: characters }],
    };
  },
};

/** What the input leaves open. Documented by the task type. */
const defaultMaxTokens = 1024;

export const text: Transformer<'generate_text'> = {
  toProvider(input, model, { config }) {
    const isJson = input.responseSchema !== undefined;
    return {
      request: {
        taskType: 'generate_text',
        call: {
          prompt: [
            ...(input.system === undefined ? [] : [{ role: 'system', content: input.system }]),
            { role: 'user', content: [{ type: 'text', text: input.prompt }] },
          ],
          maxOutputTokens: input.maxTokens ?? defaultMaxTokens,
          temperature: input.temperature,
          responseFormat: isJson ? { type: 'json', schema: input.responseSchema } : undefined,
        },
        options: { ...input.options, ...modelConfigOf(config, model).fixed },
        images: [],
        told: { isJson },
      },
      warnings: [],
    };
  },
  fromProvider({ text = '', finishReason, tokens, isJson }) {
    // 0 beside a text is a server that does not count, and no gift.
    const isUnknown = tokens === undefined || (tokens === 0 && text !== '');
    const usage: Usage[] | undefined = isUnknown ? undefined : [{ unit: 'token', quantity: tokens }];
    if (finishReason === 'content-filter')
      throw new AdapterFailure({
        class: 'content_policy',
        code: 'CONTENT_POLICY',
        message: 'the model was stopped by a filter',
        billed: usage,
      });
    if (text === '')
      throw new AdapterFailure({
        class: 'permanent',
        code: 'NO_OUTPUT',
        message: `the model wrote nothing (${finishReason})`,
        billed: usage,
      });
    return { outputs: [], result: isJson ? { text, json: parse(text, finishReason, usage) } : { text }, usage };
  },
};

export const video: Transformer<'generate_video'> = {
  toProvider(input, model, { config, files }) {
    return {
      request: {
        taskType: 'generate_video',
        call: {
          prompt: [input.sceneDescription, input.cameraAngle, input.lighting].filter(Boolean).join(', '),
          n: 1,
          aspectRatio: input.aspectRatio,
          duration: input.durationSeconds,
          seed: input.seed,
        },
        options: { ...input.options, ...modelConfigOf(config, model).fixed },
        images: (files.storyboardImages ?? []).slice(0, 1),
        told: { seed: input.seed, durationSeconds: input.durationSeconds },
      },
      warnings:
        (files.storyboardImages ?? []).length > 1
          ? ['storyboardImages: the AI SDK takes one picture to begin with; the others were left out']
          : [],
    };
  },
  fromProvider({ files = [], seed, durationSeconds }) {
    return {
      outputs: files.slice(0, 1).map(({ contentType, ...from }) => ({ kind: 'VIDEO', contentType, from })),
      result: { video: { output: 0 }, durationSeconds, seed },
      usage: durationSeconds === undefined ? undefined : [{ unit: 'second', quantity: durationSeconds }],
    };
  },
};

function parse(text: string, finishReason: string | undefined, billed: Usage[] | undefined): any {
  try {
    return JSON.parse(text);
  } catch (cause) {
    const cut = finishReason === 'length';
    throw new AdapterFailure(
      {
        class: 'permanent',
        code: cut ? 'OUTPUT_TRUNCATED' : 'INVALID_OUTPUT',
        message: `the answer is no JSON${cut ? ': it was cut at maxTokens' : ''}`,
        publicMessage: cut ? 'The answer was cut at maxTokens and is no whole JSON.' : 'The answer is no JSON.',
        billed,
      },
      { cause },
    );
  }
}

function ratioOf(width: number, height: number): string {
  let [divisor, rest] = [width, height];
  while (rest > 0) [divisor, rest] = [rest, divisor % rest];
  return `${width / divisor}:${height / divisor}`;
}
