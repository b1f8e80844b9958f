import { type PayloadTransformer, type TaskTypes, z } from 'atelier/adapter';
import { type InputFile, inputFiles } from './input-file.ts';

const sampleRates = [8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000] as const;

/** What `options` may hold. */
export const audioOptions = z.strictObject({
  format: z.enum(['wav', 'mp3', 'flac', 'ogg', 'm4a']).default('wav').describe('Default: wav.'),
  sampleRate: z
    .literal([...sampleRates])
    .default(48000)
    .describe('Hertz. Default: 48000.'),
  channels: z.literal([1, 2]).default(2).describe('1 or 2. Default: 2.'),
  silenceThresholdDb: z
    .number()
    .min(-90)
    .max(-20)
    .default(-50)
    .describe('TRIM_SILENCE takes what is below it for silence, dBFS. Default: -50.'),
});

export interface AudioRequest extends z.output<typeof audioOptions> {
  work: 'audio';
  operation: TaskTypes['process_audio']['input']['operation'];
  sources: InputFile[];
  targetLoudnessLufs: number;
}

export interface AudioAnswer {
  /** Absolute path. */
  file: string;
  contentType: string;
  durationSeconds: number;
}

type Type = TaskTypes['process_audio'];

export const audio: PayloadTransformer<Type['input'], Type['result'], AudioRequest, AudioAnswer> = {
  toProvider: (input, _model, { files }) => ({
    request: {
      work: 'audio',
      operation: input.operation,
      sources: inputFiles(files.sources ?? [], 'sources', input.sources?.length ?? 0, 'sourceAssetIds'),
      targetLoudnessLufs: input.targetLoudnessLufs,
      ...audioOptions.parse(input.options ?? {}),
    },
    warnings: [],
  }),
  fromProvider: ({ file, contentType, durationSeconds }) => ({
    outputs: [{ kind: 'AUDIO', contentType, from: { file } }],
    result: { audio: { output: 0 }, durationSeconds },
    usage: [{ unit: 'operation', quantity: 1 }],
  }),
};
