/** Silence as MPEG 1 layer III, 44.1 kHz, 128 kbit/s: frames of 417 bytes and 1,152 samples. */
export function silentMp3(seconds: number): Uint8Array {
  const frame = Buffer.alloc(417);
  Buffer.from([0xff, 0xfb, 0x90, 0x64]).copy(frame);
  return Buffer.concat(Array(Math.max(1, Math.ceil((seconds * 44_100) / 1152))).fill(frame));
}

/**
 * Silence as WAV, 24 kHz, 16 bit, one channel.
 * @param options.isStreamed the lengths in its head are the largest numbers, as where the sender does not know them yet. Default: false.
 */
export function silentWav(seconds: number, options: { isStreamed?: boolean } = {}): Uint8Array {
  const data = Buffer.alloc(Math.round(seconds * 24_000) * 2);
  const head = Buffer.alloc(44);
  head.write('RIFF', 0);
  head.writeUInt32LE(options.isStreamed ? 0xffffffff : 36 + data.length, 4);
  head.write('WAVEfmt ', 8);
  head.writeUInt32LE(16, 16);
  head.writeUInt16LE(1, 20);
  head.writeUInt16LE(1, 22);
  head.writeUInt32LE(24_000, 24);
  head.writeUInt32LE(48_000, 28);
  head.writeUInt16LE(2, 32);
  head.writeUInt16LE(16, 34);
  head.write('data', 36);
  head.writeUInt32LE(options.isStreamed ? 0xffffffff : data.length, 40);
  return Buffer.concat([head, data]);
}
