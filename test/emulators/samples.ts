import { readFileSync } from 'node:fs';

/** What emulated vendors make: small, and real enough to be told by their bytes. */
export const samples = {
  /** 1 × 1 pixel. */
  png: Buffer.from(
    'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==',
    'base64',
  ),
  mp4: readFileSync(new URL('../fixtures/film.mp4', import.meta.url)),
  /** A second of silence. */
  wav: wav(1),
};

export const contentTypes = { png: 'image/png', mp4: 'video/mp4', wav: 'audio/wav' };

export type SampleName = keyof typeof samples;

/** PCM, 8 kHz, 16 bit, mono. */
function wav(seconds: number): Buffer {
  const bytes = Buffer.alloc(44 + seconds * 16_000);
  bytes.write('RIFF', 0);
  bytes.writeUInt32LE(bytes.length - 8, 4);
  bytes.write('WAVEfmt ', 8);
  bytes.writeUInt32LE(16, 16);
  bytes.writeUInt16LE(1, 20);
  bytes.writeUInt16LE(1, 22);
  bytes.writeUInt32LE(8_000, 24);
  bytes.writeUInt32LE(16_000, 28);
  bytes.writeUInt16LE(2, 32);
  bytes.writeUInt16LE(16, 34);
  bytes.write('data', 36);
  bytes.writeUInt32LE(bytes.length - 44, 40);
  return bytes;
}
