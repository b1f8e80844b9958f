import { setTimeout as sleep } from 'node:timers/promises';
import { Webhook } from 'standardwebhooks';
import type { Core } from '../core.ts';
import type { Account, WebhookDelivery } from '../db.ts';
import { notFound, OutsideError } from '../errors.ts';
import { toId } from '../id.ts';
import { payloadOf } from './payload.ts';

/** Sends the webhooks that are due. Each process that delivers has one; they share the rows. */
export interface Deliveries {
  /**
   * Claims deliveries that are due and begins to send them; does not wait for the answers, so that a slow endpoint
   * delays none but its own. What an endpoint or this process has no room for stays due, and is begun as room comes.
   * @returns how many were begun.
   */
  deliverDue(options: { limit: number }): Promise<number>;
  /** Resolves when nothing is under way. */
  settled(): Promise<void>;
  /** Begins nothing more, gives what is under way 5 s, and cuts the rest off: it is tried again later. */
  close(): Promise<void>;
}

const timeoutMs = 15_000;
/** A process that dies in the middle of a delivery delays it by so much. */
const leaseSeconds = 60;
const maxAnswerBytes = 64 * 1024;
const maxPerHost = 4;
const maxInAll = 64;
const closeMs = 5_000;
/** Pauses after the first, second, … attempt, in seconds: three days together. */
const pauses = [5, 30, 120, 600, 1800, 3600, 7200, 14400, 28800, 43200, 43200, 43200, 43200, 28800];

/** @param random 0..1, spreads the retries of deliveries that failed together. */
export function openDeliveries(core: Core, random: () => number = Math.random): Deliveries {
  const underWay = new Set<Promise<void>>();
  const perHost = new Map<string, number>();
  const closing = new AbortController();
  let closed = false;
  let claiming: Promise<number> | undefined;
  let asked = false;

  async function begin(limit: number): Promise<number> {
    let begun = 0;
    while (!closed && begun < limit) {
      const room = Math.min(limit - begun, maxInAll - underWay.size);
      const claimed = room > 0 ? await claim(core, perHost, room) : [];
      for (const delivery of claimed) track(delivery);
      begun += claimed.length;
      if (claimed.length === 0) break;
    }
    return begun;
  }

  function track(delivery: Claimed): void {
    perHost.set(delivery.host, (perHost.get(delivery.host) ?? 0) + 1);
    const work = attempt(core, delivery, random, closing.signal)
      .catch((err) =>
        core.log.error(
          { err, deliveryId: toId('WebhookDelivery', delivery.id) },
          'the outcome of a webhook could not be written',
        ),
      )
      .finally(() => {
        underWay.delete(work);
        const left = perHost.get(delivery.host)! - 1;
        if (left > 0) perHost.set(delivery.host, left);
        else perHost.delete(delivery.host);
        // There is room for one more, and a later webhook of the same task may have waited for this one.
        goOn();
      });
    underWay.add(work);
  }

  function goOn(): void {
    if (closed) return;
    if (claiming) asked = true;
    else
      deliverDue({ limit: maxInAll }).catch((err) =>
        core.log.warn({ err }, 'webhooks could not be looked for; they are at the next look'),
      );
  }

  async function deliverDue({ limit }: { limit: number }): Promise<number> {
    // One claim at a time: two would both count the same room.
    while (claiming) await claiming.catch(() => {});
    claiming = begin(limit);
    try {
      return await claiming;
    } finally {
      claiming = undefined;
      if (asked) {
        asked = false;
        goOn();
      }
    }
  }

  const settled = async () => {
    while (underWay.size > 0 || claiming) await Promise.allSettled([...underWay, claiming]);
  };
  return {
    deliverDue,
    settled,
    async close() {
      closed = true;
      await Promise.race([settled(), sleep(closeMs, undefined, { ref: false })]);
      closing.abort(new OutsideError('cut off: the process was stopping', { retryable: true }));
      await settled();
    },
  };
}

/**
 * Has a webhook sent again with the same id and a fresh signature, also when it was delivered or given up.
 * @param deliveryId null = an id that cannot be a delivery's.
 * @param accountId whose it must be. Undefined: anyone's.
 * @throws Refusal NotFoundError.
 */
export async function redeliver(core: Core, deliveryId: string | null, accountId?: string): Promise<WebhookDelivery> {
  const rows = await core.db.sql<WebhookDelivery>(
    `UPDATE webhook_delivery SET next_attempt_at = now(), exhausted = false
    WHERE id = $1 AND ($2::uuid IS NULL OR account_id = $2) RETURNING *`,
    [deliveryId, accountId ?? null],
    'webhook_redeliver',
  );
  if (!rows[0]) throw notFound('webhook delivery');
  core.bus.wake('webhooks', {});
  return rows[0];
}

/** The headers of a webhook by the Standard Webhooks specification; one signature for each secret that is valid now. */
export function signWebhook(id: string, at: Date, body: string, secrets: string[]): Record<string, string> {
  return {
    'webhook-id': id,
    'webhook-timestamp': String(Math.floor(at.getTime() / 1000)),
    'webhook-signature': secrets.map((secret) => new Webhook(secret).sign(id, at, body)).join(' '),
  };
}

