import { join } from 'node:path';
import type { AudioAnswer, AudioRequest } from '../audio.ts';
import type { InputFile } from '../input-file.ts';
import { FfmpegFailure, readFile, runFfmpeg } from './ffmpeg.ts';
import { normalise } from './loudness.ts';
import { InputRefusal } from './refusal.ts';
import type { Work } from './work.ts';

const formats = {
  wav: { contentType: 'audio/wav', arguments: ['-c:a', 'pcm_s16le'] },
  mp3: { contentType: 'audio/mpeg', arguments: ['-c:a', 'libmp3lame', '-b:a', '192k'] },
  flac: { contentType: 'audio/flac', arguments: ['-c:a', 'flac'] },
  ogg: { contentType: 'audio/ogg', arguments: ['-c:a', 'libvorbis', '-q:a', '6'] },
  m4a: { contentType: 'audio/mp4', arguments: ['-c:a', 'aac', '-b:a', '192k', '-movflags', '+faststart'] },
};

/** Does the operation and writes one recording. */
export async function processAudio(request: AudioRequest, work: Work): Promise<AudioAnswer> {
  const { operation, sources } = request;
  const lengths: number[] = [];
  for (const source of sources) {
    lengths.push(await measureSeconds(source));
    work.progress((lengths.length / sources.length) * 0.2, 'reading');
  }
  const step = (from: number, to: number, seconds: number) => (done: number) =>
    work.progress(from + (to - from) * Math.min(1, done / Math.max(0.01, seconds)), operation.toLowerCase());
  const rate = ['-ar', String(request.sampleRate), '-ac', String(request.channels)];
  const file = join(work.directory, `audio.${request.format}`);
  const encode = ['-map_metadata', '-1', '-fflags', '+bitexact', ...rate, ...formats[request.format].arguments, file];
  const first = readFile(sources[0]!.file as string);

  if (operation === 'CONVERT') {
    await runFfmpeg([...first, '-map', '0:a:0', ...encode], { onSeconds: step(0.2, 0.95, lengths[0]!) });
  } else if (operation === 'TRIM_SILENCE') {
    const sound = await findSound(request, sources[0]!, lengths[0]!);
    const cut = `atrim=start=${sound.start}:end=${sound.end},asetpts=PTS-STARTPTS`;
    await runFfmpeg([...first, '-map', '0:a:0', '-af', cut, ...encode], {
      onSeconds: step(0.4, 0.95, sound.end - sound.start),
    });
  } else {
    const joined = operation === 'NORMALIZE' ? first : ['-i', await joinSources(request, lengths, work, step)];
    const seconds =
      operation === 'CONCATENATE' ? lengths.reduce((sum, length) => sum + length, 0) : Math.max(...lengths);
    const target = request.targetLoudnessLufs;
    const levelling = { read: joined, targetLufs: target, write: encode, onSeconds: step(0.5, 0.95, seconds) };
    const reached = await normalise(levelling, sources[0]!.path);
    if (Math.abs(reached - target) > 1) {
      work.log('WARN', `its peaks allow ${reached.toFixed(1)} LUFS, not ${target}`);
    }
  }
  const { seconds } = await runFfmpeg(['-i', file, '-f', 'null', '-']);
  work.progress(1, 'done');
  return { file, contentType: formats[request.format].contentType, durationSeconds: Math.round(seconds * 1000) / 1000 };
}

type Step = (from: number, to: number, seconds: number) => (done: number) => void;

/** MIX or CONCATENATE to one uncompressed file; floating point, so that nothing clips before it is levelled. */
async function joinSources(request: AudioRequest, lengths: number[], work: Work, step: Step): Promise<string> {
  const { operation, sources } = request;
  const file = join(work.directory, 'joined.wav');
  const even = sources.map(
    (_, index) => `[${index}:a:0]aresample=${request.sampleRate},aformat=sample_fmts=fltp:channel_layouts=stereo`,
  );
  const labels = sources.map((_, index) => `[s${index}]`).join('');
  const [graph, seconds] =
    operation === 'MIX'
      ? // Padded, so that no source gets louder when another ends.
        [
          `${even.map((chain, index) => `${chain},apad[s${index}]`).join(';')};${labels}amix=inputs=${sources.length}:duration=longest`,
          Math.max(...lengths),
        ]
      : [
          `${even.map((chain, index) => `${chain}[s${index}]`).join(';')};${labels}concat=n=${sources.length}:v=0:a=1`,
          lengths.reduce((sum, length) => sum + length, 0),
        ];
  await runFfmpeg(
    [
      ...sources.flatMap((source) => readFile(source.file as string)),
      '-filter_complex',
      graph,
      '-t',
      seconds.toFixed(6),
      '-c:a',
      'pcm_f32le',
      file,
    ],
    { onSeconds: step(0.2, 0.5, seconds) },
  );
  return file;
}

/** Decodes it to the end, so that damage shows here and with its place. */
async function measureSeconds({ file, path }: InputFile): Promise<number> {
  const unreadable = () =>
    new InputRefusal(path, 'cannot be read as a recording; WAV, MP3, FLAC, Ogg, AAC, M4A, WebM and MP4 can');
  const { seconds } = await runFfmpeg([...readFile(file as string), '-map', '0:a:0', '-f', 'null', '-']).catch(
    (error) => {
      throw error instanceof FfmpegFailure ? unreadable() : error;
    },
  );
  if (seconds <= 0) throw unreadable();
  return seconds;
}

/** Where the sound begins and ends, in seconds. */
async function findSound(
  request: AudioRequest,
  { file, path }: InputFile,
  length: number,
): Promise<{ start: number; end: number }> {
  const detect = `silencedetect=noise=${request.silenceThresholdDb}dB:d=0.05`;
  const { stderr } = await runFfmpeg([...readFile(file as string), '-map', '0:a:0', '-af', detect, '-f', 'null', '-']);
  const starts = [...stderr.matchAll(/silence_start: (-?[\d.]+)/g)].map((match) => Number(match[1]));
  const ends = [...stderr.matchAll(/silence_end: (-?[\d.]+)/g)].map((match) => Number(match[1]));
  const start = starts[0] !== undefined && starts[0] <= 0.02 ? (ends[0] ?? length) : 0;
  const last = starts.at(-1);
  // A silence that lasts to the end may be closed there, or left open by an older ffmpeg.
  const reachesEnd = last !== undefined && (ends.length < starts.length || ends.at(-1)! >= length - 0.02);
  const end = reachesEnd ? Math.max(last, 0) : length;
  if (end - start <= 0) throw new InputRefusal(path, `holds only silence below ${request.silenceThresholdDb} dBFS`);
  return { start, end };
}
