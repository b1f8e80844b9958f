import {
  AdapterFailure,
  type Asked,
  type AssetKind,
  askedOf,
  type Output,
  type PayloadTransformer,
  type TaskTypes,
} from 'atelier/adapter';
import type { Config } from './config.ts';
import { fill, modelOf } from './models.ts';
import { type Answer, type Prediction, urlsIn } from './prediction.ts';

/** What `start` sends. */
export interface Request {
  model: string;
  input: Record<string, unknown>;
  asked: Asked;
}

type Transformer<Type extends keyof TaskTypes> = PayloadTransformer<
  TaskTypes[Type]['input'],
  TaskTypes[Type]['result'],
  Request,
  Answer,
  Config
>;

const toProvider: Transformer<any>['toProvider'] = (input, id, { config, files }) => {
  const { fields, warnings, asked } = fill(modelOf(config, id), input, files, config);
  return { request: { model: id, input: fields, asked }, warnings };
};

function outputsOf({ output, data_removed, id }: Prediction, kind: AssetKind): Output[] {
  // It is gone an hour after the prediction ended, and does not come back.
  if (data_removed)
    throw new AdapterFailure({
      class: 'permanent',
      code: 'OUTPUT_GONE',
      message: `Replicate has removed the output of prediction ${id}`,
      billed: 'unknown',
    });
  return urlsIn(output).map((url) => ({ kind, from: { url } }));
}

function theOne(prediction: Prediction, kind: AssetKind): Output[] {
  const [output] = outputsOf(prediction, kind);
  if (output) return [output];
  throw new AdapterFailure({
    class: 'permanent',
    code: 'NO_OUTPUT',
    message: `prediction ${prediction.id} holds no file`,
    billed: 'unknown',
  });
}

const seedOf = ({ input }: Prediction) => (Number.isSafeInteger(input?.seed) ? (input?.seed as number) : undefined);

const image: Transformer<'generate_image'> = {
  toProvider,
  fromProvider({ prediction }) {
    const outputs = outputsOf(prediction, 'IMAGE');
    return {
      outputs,
      result: { images: outputs.map((_, output) => ({ output })), seed: seedOf(prediction) },
      usage: [{ unit: 'image', quantity: outputs.length }],
    };
  },
};

const video: Transformer<'generate_video'> = {
  toProvider,
  fromProvider: ({ prediction, asked }) => ({
    outputs: theOne(prediction, 'VIDEO'),
    result: { video: { output: 0 }, durationSeconds: asked.seconds, seed: seedOf(prediction) },
    usage: asked.seconds === undefined ? undefined : [{ unit: 'second', quantity: asked.seconds }],
  }),
  estimate: (input, id, config) => [
    { unit: 'second', quantity: askedOf(modelOf(config, id), input, config).seconds ?? input.durationSeconds },
  ],
};

const voice: Transformer<'generate_character_voice'> = {
  toProvider,
  fromProvider: ({ prediction, asked }) => ({
    outputs: theOne(prediction, 'AUDIO'),
    result: { audio: { output: 0 } },
    usage: asked.characters === undefined ? undefined : [{ unit: 'character', quantity: asked.characters }],
  }),
};

const audio: Transformer<'process_audio'> = {
  toProvider,
  fromProvider: ({ prediction }) => ({
    outputs: theOne(prediction, 'AUDIO'),
    result: { audio: { output: 0 } },
    usage: [{ unit: 'operation', quantity: 1 }],
  }),
};

const text: Transformer<'generate_text'> = {
  toProvider,
  fromProvider({ prediction }) {
    const { output, metrics, id } = prediction;
    // Language models give their tokens as a list.
    const said = Array.isArray(output) ? output.join('') : output;
    if (typeof said !== 'string' || said === '')
      throw new AdapterFailure({ class: 'permanent', code: 'NO_OUTPUT', message: `prediction ${id} holds no text` });
    const tokens = metrics?.output_token_count;
    return {
      outputs: [],
      result: { text: said },
      usage: tokens === undefined ? undefined : [{ unit: 'token', quantity: tokens }],
    };
  },
};

export const transformers = {
  generate_image: image,
  generate_video: video,
  generate_character_voice: voice,
  process_audio: audio,
  generate_text: text,
};
