/** The text that the bytes are in UTF-8, or what is wrong with them, for their owner. */
export function decodeText(bytes: Uint8Array): { text: string } | { refused: string } {
  let text: string;
  try {
    text = new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch {
    return { refused: 'must be UTF-8 text' };
  }
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what tells binary from text
  const isBinary = /[\0-\x08\x0e-\x1a\x1c-\x1f]/.test(text);
  return isBinary ? { refused: 'must be text: there are control characters in it' } : { text };
}
