import { createHmac, timingSafeEqual } from 'node:crypto';
import type { Core } from '../core.ts';
import { fromId, toId } from '../id.ts';

/** Where a vendor reports on one attempt; undefined without a public address. Its token is worth nothing for any other attempt or adapter. */
export function callbackUrl(core: Core, adapter: string, taskId: string, attempt: number): string | undefined {
  if (!core.config.ATELIER_PUBLIC_URL) return undefined;
  return `${core.publicUrl}/providers/${adapter}/callback/${tokenOf(core, adapter, taskId, attempt)}`;
}

/** The attempt that a token was made for; undefined: it is forged. */
export function readCallbackToken(
  core: Core,
  adapter: string,
  token: string,
): { taskId: string; attempt: number } | undefined {
  const [id = '', number = ''] = token.split('.');
  const taskId = fromId('Task', id);
  if (!taskId || !/^\d{1,6}$/.test(number)) return undefined;
  const attempt = Number(number);
  const expected = Buffer.from(tokenOf(core, adapter, taskId, attempt));
  const given = Buffer.from(token);
  return expected.length === given.length && timingSafeEqual(expected, given) ? { taskId, attempt } : undefined;
}

function tokenOf(core: Core, adapter: string, taskId: string, attempt: number): string {
  const subject = `${toId('Task', taskId)}.${attempt}`;
  const signature = createHmac('sha256', core.secret).update(`callback ${adapter} ${subject}`).digest('base64url');
  return `${subject}.${signature.slice(0, 32)}`;
}
