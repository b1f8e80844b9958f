import { existsSync, readFileSync, writeFileSync } from 'node:fs';

/** The secret in a file; null when there is none. */
export function readSecret(file: string): string | null {
  return existsSync(file) ? readFileSync(file, 'utf8').trim() : null;
}

/** Keeps a secret in a file that only this user may read, and gives it back. */
export function keepSecret(file: string, secret: string): string {
  writeFileSync(file, `${secret}\n`, { mode: 0o600 });
  return secret;
}
