import { runFfmpeg } from './ffmpeg.ts';
import type { Work } from './work.ts';

export interface Film {
  /** Pixels. Odd ones are encoded as 4:4:4, since 4:2:0 halves them. */
  width: number;
  height: number;
  framesPerSecond: number;
  durationSeconds: number;
  /** Frame number `index` at `seconds` from the start, as width × height × 4 bytes of opaque RGBA. */
  draw(index: number, seconds: number): Buffer;
}

/** Encodes the frames to an H.264 MP4 at `path`, drawing each when the encoder asks for it. Resolves with its true length. */
export async function encodeFilm(film: Film, path: string, work: Work): Promise<{ durationSeconds: number }> {
  // Never longer than what was asked and quoted for; the small term forgives 2.9999999 frames.
  const count = Math.max(1, Math.floor(film.durationSeconds * film.framesPerSecond + 1e-6));
  const pixels = film.width % 2 === 0 && film.height % 2 === 0 ? 'yuv420p' : 'yuv444p';
  await runFfmpeg(
    [
      ...['-f', 'rawvideo', '-pix_fmt', 'rgba', '-video_size', `${film.width}x${film.height}`],
      ...['-framerate', String(film.framesPerSecond), '-i', 'pipe:0', '-an'],
      ...['-vf', `scale=out_color_matrix=bt709:out_range=tv,format=${pixels}`],
      ...['-colorspace', 'bt709', '-color_primaries', 'bt709', '-color_trc', 'bt709'],
      ...['-c:v', 'libx264', '-preset', 'veryfast', '-crf', '20', '-movflags', '+faststart'],
      ...['-map_metadata', '-1', '-fflags', '+bitexact', '-flags:v', '+bitexact', '-f', 'mp4', path],
    ],
    { frames: frames(film, count, work) },
  );
  return { durationSeconds: count / film.framesPerSecond };
}

function* frames(film: Film, count: number, work: Work): Generator<Buffer> {
  for (let index = 0; index < count; index++) {
    yield film.draw(index, index / film.framesPerSecond);
    work.progress((index + 1) / count, 'rendering');
  }
}
