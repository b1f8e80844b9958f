import {
  AdapterFailure,
  type Asked,
  type AssetKind,
  askedOf,
  type Cost,
  type Output,
  type PayloadTransformer,
  type TaskTypes,
} from 'atelier/adapter';
import type { Config } from './config.ts';
import { fill, modelOf } from './models.ts';
import { type Answer, type FalFile, filesIn, type Result } from './result.ts';

/** What `start` sends. */
export interface Request {
  model: string;
  body: Record<string, unknown>;
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
  return { request: { model: id, body: fields, asked }, warnings };
};

const outputOf =
  (kind: AssetKind) =>
  ({ url, content_type }: FalFile): Output => ({
    kind,
    from: { url },
    ...(content_type && { contentType: content_type }),
  });

/** The one file of a result that has a place for one. */
function theOne([file]: FalFile[]): FalFile {
  if (file) return file;
  throw new AdapterFailure({
    class: 'permanent',
    code: 'NO_OUTPUT',
    message: 'the result holds no file',
    billed: 'unknown',
  });
}

const seedOf = ({ seed }: Result) => (Number.isSafeInteger(seed) ? (seed as number) : undefined);

const costOf = ({ billableUnits }: Answer): Cost | undefined =>
  billableUnits === undefined ? undefined : { amount: billableUnits, currency: 'billable_units' };

const image: Transformer<'generate_image'> = {
  toProvider,
  fromProvider(answer) {
    const { result } = answer;
    const files = filesIn(result, 'images', 'image');
    const flags = Array.isArray(result.has_nsfw_concepts) ? result.has_nsfw_concepts : [];
    // A flagged image is black: it was made, and is charged, and is of no use.
    const outputs = files.filter((_, index) => flags[index] !== true).map(outputOf('IMAGE'));
    return {
      outputs,
      result: { images: outputs.map((_, output) => ({ output })), seed: seedOf(result) },
      usage: [{ unit: 'image', quantity: files.length }],
      cost: costOf(answer),
    };
  },
};

const video: Transformer<'generate_video'> = {
  toProvider,
  fromProvider(answer) {
    const file = theOne(filesIn(answer.result, 'video', 'videos'));
    const seconds = answer.asked.seconds ?? file.duration;
    return {
      outputs: [outputOf('VIDEO')(file)],
      result: { video: { output: 0 }, durationSeconds: seconds, seed: seedOf(answer.result) },
      usage: seconds === undefined ? undefined : [{ unit: 'second', quantity: seconds }],
      cost: costOf(answer),
    };
  },
  estimate: (input, id, config) => [
    { unit: 'second', quantity: askedOf(modelOf(config, id), input, config).seconds ?? input.durationSeconds },
  ],
};

function soundOf(answer: Answer) {
  const file = theOne(filesIn(answer.result, 'audio', 'audio_file', 'audio_url'));
  const { duration_ms: durationMs } = answer.result;
  return {
    outputs: [outputOf('AUDIO')(file)],
    result: {
      audio: { output: 0 },
      durationSeconds: typeof durationMs === 'number' ? durationMs / 1000 : file.duration,
    },
    cost: costOf(answer),
  };
}

const voice: Transformer<'generate_character_voice'> = {
  toProvider,
  fromProvider: (answer) => ({
    ...soundOf(answer),
    usage:
      answer.asked.characters === undefined ? undefined : [{ unit: 'character', quantity: answer.asked.characters }],
  }),
};

const audio: Transformer<'process_audio'> = {
  toProvider,
  fromProvider: (answer) => ({ ...soundOf(answer), usage: [{ unit: 'operation', quantity: 1 }] }),
};

export const transformers = {
  generate_image: image,
  generate_video: video,
  generate_character_voice: voice,
  process_audio: audio,
};
