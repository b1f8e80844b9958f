import { createHmac, timingSafeEqual } from 'node:crypto';

/** What a signature vouches for. */
export interface SignedFacts {
  method: 'GET' | 'PUT';
  key: string;
  /** Seconds since 1970. */
  expires: number;
  /** Content-Type of the answer, or of the upload. */
  type: string;
  /** Content-Disposition of the answer; only of a GET. */
  disposition?: string;
  /** Bytes of the upload; only of a PUT. */
  size?: number;
}

/** `<publicUrl>/files/<key>?…`: the facts in the clear and an HMAC-SHA256 over all of them. */
export function signUrl(publicUrl: string, facts: SignedFacts, secret: string): string {
  const url = new URL(`${publicUrl}/files/${facts.key}`);
  url.searchParams.set('expires', String(facts.expires));
  url.searchParams.set('type', facts.type);
  if (facts.disposition !== undefined) url.searchParams.set('disposition', facts.disposition);
  if (facts.size !== undefined) url.searchParams.set('size', String(facts.size));
  url.searchParams.set('signature', signature(facts, secret));
  return url.href;
}

/**
 * The facts of a signed URL.
 * @param url of the request, relative or whole, with `/files/` at the beginning of its path.
 * @returns what is wrong with it, in words for its user, when it is not signed for this method or no longer valid.
 */
export function verifyUrl(url: URL, method: SignedFacts['method'], secret: string): SignedFacts | { refusal: string } {
  const query = url.searchParams;
  const facts: SignedFacts = {
    method,
    key: url.pathname.replace(/^.*?\/files\//, ''),
    expires: Number(query.get('expires')),
    type: query.get('type') ?? '',
    disposition: query.get('disposition') ?? undefined,
    size: query.has('size') ? Number(query.get('size')) : undefined,
  };
  const given = Buffer.from(query.get('signature') ?? '');
  const expected = Buffer.from(signature(facts, secret));
  if (given.length !== expected.length || !timingSafeEqual(given, expected)) {
    return { refusal: `This URL is not signed for ${method}, or was changed. Ask for a new one.` };
  }
  if (facts.expires * 1000 <= Date.now()) return { refusal: 'This URL has expired. Ask for a new one.' };
  return facts;
}

function signature(facts: SignedFacts, secret: string): string {
  // The same secret signs client tokens: the first line keeps the two apart.
  const text = JSON.stringify([
    facts.method,
    facts.key,
    facts.expires,
    facts.type,
    facts.disposition ?? null,
    facts.size ?? null,
  ]);
  return createHmac('sha256', secret).update(`atelier files\n${text}`).digest('base64url');
}