type Claimed = WebhookDelivery & { host: string };

/**
 * Takes what is due, oldest first, with room for every host, by moving its next attempt ahead. A webhook waits for the earlier ones of its task or run.
 */
function claim(core: Core, perHost: Map<string, number>, limit: number): Promise<Claimed[]> {
  const full = [...perHost].filter(([, count]) => count >= maxPerHost).map(([host]) => host);
  return core.db.sql<Claimed>(
    `WITH due AS (
      SELECT id, next_attempt_at, host FROM (SELECT *, lower(substring(url from '://([^/?#]*)')) AS host FROM webhook_delivery) d
      WHERE next_attempt_at <= now() AND host <> ALL($1::text[]) AND NOT EXISTS (
        SELECT FROM webhook_delivery e WHERE (e.task_id = d.task_id OR e.run_id = d.run_id) AND e.sequence < d.sequence AND e.delivered_at IS NULL AND NOT e.exhausted)
      ORDER BY next_attempt_at LIMIT 500
    ), placed AS (
      SELECT due.*, coalesce(busy.count, 0) + row_number() OVER (PARTITION BY host ORDER BY next_attempt_at) AS place
      FROM due LEFT JOIN unnest($2::text[], $3::int[]) AS busy(host, count) USING (host)
    ), chosen AS (
      SELECT id, host FROM placed WHERE place <= $4 ORDER BY next_attempt_at LIMIT $5
    ), locked AS (
      SELECT d.id, chosen.host FROM webhook_delivery d JOIN chosen USING (id) WHERE d.next_attempt_at <= now() FOR UPDATE OF d SKIP LOCKED
    )
    UPDATE webhook_delivery d SET attempts = d.attempts + 1, next_attempt_at = now() + $6 * interval '1 second'
    FROM locked WHERE d.id = locked.id RETURNING d.*, locked.host`,
    [full, [...perHost.keys()], [...perHost.values()], maxPerHost, limit, leaseSeconds],
    'webhook_claim',
  );
}

interface Outcome {
  status: number | null;
  /** Null: delivered. */
  error: string | null;
  /** The receiver says that it wants no more. */
  gone?: boolean;
}

async function attempt(core: Core, delivery: Claimed, random: () => number, signal: AbortSignal): Promise<void> {
  const outcome = await post(core, delivery, signal);
  const pause = outcome.gone ? undefined : pauses[delivery.attempts - 1];
  // Guarded by the attempt: the result of one that outlived its lease must not undo what came after it.
  await core.db.sql(
    `UPDATE webhook_delivery SET last_status = $3, last_error = $4::text, delivered_at = CASE WHEN $4::text IS NULL THEN now() ELSE delivered_at END,
      next_attempt_at = CASE WHEN $4::text IS NULL THEN NULL ELSE now() + $5::float8 * interval '1 second' END,
      exhausted = $4::text IS NOT NULL AND $5::float8 IS NULL AND delivered_at IS NULL
    WHERE id = $1 AND attempts = $2`,
    [
      delivery.id,
      delivery.attempts,
      outcome.status,
      outcome.error?.slice(0, 500) ?? null,
      pause === undefined ? null : pause * (0.85 + 0.3 * random()),
    ],
    'webhook_outcome',
  );
}

async function post(core: Core, delivery: Claimed, signal: AbortSignal): Promise<Outcome> {
  try {
    const body = await payloadOf(core, delivery);
    const at = new Date();
    const headers = signWebhook(
      toId('WebhookDelivery', delivery.id),
      at,
      body,
      await readSecrets(core, delivery.accountId),
    );
    const response = await core.outbound.fetch(delivery.url, {
      method: 'POST',
      headers: { 'content-type': 'application/json', ...headers },
      body,
      timeoutMs,
      maxBytes: maxAnswerBytes,
      signal,
    });
    // The status says it all; reading lets the connection be used again, up to the limit.
    await response.text().catch(() => {});
    const { status } = response;
    if (status >= 200 && status < 300) return { status, error: null };
    const redirects = status >= 300 && status < 400;
    return {
      status,
      error: `answered ${status}${redirects ? '; redirects are not followed' : ''}`,
      gone: status === 410,
    };
  } catch (error) {
    if (!(error instanceof OutsideError))
      core.log.error({ err: error, deliveryId: toId('WebhookDelivery', delivery.id) }, 'a webhook could not be made');
    return { status: null, error: error instanceof Error ? error.message : String(error) };
  }
}

async function readSecrets(core: Core, accountId: string): Promise<string[]> {
  const rows = await core.db.sql<Pick<Account, 'webhookSecret' | 'previousWebhookSecret'>>(
    `SELECT webhook_secret, CASE WHEN previous_webhook_secret_until > now() THEN previous_webhook_secret END AS previous_webhook_secret
    FROM account WHERE id = $1`,
    [accountId],
    'webhook_secrets',
  );
  return [rows[0]?.webhookSecret, rows[0]?.previousWebhookSecret].filter((secret) => secret != null);
}
