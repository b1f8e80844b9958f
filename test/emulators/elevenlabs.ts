import { type Answer, type Emulator, type Seen, startEmulator } from './emulator.ts';
import { silentMp3, silentWav } from './recording.ts';

const apiKey = 'xi-emulator';
const voices = ['JBFqnCBsd6RMkjVDRZzb', '21m00Tcm4TlvDq8ikWAM'];
/** https://elevenlabs.io/docs/overview/models, and the share of a credit that a character costs. */
const models: Record<string, { maxCharacters: number; creditsPerCharacter: number }> = {
  eleven_multilingual_v2: { maxCharacters: 10_000, creditsPerCharacter: 1 },
  eleven_v3: { maxCharacters: 5_000, creditsPerCharacter: 1 },
  eleven_flash_v2_5: { maxCharacters: 40_000, creditsPerCharacter: 0.5 },
  eleven_flash_v2: { maxCharacters: 30_000, creditsPerCharacter: 0.5 },
};

/**
 * ElevenLabs' text to speech as its reference says: https://elevenlabs.io/docs/api-reference/text-to-speech/convert; errors of
 * https://elevenlabs.io/docs/eleven-api/resources/errors. The key is `xi-emulator`.
 */
export function startElevenLabs(): Promise<Emulator> {
  return startEmulator(async (request) => route(request));
}

function route(request: Seen): Answer {
  const { method, path, query, headers } = request;
  if (headers['xi-api-key'] !== apiKey)
    throw refusal(401, 'authentication_error', 'invalid_api_key', 'Invalid API key');
  const [, voice] = /^\/v1\/text-to-speech\/([^/]+)$/.exec(path) ?? [];
  if (method !== 'POST' || !voice) throw { status: 404, json: { detail: 'Not Found' } } satisfies Answer;
  if (!voices.includes(voice))
    throw refusal(404, 'not_found', 'voice_not_found', `A voice with the voice_id ${voice} was not found.`);
  const body = request.json;
  if (typeof body.text !== 'string')
    throw {
      status: 422,
      json: { detail: [{ loc: ['body', 'text'], msg: 'Field required', type: 'missing' }] },
    } satisfies Answer;
  const model = models[body.model_id ?? 'eleven_multilingual_v2'];
  if (!model) throw refusal(400, 'validation_error', 'model_not_found', `No model ${body.model_id}.`);
  if (body.text.length > model.maxCharacters)
    throw refusal(
      400,
      'validation_error',
      'text_too_long',
      `The text has more than ${model.maxCharacters} characters.`,
    );
  const speed = body.voice_settings?.speed ?? 1;
  if (speed < 0.7 || speed > 1.2)
    throw refusal(400, 'validation_error', 'invalid_voice_settings', 'speed must be between 0.7 and 1.2');
  const seconds = body.text.length / 15 / speed;
  const format = query.get('output_format') ?? 'mp3_44100_128';
  const isWav = format.startsWith('wav_');
  return {
    headers: {
      'content-type': isWav ? 'audio/wav' : 'audio/mpeg',
      'request-id': 'emulator-1',
      'character-cost': String(Math.ceil(body.text.length * model.creditsPerCharacter)),
    },
    body: isWav ? silentWav(seconds) : silentMp3(seconds),
  };
}

function refusal(status: number, type: string, code: string, message: string): Answer {
  const request_id = '3c807fc4c3a1705f9638ecc764a91c01';
  return { status, json: { detail: { type, code, message, status: code, request_id, param: null } } };
}
