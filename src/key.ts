import { randomInt } from 'node:crypto';
import { crc32 } from 'node:zlib';

const letters = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz';
const prefix = 'atl_';
const randomLength = 36;
const checkLength = 6;

/**
 * A new API key: `atl_`, 36 random letters (214 bits), and a checksum of 6, so that a key that was cut or mistyped is refused
 * without a look at the database, and scanners can tell a leaked one from chance.
 */
export function mintSecret(): string {
  const random = Array.from({ length: randomLength }, () => letters[randomInt(letters.length)]).join('');
  return prefix + random + checksum(random);
}

/** True when the checksum fits. */
export function isWellFormed(secret: string): boolean {
  const random = secret.slice(prefix.length, -checkLength);
  return (
    secret.startsWith(prefix) &&
    random.length === randomLength &&
    /^[0-9A-Za-z]+$/.test(random) &&
    secret.endsWith(checksum(random))
  );
}

/** CRC-32 in base 62, the most significant letter first. */
function checksum(text: string): string {
  let rest = crc32(text);
  let out = '';
  for (let index = 0; index < checkLength; index++, rest = Math.floor(rest / letters.length))
    out = letters[rest % letters.length]! + out;
  return out;
}
