import { open } from 'node:fs/promises';

/** The chunks before the sound are some hundred bytes. */
const headBytes = 64 * 1024;

/**
 * Gives a WAV its true lengths. OpenAI begins to send before it knows them and writes the largest number there, which players and
 * inspectors take for 27 hours. Any other file stays as it is.
 */
export async function setTrueLengths(file: string): Promise<void> {
  const handle = await open(file, 'r+');
  try {
    const { size } = await handle.stat();
    const { buffer } = await handle.read(Buffer.alloc(Math.min(size, headBytes)), { position: 0 });
    if (mend(buffer, size)) await handle.write(buffer, 0, buffer.length, 0);
  } finally {
    await handle.close();
  }
}

/** @returns whether there was something to mend. */
function mend(head: Buffer, sizeBytes: number): boolean {
  const word = (at: number) => head.toString('latin1', at, at + 4);
  if (head.length < 44 || word(0) !== 'RIFF' || word(8) !== 'WAVE') return false;
  for (let at = 12; at + 8 <= head.length; at += 8 + head.readUInt32LE(at + 4)) {
    const left = sizeBytes - at - 8;
    if (word(at) !== 'data' || head.readUInt32LE(at + 4) <= left) continue;
    head.writeUInt32LE(left, at + 4);
    head.writeUInt32LE(sizeBytes - 8, 4);
    return true;
  }
  return false;
}
