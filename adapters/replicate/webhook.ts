import { createHmac, timingSafeEqual } from 'node:crypto';
import { type AdapterContext, AdapterFailure, type CallbackRequest } from 'atelier/adapter';
import type { Config } from './config.ts';

const toleranceMs = 5 * 60_000;
const secretKeptMs = 24 * 3_600_000;
/** A signature that does not fit may mean that the secret was renewed: it is asked for again, at most so often. */
const secretAskedMs = 5 * 60_000;

/**
 * Standard Webhooks, checked against the time at which the call came: a library would take the time of the check.
 * @throws AdapterFailure `authentication` when it is forged or stale.
 * @see https://replicate.com/docs/topics/webhooks/verify-webhook
 */
export async function verify({ headers, body }: CallbackRequest, context: AdapterContext<Config>): Promise<void> {
  const { 'webhook-id': id, 'webhook-timestamp': timestamp, 'webhook-signature': signatures } = headers;
  if (!id || !timestamp || !signatures) throw forged('it is not signed');
  const apartMs = Math.abs(context.now().getTime() - Number(timestamp) * 1000);
  if (!(apartMs <= toleranceMs)) throw forged('its time is more than five minutes away');
  const given = signatures.split(' ').flatMap((each) => {
    const [version, signature] = each.split(',');
    return version === 'v1' && signature ? [Buffer.from(signature, 'base64')] : [];
  });
  const fits = (secret: string) => {
    const expected = createHmac('sha256', keyOf(secret)).update(`${id}.${timestamp}.`).update(body).digest();
    return given.some((each) => each.length === expected.length && timingSafeEqual(each, expected));
  };
  const own = context.secrets.REPLICATE_WEBHOOK_SECRET;
  if (own ? fits(own) : await fitsAccount(fits, context)) return;
  throw forged('its signature does not fit');
}

async function fitsAccount(fits: (secret: string) => boolean, context: AdapterContext<Config>): Promise<boolean> {
  const ask = async (): Promise<string> => {
    const answer = await context.fetch(`${context.config.baseUrl}/webhooks/default/secret`, {
      headers: { authorization: `Bearer ${context.secrets.REPLICATE_API_TOKEN}` },
    });
    const { key } = (await answer.json()) ?? {};
    // What is no secret is not kept for a day.
    keyOf(key);
    return key;
  };
  return (
    fits(await context.cached('webhook secret', secretKeptMs, ask)) ||
    fits(await context.cached('webhook secret, asked again', secretAskedMs, ask))
  );
}

/**
 * `whsec_…` without its prefix. Anybody could sign with an empty one.
 * @throws AdapterFailure when there is none.
 */
function keyOf(secret: unknown): Buffer {
  const key = typeof secret === 'string' ? Buffer.from(secret.slice(secret.indexOf('_') + 1), 'base64') : undefined;
  if (key?.length) return key;
  throw new AdapterFailure({
    class: 'permanent',
    code: 'NO_WEBHOOK_SECRET',
    message: 'the signing secret of webhooks is none: no callback can be verified',
  });
}

function forged(why: string): AdapterFailure {
  return new AdapterFailure({
    class: 'authentication',
    code: 'CALLBACK_REFUSED',
    message: `the callback was refused: ${why}`,
  });
}
