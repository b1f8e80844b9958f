import { createHash, createPublicKey, verify as verifySignature } from 'node:crypto';
import { type AdapterContext, AdapterFailure, type CallbackRequest } from 'atelier/adapter';
import type { Config } from './config.ts';

const toleranceMs = 5 * 60_000;
/** fal asks to keep them for a day at most. */
const keysKeptMs = 24 * 3_600_000;
/** A signature that fits no key may mean that there are new ones: they are asked for again, at most so often. */
const keysAskedMs = 5 * 60_000;

/**
 * ED25519 over the ids, the time and the hash of the body.
 * @throws AdapterFailure `authentication` when it is forged or stale.
 * @see https://docs.fal.ai/model-endpoints/webhooks
 */
export async function verify({ headers, body }: CallbackRequest, context: AdapterContext<Config>): Promise<void> {
  const {
    'x-fal-webhook-request-id': requestId,
    'x-fal-webhook-user-id': userId,
    'x-fal-webhook-timestamp': timestamp,
    'x-fal-webhook-signature': signature,
  } = headers;
  if (!requestId || !userId || !timestamp || !signature) throw forged('it is not signed');
  const apartMs = Math.abs(context.now().getTime() - Number(timestamp) * 1000);
  if (!(apartMs <= toleranceMs)) throw forged('its time is more than five minutes away');
  const hash = createHash('sha256').update(body).digest('hex');
  const message = Buffer.from([requestId, userId, timestamp, hash].join('\n'));
  const given = Buffer.from(signature, 'hex');
  const fits = (keys: JsonWebKey[]) =>
    keys.some((key) => verifySignature(null, message, createPublicKey({ key: { ...key }, format: 'jwk' }), given));
  const ask = () => askKeys(context);
  if (fits(await context.cached('webhook keys', keysKeptMs, ask))) return;
  if (fits(await context.cached('webhook keys, asked again', keysAskedMs, ask))) return;
  throw forged('its signature fits no key');
}

async function askKeys({ fetch, config }: AdapterContext<Config>): Promise<JsonWebKey[]> {
  const { keys } = await (await fetch(`${config.restUrl}/.well-known/jwks.json`)).json();
  return (Array.isArray(keys) ? keys : []).filter(({ kty, crv }) => kty === 'OKP' && crv === 'Ed25519');
}

function forged(why: string): AdapterFailure {
  return new AdapterFailure({
    class: 'authentication',
    code: 'CALLBACK_REFUSED',
    message: `the callback was refused: ${why}`,
  });
}
