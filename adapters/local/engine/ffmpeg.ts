import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { accessSync, chmodSync, constants, existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { delimiter, join } from 'node:path';
import { promisify } from 'node:util';
import { MissingPiece } from './refusal.ts';

/** ffmpeg ended with an error; `stderr` holds its last lines. */
export class FfmpegFailure extends Error {
  override name = 'FfmpegFailure';
  readonly stderr: string;
  constructor(code: number | null, stderr: string) {
    super(`ffmpeg exited with ${code}: ${stderr.trim().split('\n').slice(-3).join(' | ').slice(0, 500)}`);
    this.stderr = stderr;
  }
}

export interface FfmpegRun {
  /** Called with the seconds of output that exist so far. */
  onSeconds?(seconds: number): void;
  /** Fed to its standard input, one buffer at a time, no faster than it reads. */
  frames?: AsyncIterable<Buffer> | Iterable<Buffer>;
}

/** Recordings and films that are read; scripts and play lists, which name further files, are not. */
const readableFormats =
  'wav,w64,mp3,flac,ogg,aac,aiff,caf,amr,asf,avi,mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,mpeg,mpegts,flv';

/** Arguments that read one untrusted local file and nothing that it points to. */
export function readFile(path: string): string[] {
  return ['-protocol_whitelist', 'file,pipe', '-format_whitelist', readableFormats, '-i', `file:${path}`];
}

/**
 * Runs ffmpeg to its end. Resolves with what it wrote to stderr and the seconds of output it made.
 * @throws FfmpegFailure when it exits with anything but 0; MissingPiece when there is no ffmpeg.
 */
export async function runFfmpeg(args: string[], run: FfmpegRun = {}): Promise<{ stderr: string; seconds: number }> {
  const program = await findFfmpeg();
  const child = spawn(program, ['-hide_banner', '-nostats', '-y', '-progress', 'pipe:1', ...args], {
    stdio: [run.frames ? 'pipe' : 'ignore', 'pipe', 'pipe'],
  });
  let stderr = '';
  let seconds = 0;
  child.stderr!.setEncoding('utf8').on('data', (text: string) => {
    stderr = (stderr + text).slice(-200_000);
  });
  child.stdout!.setEncoding('utf8').on('data', (text: string) => {
    for (const [, hours, minutes, rest] of text.matchAll(/^out_time=(\d+):(\d+):([\d.]+)/gm)) {
      seconds = Number(hours) * 3600 + Number(minutes) * 60 + Number(rest);
      run.onSeconds?.(seconds);
    }
  });
  const ended = new Promise<number | null>((resolve, reject) => child.on('error', reject).on('close', resolve));
  // Its exit code is what counts, also when it closes its input early.
  const fed = run.frames ? feed(child, run.frames) : Promise.resolve();
  const [code] = await Promise.all([ended, fed]);
  if (code !== 0) throw new FfmpegFailure(code, stderr);
  return { stderr, seconds };
}

async function feed(child: ChildProcess, frames: AsyncIterable<Buffer> | Iterable<Buffer>): Promise<void> {
  const stdin = child.stdin!;
  let closed = false;
  stdin
    .on('error', () => {})
    .on('close', () => {
      closed = true;
    });
  for await (const frame of frames) {
    if (closed) return;
    const taken = await new Promise<boolean>((resolve) => {
      stdin.write(frame, (error) => resolve(!error));
    });
    if (!taken) return;
  }
  stdin.end();
}

let found: Promise<string> | undefined;

/** The path of an ffmpeg with the encoders that are needed: the one on the PATH, else the packaged one. */
function findFfmpeg(): Promise<string> {
  found ??= (async () => {
    const name = process.platform === 'win32' ? 'ffmpeg.exe' : 'ffmpeg';
    for (const folder of (process.env.PATH ?? '').split(delimiter)) {
      const path = join(folder, name);
      if (folder && existsSync(path) && (await encodes(path))) return path;
    }
    return packaged();
  })();
  return found;
}

async function encodes(path: string): Promise<boolean> {
  const answer = await promisify(execFile)(path, ['-hide_banner', '-encoders']).catch(() => null);
  return answer !== null && ['libx264', 'libmp3lame', 'libvorbis'].every((encoder) => answer.stdout.includes(encoder));
}

function packaged(): string {
  let path: string;
  try {
    path = createRequire(import.meta.url)('@ffmpeg-installer/ffmpeg').path;
  } catch (cause) {
    throw new MissingPiece(
      'no ffmpeg with libx264, libmp3lame and libvorbis on the PATH, and none packaged for this platform',
      { cause },
    );
  }
  try {
    accessSync(path, constants.X_OK);
  } catch {
    // Its install script does this, but package managers may be told not to run scripts.
    chmodSync(path, 0o755);
  }
  return path;
}
