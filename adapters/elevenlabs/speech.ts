import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import {
  type AdapterContext,
  type Cost,
  NetworkFailure,
  type PayloadTransformer,
  refuseInput,
  type TaskTypes,
} from 'atelier/adapter';
import type { ElevenLabsConfig } from './config.ts';
import { findModel, type Model } from './models.ts';

export interface SpeechRequest {
  voiceId: string;
  format: string;
  /** https://elevenlabs.io/docs/api-reference/text-to-speech/convert */
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
  /** What the vendor counts it as, in its credits, as it writes it. Undefined: it does not say. */
  credits?: string;
}

type Type = TaskTypes['generate_character_voice'];

const speeds = { slowest: 0.7, fastest: 1.2 };
/** Chinese, which says most with a character, takes a quarter. */
const secondsPerCharacter = 0.3;
const spareSeconds = 60;

export const speech: PayloadTransformer<Type['input'], Type['result'], SpeechRequest, SpeechAnswer, ElevenLabsConfig> =
  {
    toProvider(input, id, { config }) {
      const model = findModel(id, config);
      const options = (input.options ?? {}) as Record<string, any>;
      const characters = [...input.text].length;
      if (characters > model.maxCharacters)
        refuseInput('text', `${id} speaks at most ${model.maxCharacters} characters at once, not ${characters}`);
      if (input.speed < speeds.slowest || input.speed > speeds.fastest)
        refuseInput('speed', `must be from ${speeds.slowest} to ${speeds.fastest} here`);
      const { languageCode, warnings } = languageFor(model, input.language);
      const settings = defined({
        stability: options.stability,
        similarity_boost: options.similarityBoost,
        style: options.style,
        use_speaker_boost: options.useSpeakerBoost,
        speed: input.speed === 1 ? undefined : input.speed,
      });
      const body = defined({
        text: input.text,
        model_id: id,
        language_code: languageCode,
        // Without any the voice's own settings hold.
        voice_settings: Object.keys(settings).length > 0 ? settings : undefined,
        seed: options.seed,
        previous_text: options.previousText,
        next_text: options.nextText,
        apply_text_normalization: options.textNormalization,
      });
      const format: string = options.format ?? 'mp3_44100_128';
      const seconds = (characters * secondsPerCharacter) / input.speed + spareSeconds;
      const request = {
        voiceId: voiceFor(input.voice, config),
        format,
        body,
        characters,
        maxBytes: Math.ceil(seconds * bytesPerSecondOf(format)),
      };
      return { request, warnings };
    },
    fromProvider({ file, contentType, characters, credits }) {
      const cost: Cost | undefined = credits === undefined ? undefined : { amount: credits, currency: 'credits' };
      return {
        outputs: [{ kind: 'AUDIO', contentType, from: { file } }],
        // Without durationSeconds: the vendor does not say, and Atelier measures it.
        result: { audio: { output: 0 } },
        usage: [{ unit: 'character', quantity: characters }],
        cost,
      };
    },
  };

/** Of a format as `wav_48000`, 16 bits in mono, or `mp3_44100_128`, in kbit/s. */
function bytesPerSecondOf(format: string): number {
  const [, sampleRate, kilobits] = format.split('_').map(Number);
  return kilobits === undefined ? sampleRate! * 2 : kilobits * 125;
}

function voiceFor(voice: string | undefined, { voices, defaultVoice }: ElevenLabsConfig): string {
  const named = (name: string) => (Object.hasOwn(voices, name) ? voices[name]! : undefined);
  if (voice === undefined) return named(defaultVoice) ?? defaultVoice;
  const id = named(voice) ?? (/^[A-Za-z0-9]{16,40}$/.test(voice) ? voice : undefined);
  if (id) return id;
  const names = Object.keys(voices);
  refuseInput('voice', `must be the id of a voice${names.length > 0 ? `, or one of ${names.join(', ')}` : ''}`);
}

/** ElevenLabs takes the two letters of ISO 639-1. */
function languageFor(model: Model, language: string | undefined): { languageCode?: string; warnings: string[] } {
  if (!language) return { warnings: [] };
  const [primary = ''] = language.toLowerCase().split('-');
  if (!model.languages) return { warnings: [`language is not supported by ${model.id}, which goes by the text`] };
  if (primary.length !== 2)
    return { warnings: [`language "${language}" was left out: ElevenLabs takes codes of two letters`] };
  if (primary === language.toLowerCase()) return { languageCode: primary, warnings: [] };
  return { languageCode: primary, warnings: [`language "${language}" is taken as "${primary}"`] };
}

/** Without what is undefined; what is 0, false or empty stays. */
const defined = (body: Record<string, unknown>): Record<string, unknown> =>
  Object.fromEntries(Object.entries(body).filter(([, value]) => value !== undefined));

/** @throws HttpFailure, or NetworkFailure when the answer is cut or is no recording. */
export async function speak(
  { voiceId, format, body, characters, maxBytes }: SpeechRequest,
  { config, secrets, fetch, directory }: AdapterContext<ElevenLabsConfig>,
): Promise<SpeechAnswer> {
  const base = config.baseUrl.replace(/\/+$/, '');
  const answer = await fetch(`${base}/v1/text-to-speech/${encodeURIComponent(voiceId)}?output_format=${format}`, {
    headers: { 'xi-api-key': secrets.ELEVENLABS_API_KEY! },
    json: body,
    maxBytes,
  });
  const contentType = answer.headers.get('content-type') ?? undefined;
  // As it comes: it may be larger than memory should hold.
  const file = join(directory, 'speech');
  await writeFile(file, answer.body);
  // A page of a proxy, not what was paid for.
  if (/json|html/.test(contentType ?? ''))
    throw new NetworkFailure(`a recording was asked for and ${contentType} came`, { sent: 'maybe' });
  // https://elevenlabs.io/docs/api-reference/introduction has one name on its page and the other in its Markdown.
  const told = answer.headers.get('character-cost') ?? answer.headers.get('x-character-count') ?? '';
  const credits = /^\d+(\.\d+)?$/.test(told) ? told : undefined;
  return { file, contentType, characters, credits };
}
