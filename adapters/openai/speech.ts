import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import {
  type AdapterContext,
  AdapterFailure,
  NetworkFailure,
  type PayloadTransformer,
  type TaskTypes,
  z,
} from 'atelier/adapter';
import { call, isOpenAi, type OpenAiConfig } from './config.ts';
import { findModel, type Model } from './models.ts';
import { defined } from './text.ts';
import { setTrueLengths } from './wav.ts';

export interface SpeechRequest {
  work: 'speech';
  /** https://platform.openai.com/docs/api-reference/audio/createSpeech */
  body: Record<string, unknown>;
  characters: number;
  /** The largest that the recording can be. */
  maxBytes: number;
}

export interface SpeechAnswer {
  /** Where it lies on this machine. */
  file: string;
  contentType?: string;
  /** Of the text that was spoken. */
  characters: number;
}

type Type = TaskTypes['generate_character_voice'];

const defaultVoice = 'alloy';
const maxCharacters = 4096;
/** Chinese, which says most with a character, takes a quarter. */
const secondsPerCharacter = 0.3;
/** OpenAI's WAV is 24 kHz in mono, what other servers make up to 48 kHz in stereo; the other formats are 320 kbit/s at most. */
const bytesPerSecond = { own: 48_000, other: 192_000, packed: 40_000 };
const spareSeconds = 60;

/** What `options` may hold. `pcm` is not among the formats: without a header nobody can tell what it is. */
export function speechOptions(model: Model, own: boolean) {
  const shared = {
    format: z.enum(['mp3', 'opus', 'aac', 'flac', 'wav']).default('mp3').describe('Default: mp3.'),
  };
  if (own && !model.instructions) return z.strictObject(shared);
  return z.strictObject({
    ...shared,
    instructions: z
      .string()
      .min(1)
      .max(4096)
      .optional()
      .describe('How it is said: tone, accent, pace; at most 4,096 characters. Default: as the voice does.'),
  });
}

export const speech: PayloadTransformer<Type['input'], Type['result'], SpeechRequest, SpeechAnswer, OpenAiConfig> = {
  toProvider(input, id, { config }) {
    const model = findModel(id, config);
    const options = speechOptions(model, isOpenAi(config)).parse(input.options ?? {}) as {
      format: string;
      instructions?: string;
    };
    const characters = [...input.text].length;
    if (isOpenAi(config) && characters > maxCharacters) {
      const message = `${id} speaks at most ${maxCharacters} characters at once, not ${characters}`;
      throw new AdapterFailure({
        class: 'invalid_input',
        code: 'INPUT_TOO_LONG',
        message,
        issues: [{ path: ['text'], message }],
        billed: 'nothing',
      });
    }
    const seconds = (characters * secondsPerCharacter) / input.speed + spareSeconds;
    const isLossless = options.format === 'wav' || options.format === 'flac';
    const rate = !isLossless ? bytesPerSecond.packed : isOpenAi(config) ? bytesPerSecond.own : bytesPerSecond.other;
    const voice = input.voice ?? defaultVoice;
    const body = defined({
      model: id,
      input: input.text,
      // Custom voices are named by an object: https://platform.openai.com/docs/api-reference/audio/createSpeech
      voice: isOpenAi(config) && voice.startsWith('voice_') ? { id: voice } : voice,
      response_format: options.format,
      speed: input.speed === 1 ? undefined : input.speed,
      instructions: options.instructions,
    });
    const warnings = input.language ? [`language is not supported by ${id}, which goes by the text`] : [];
    return { request: { work: 'speech', body, characters, maxBytes: Math.ceil(seconds * rate) }, warnings };
  },
  fromProvider: ({ file, contentType, characters }) => ({
    outputs: [{ kind: 'AUDIO', contentType, from: { file } }],
    // Without durationSeconds: the vendor does not say, and Atelier measures it.
    result: { audio: { output: 0 } },
    usage: [{ unit: 'character', quantity: characters }],
  }),
};

/** @throws HttpFailure, or NetworkFailure when the answer is cut or is no recording. */
export async function speak(
  { body, characters, maxBytes }: SpeechRequest,
  context: AdapterContext<OpenAiConfig>,
): Promise<SpeechAnswer> {
  const answer = await call(context, '/audio/speech', { json: body, maxBytes });
  const contentType = answer.headers.get('content-type') ?? undefined;
  // As it comes: it may be larger than memory should hold.
  const file = join(context.directory, 'speech');
  await writeFile(file, answer.body);
  // A page of a proxy, not what was paid for.
  if (/json|html/.test(contentType ?? ''))
    throw new NetworkFailure(`a recording was asked for and ${contentType} came`, { sent: 'maybe' });
  await setTrueLengths(file);
  return { file, contentType, characters };
}
