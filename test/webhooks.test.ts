import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Webhook } from 'standardwebhooks';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { WebhookDelivery } from '../src/db.ts';
import { toId } from '../src/id.ts';
import { storeOutput } from '../src/lifecycle/assets.ts';
import { type Deliveries, openDeliveries, redeliver, signWebhook } from '../src/webhooks/outgoing.ts';
import { eventually } from './eventually.ts';
import { createTestBed, type TestBed } from './kit.ts';
import { insertTask } from './task-row.ts';

interface Received {
  path: string;
  headers: Record<string, string>;
  body: string;
}

let bed: TestBed;
let fast: Server;
let slow: Server;
let fastUrl: string;
let slowUrl: string;
let deliveries: Deliveries;
const received: Received[] = [];
/** What the receiver does, by path; 204 otherwise. */
const answers: Record<string, (request: IncomingMessage, response: ServerResponse) => void> = {};
const waiting: ServerResponse[] = [];

async function listen(server: Server): Promise<string> {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

beforeAll(async () => {
  fast = createServer(async (request, response) => {
    let body = '';
    for await (const chunk of request) body += chunk;
    received.push({ path: request.url!, headers: request.headers as Record<string, string>, body });
    const answer = answers[request.url!];
    if (answer) answer(request, response);
    else response.writeHead(204).end();
  });
  slow = createServer((_, response) => waiting.push(response));
  [fastUrl, slowUrl] = await Promise.all([listen(fast), listen(slow)]);
  bed = await createTestBed({ worker: false, environment: { ATELIER_ALLOWED_HOSTS: '127.0.0.1' } });
});
afterAll(async () => {
  await bed?.close();
  for (const server of [fast, slow]) {
    server.closeAllConnections();
    server.close();
  }
});
beforeEach(async () => {
  deliveries = openDeliveries(bed.core, () => 0.5);
});
afterEach(async () => {
  for (const response of waiting.splice(0)) response.writeHead(204).end();
  await deliveries.close();
  await bed.sql('DELETE FROM webhook_delivery');
  received.length = 0;
});

async function due(taskId: string, url: string, sequence = 3, type = 'task.completed'): Promise<WebhookDelivery> {
  const rows = await bed.sql<WebhookDelivery>(
    `INSERT INTO webhook_delivery (account_id, task_id, sequence, url, type, next_attempt_at) VALUES ($1, $2, $3, $4, $5, now()) RETURNING *`,
    [bed.account.uuid, taskId, sequence, url, type],
  );
  return rows[0]!;
}

async function row(id: string): Promise<WebhookDelivery> {
  return (await bed.sql<WebhookDelivery>('SELECT * FROM webhook_delivery WHERE id = $1', [id]))[0]!;
}

async function deliverAll(): Promise<void> {
  await deliveries.deliverDue({ limit: 50 });
  await deliveries.settled();
}

const secondsAhead = (at: Date | null): number => (at!.getTime() - Date.now()) / 1000;

describe('signatures', () => {
  const secret = 'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw';
  const body = '{"test": 2432232314}';
  it('are those of the published test vector', () => {
    expect(signWebhook('msg_p5jXN8AQM9LWM0D4loKWxJek', new Date(1614265330 * 1000), body, [secret])).toEqual({
      'webhook-id': 'msg_p5jXN8AQM9LWM0D4loKWxJek',
      'webhook-timestamp': '1614265330',
      'webhook-signature': 'v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=',
    });
  });
  it('are one for each secret, and either verifies', () => {
    const older = `whsec_${Buffer.alloc(24, 7).toString('base64')}`;
    const headers = signWebhook('msg_1', new Date(), body, [secret, older]);
    expect(headers['webhook-signature']!.split(' ')).toHaveLength(2);
    for (const one of [secret, older]) expect(new Webhook(one).verify(body, headers)).toEqual({ test: 2432232314 });
  });
});

describe('deliveries', () => {
  it('carry the task as the contract says, signed with the secret of its account', async () => {
    const metadata = { order: 7 };
    const running = await insertTask(bed, { metadata });
    const asset = await storeOutput(
      bed.core,
      running,
      { kind: 'TEXT', from: { text: 'hello' } },
      {
        attempt: 1,
        output: 0,
        directory: () => '/tmp',
        signal: new AbortController().signal,
        secrets: {},
        fetch: () => Promise.reject(new Error('nothing is fetched')),
      },
    );
    await bed.sql(`UPDATE task SET status = 'COMPLETED', progress = 1, result = $2 WHERE id = $1`, [
      running.id,
      JSON.stringify({ images: [{ assetId: asset.id }], seed: 0, other: { assetId: 'no asset' } }),
    ]);
    const delivery = await due(running.id, `${fastUrl}/hook`);
    await deliverAll();

    const [hook] = received;
    const [account] = await bed.sql<{ webhookSecret: string }>('SELECT webhook_secret FROM account WHERE id = $1', [
      bed.account.uuid,
    ]);
    expect(new Webhook(account!.webhookSecret).verify(hook!.body, hook!.headers)).toEqual({
      type: 'task.completed',
      timestamp: delivery.createdAt.toISOString(),
      data: {
        task_id: toId('Task', running.id),
        project_id: toId('Project', running.projectId),
        task_type: 'generate_image',
        status: 'COMPLETED',
        progress: 1,
        result: {
          images: [
            {
              id: toId('Asset', asset.id),
              kind: 'TEXT',
              contentType: 'text/plain',
              sizeBytes: 5,
              sha256: asset.sha256,
              width: null,
              height: null,
              durationMs: null,
              url: expect.any(String),
            },
          ],
          seed: 0,
          other: { assetId: 'no asset' },
        },
        error: null,
        assets: [
          {
            id: toId('Asset', asset.id),
            kind: 'TEXT',
            content_type: 'text/plain',
            size_bytes: 5,
            sha256: asset.sha256,
            url: expect.any(String),
          },
        ],
        metadata,
        sequence: 3,
      },
    });
    expect(hook!.headers).toMatchObject({
      'webhook-id': toId('WebhookDelivery', delivery.id),
      'content-type': 'application/json',
    });
    expect(await (await fetch(JSON.parse(hook!.body).data.assets[0].url)).text()).toBe('hello');
    expect(await row(delivery.id)).toMatchObject({
      attempts: 1,
      deliveredAt: expect.any(Date),
      nextAttemptAt: null,
      lastStatus: 204,
      lastError: null,
      exhausted: false,
    });
  });

  it('tell why a task failed', async () => {
    const error = {
      code: 'CONTENT_POLICY',
      message: 'Refused.',
      retryable: false,
      providerRequestId: 'r1',
      issues: [],
    };
    const task = await insertTask(bed, { status: 'FAILED', error });
    await due(task.id, `${fastUrl}/hook`, 3, 'task.failed');
    await deliverAll();
    expect(JSON.parse(received[0]!.body).data).toMatchObject({
      status: 'FAILED',
      result: null,
      error: { code: 'CONTENT_POLICY', message: 'Refused.', retryable: false, provider_request_id: 'r1' },
      assets: [],
      metadata: null,
    });
  });

  it.each([
    [-1, 1],
    [1, 2],
  ])('bear the previous secret too while it is valid (%d h: %d signatures)', async (hours, count) => {
    const account = await bed.createAccount(0);
    const previous = `whsec_${Buffer.alloc(24, 1).toString('base64')}`;
    await bed.sql(
      `UPDATE account SET previous_webhook_secret = $2, previous_webhook_secret_until = now() + $3 * interval '1 hour' WHERE id = $1`,
      [account.uuid, previous, hours],
    );
    const task = await insertTask({ sql: bed.sql, account });
    const delivery = await due(task.id, `${fastUrl}/hook`);
    await bed.sql('UPDATE webhook_delivery SET account_id = $2 WHERE id = $1', [delivery.id, account.uuid]);
    await deliverAll();
    expect(received[0]!.headers['webhook-signature']!.split(' ')).toHaveLength(count);
  });

  it.each([
    ['500', (_: IncomingMessage, response: ServerResponse) => void response.writeHead(500).end(), 500, 'answered 500'],
    [
      'a redirect',
      (_: IncomingMessage, response: ServerResponse) => void response.writeHead(302, { location: '/elsewhere' }).end(),
      302,
      'answered 302; redirects are not followed',
    ],
    [
      'a reset',
      (request: IncomingMessage) => void request.socket.destroy(),
      null,
      expect.stringMatching(/^POST http:/),
    ],
  ])('are tried again after %s, with the same id', async (name, answer, lastStatus, lastError) => {
    const path = `/${name.replace(' ', '-')}`;
    answers[path] = answer;
    const task = await insertTask(bed);
    const delivery = await due(task.id, fastUrl + path);
    await deliverAll();
    const after = await row(delivery.id);
    expect(after).toMatchObject({ attempts: 1, deliveredAt: null, lastStatus, lastError, exhausted: false });
    expect(Math.abs(secondsAhead(after.nextAttemptAt) - 5)).toBeLessThan(1.5);
    await deliverAll();
    expect(received).toHaveLength(1);

    await bed.sql(`UPDATE webhook_delivery SET next_attempt_at = now() - interval '1 second' WHERE id = $1`, [
      delivery.id,
    ]);
    await deliverAll();
    expect(Math.abs(secondsAhead((await row(delivery.id)).nextAttemptAt) - 30)).toBeLessThan(5);
    expect(new Set(received.map(({ headers }) => headers['webhook-id']))).toEqual(
      new Set([toId('WebhookDelivery', delivery.id)]),
    );
    expect(received.map((hook) => hook.path)).toEqual([path, path]);
  });

  it('end after three days, or at once when the receiver is gone', async () => {
    answers['/500'] = (_, response) => response.writeHead(500).end();
    answers['/gone'] = (_, response) => response.writeHead(410).end();
    const tasks = await Promise.all([insertTask(bed), insertTask(bed)]);
    const [old, gone] = await Promise.all([due(tasks[0]!.id, `${fastUrl}/500`), due(tasks[1]!.id, `${fastUrl}/gone`)]);
    let waited = 0;
    for (let attempts = 1; attempts < 100; attempts++) {
      await bed.sql(`UPDATE webhook_delivery SET next_attempt_at = now() - interval '1 second' WHERE id = $1`, [
        old.id,
      ]);
      await deliverAll();
      const { nextAttemptAt, exhausted } = await row(old.id);
      if (exhausted) break;
      waited += secondsAhead(nextAttemptAt);
    }
    expect(waited / 86_400).toBeGreaterThan(2.8);
    expect(waited / 86_400).toBeLessThan(3.2);
    expect(await row(old.id)).toMatchObject({ exhausted: true, nextAttemptAt: null, attempts: 15 });
    expect(await row(gone.id)).toMatchObject({ exhausted: true, nextAttemptAt: null, attempts: 1, lastStatus: 410 });
  });

  it('count as delivered when the answer is large or does not end', async () => {
    answers['/large'] = (_, response) => response.end(Buffer.alloc(10_000_000));
    const task = await insertTask(bed);
    const delivery = await due(task.id, `${fastUrl}/large`);
    await deliverAll();
    expect(await row(delivery.id)).toMatchObject({ deliveredAt: expect.any(Date), lastStatus: 200 });
  });

  it('never reach a private address that is not allowed', async () => {
    const task = await insertTask(bed);
    const delivery = await due(task.id, 'http://169.254.169.254/latest');
    await deliverAll();
    expect(await row(delivery.id)).toMatchObject({
      deliveredAt: null,
      lastStatus: null,
      lastError: expect.stringContaining('169.254.169.254'),
    });
  });

  it('come in order per task: a later one waits until the earlier is delivered or given up', async () => {
    answers['/first'] = (_, response) => response.writeHead(500).end();
    const task = await insertTask(bed);
    const first = await due(task.id, `${fastUrl}/first`, 2);
    await due(task.id, `${fastUrl}/second`, 5);
    await deliverAll();
    expect(received.map((hook) => hook.path)).toEqual(['/first']);
    delete answers['/first'];
    await bed.sql(`UPDATE webhook_delivery SET next_attempt_at = now() - interval '1 second' WHERE id = $1`, [
      first.id,
    ]);
    // One call: the second is begun when the first has arrived.
    await deliverAll();
    expect(received.map((hook) => hook.path)).toEqual(['/first', '/first', '/second']);
  });

  it('are not held up by an endpoint that hangs, which gets four at a time', async () => {
    const tasks = await Promise.all(Array.from({ length: 12 }, () => insertTask(bed)));
    for (const task of tasks.slice(0, 10)) await due(task.id, `${slowUrl}/hang`);
    for (const task of tasks.slice(10)) await due(task.id, `${fastUrl}/quick`);
    expect(await deliveries.deliverDue({ limit: 50 })).toBe(6);
    await eventually(() => received.length === 2 && waiting.length === 4);
    expect(await deliveries.deliverDue({ limit: 50 })).toBe(0);
    // Room at the slow one is used as it comes.
    for (const response of waiting.splice(0)) response.writeHead(204).end();
    await eventually(() => waiting.length === 4);
  });

  it('are claimed once by two processes', async () => {
    const other = openDeliveries(bed.core);
    const tasks = await Promise.all(Array.from({ length: 20 }, () => insertTask(bed)));
    for (const task of tasks) await due(task.id, `${fastUrl}/once`);
    await Promise.all([deliveries, other].map((one) => one.deliverDue({ limit: 50 })));
    await eventually(
      async () => (await bed.sql('SELECT FROM webhook_delivery WHERE delivered_at IS NULL')).length === 0,
    );
    await other.close();
    expect(received).toHaveLength(20);
  });

  it('are sent again by another process when theirs dies', async () => {
    const task = await insertTask(bed);
    const delivery = await due(task.id, `${slowUrl}/hang`);
    await deliveries.deliverDue({ limit: 50 });
    await eventually(() => waiting.length === 1);
    const leased = await row(delivery.id);
    expect(leased.attempts).toBe(1);
    expect(Math.abs(secondsAhead(leased.nextAttemptAt) - 60)).toBeLessThan(10);
  });

  it('are cut off when the process stops, and tried later', async () => {
    const task = await insertTask(bed);
    const delivery = await due(task.id, `${slowUrl}/hang`);
    await deliveries.deliverDue({ limit: 50 });
    await eventually(() => waiting.length === 1);
    const started = Date.now();
    await deliveries.close();
    expect(Date.now() - started).toBeLessThan(8_000);
    expect(await row(delivery.id)).toMatchObject({
      deliveredAt: null,
      lastError: expect.stringContaining('the process was stopping'),
    });
  });
});

describe('redelivery', () => {
  it('sends a delivered one and a given-up one again, under the same id', async () => {
    const tasks = await Promise.all([insertTask(bed), insertTask(bed)]);
    const [done, lost] = await Promise.all(tasks.map((task) => due(task.id, `${fastUrl}/again`)));
    await bed.sql('UPDATE webhook_delivery SET exhausted = true, next_attempt_at = NULL, attempts = 15 WHERE id = $1', [
      lost!.id,
    ]);
    await deliverAll();
    expect(received).toHaveLength(1);
    for (const delivery of [done!, lost!]) {
      const answer = await redeliver(bed.core, delivery.id, bed.account.uuid);
      expect(answer).toMatchObject({ id: delivery.id, exhausted: false });
    }
    await deliverAll();
    expect(
      received
        .slice(1)
        .map(({ headers }) => headers['webhook-id'])
        .sort(),
    ).toEqual([done!, lost!].map((delivery) => toId('WebhookDelivery', delivery.id)).sort());
    expect(await row(lost!.id)).toMatchObject({ deliveredAt: expect.any(Date), exhausted: false, attempts: 16 });
  });
  it('answers for a foreign id as for none', async () => {
    const task = await insertTask(bed);
    const delivery = await due(task.id, `${fastUrl}/foreign`);
    const other = await bed.createAccount(0);
    await expect(redeliver(bed.core, delivery.id, other.uuid)).rejects.toMatchObject({
      kind: 'NotFoundError',
      message: 'No such webhook delivery.',
    });
    await expect(redeliver(bed.core, null, other.uuid)).rejects.toMatchObject({ kind: 'NotFoundError' });
  });
});
