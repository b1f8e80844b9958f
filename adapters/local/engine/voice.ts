import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { VoiceAnswer, VoiceRequest } from '../voice.ts';
import { listVoices, type Speech, synthesise, type Voice } from './espeak.ts';
import { runFfmpeg } from './ffmpeg.ts';
import { InputRefusal } from './refusal.ts';
import type { Work } from './work.ts';

const defaultVoice = 'en-us';
const naturalWordsPerMinute = 175;
const pieceCharacters = 400;

/** Speaks the text, piece by piece, into one recording. */
export async function speak(request: VoiceRequest, work: Work): Promise<VoiceAnswer> {
  const voice = await chooseVoice(request);
  const wanted = naturalWordsPerMinute * request.speed;
  const wordsPerMinute = Math.round(Math.min(450, Math.max(80, wanted)));
  const pieces = splitText(request.text);
  const spoken: Speech[] = [];
  for (const piece of pieces) {
    spoken.push(await synthesise(piece, voice, wordsPerMinute, request.pitch));
    work.progress((spoken.length / pieces.length) * 0.9, 'speaking');
  }
  const samples = Buffer.concat(spoken.map((speech) => speech.samples));
  if (samples.length === 0) throw new InputRefusal(['text'], 'holds nothing that can be spoken');
  const sampleRate = spoken[0]!.sampleRate;
  let file = join(work.directory, 'speech.wav');
  await writeFile(file, Buffer.concat([wavHeader(samples.length, sampleRate), samples]));
  let durationSeconds = samples.length / 2 / sampleRate;
  // What lies beyond espeak's own range is stretched without a change of pitch.
  const stretch = wanted / wordsPerMinute;
  if (request.format === 'mp3' || Math.abs(stretch - 1) > 0.02) {
    const output = join(work.directory, `voice.${request.format}`);
    const codec = request.format === 'mp3' ? ['-c:a', 'libmp3lame', '-b:a', '96k'] : ['-c:a', 'pcm_s16le'];
    const tempo = Math.abs(stretch - 1) > 0.02 ? ['-af', tempoFilter(stretch)] : [];
    await runFfmpeg(['-i', file, ...tempo, '-map_metadata', '-1', '-fflags', '+bitexact', ...codec, output]);
    durationSeconds /= stretch;
    file = output;
  }
  work.progress(1, 'done');
  return {
    file,
    contentType: request.format === 'mp3' ? 'audio/mpeg' : 'audio/wav',
    durationSeconds: Math.round(durationSeconds * 1000) / 1000,
    characters: [...request.text].length,
  };
}

/** `voice` is a language (`en-us`), a name (`English_(America)`), a character (`f3`, `Annie`), or both as `en-us+f3`. */
async function chooseVoice({ voice, language }: VoiceRequest): Promise<string> {
  if (voice === null && language === null) return defaultVoice;
  const voices = await listVoices('languages');
  const spoken = language === null ? undefined : findLanguage(voices, language);
  if (language !== null && !spoken) {
    throw new InputRefusal(
      ['language'],
      `"${language}" is not spoken here; these are: ${voices.map(({ id }) => id).join(', ')}`,
    );
  }
  if (voice === null) return spoken?.id ?? defaultVoice;
  const [base = '', character] = voice.split('+');
  const named = find(voices, base);
  if (named && character === undefined) return named.id;
  const characters = await listVoices('variants');
  const found = find(characters, character ?? base);
  if (found && (named || character === undefined)) return `${named?.id ?? spoken?.id ?? defaultVoice}+${found.id}`;
  throw new InputRefusal(
    ['voice'],
    `there is no voice "${voice}"; there are the languages ${voices.map(({ id }) => id).join(', ')} and the characters ` +
      `${characters.map(({ id }) => id).join(', ')}; both can be joined, as en-gb+f3`,
  );
}

function find(voices: Voice[], name: string): Voice | undefined {
  const lower = name.toLowerCase();
  return (
    voices.find(({ id }) => id.toLowerCase() === lower) ?? voices.find((voice) => voice.name.toLowerCase() === lower)
  );
}

/** The tag itself, else what serves it, else the same with its last part dropped: de-AT is spoken as de. */
function findLanguage(voices: Voice[], tag: string): Voice | undefined {
  const lower = tag.toLowerCase();
  if (lower === 'en') return find(voices, 'en-us');
  const exact = voices.find(({ id }) => id.toLowerCase() === lower) ?? voices.find(({ also }) => also.includes(lower));
  if (exact || !lower.includes('-')) return exact ?? voices.find(({ id }) => id.toLowerCase().startsWith(`${lower}-`));
  return findLanguage(voices, lower.slice(0, lower.lastIndexOf('-')));
}

/** Pieces of a few sentences: espeak tells no progress of its own. */
function splitText(text: string): string[] {
  const pieces: string[] = [''];
  for (const sentence of text.split(/(?<=[.!?…。！？\n])\s*/u)) {
    if (pieces.at(-1)!.length + sentence.length > pieceCharacters && pieces.at(-1) !== '') pieces.push(sentence);
    else pieces[pieces.length - 1] += `${pieces.at(-1) === '' ? '' : ' '}${sentence}`;
  }
  return pieces;
}

/** One stage of atempo takes 0.5 to 2. */
function tempoFilter(stretch: number): string {
  const stages = Math.ceil(Math.abs(Math.log2(stretch)) - 1e-9);
  return Array.from({ length: Math.max(1, stages) }, () => `atempo=${stretch ** (1 / Math.max(1, stages))}`).join(',');
}

function wavHeader(sizeBytes: number, sampleRate: number): Buffer {
  const header = Buffer.alloc(44);
  header.write('RIFF', 0);
  header.writeUInt32LE(36 + sizeBytes, 4);
  header.write('WAVEfmt ', 8);
  header.writeUInt32LE(16, 16);
  header.writeUInt16LE(1, 20);
  header.writeUInt16LE(1, 22);
  header.writeUInt32LE(sampleRate, 24);
  header.writeUInt32LE(sampleRate * 2, 28);
  header.writeUInt16LE(2, 32);
  header.writeUInt16LE(16, 34);
  header.write('data', 36);
  header.writeUInt32LE(sizeBytes, 40);
  return header;
}
