import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startServer } from '../src/server.ts';
import { createTestBed, type TestBed } from './kit.ts';

let bed: TestBed;
beforeAll(async () => {
  bed = await createTestBed({
    worker: false,
    storage: 'directory',
    environment: { ATELIER_CORS_ORIGINS: 'https://app.example,https://other.example', ATELIER_GRAPHIQL: 'true' },
  });
});
afterAll(() => bed.close());

describe('health', () => {
  it('/healthz, /readyz and /metrics answer without a key', async () => {
    expect((await fetch(`${bed.url}/healthz`)).status).toBe(200);
    const ready = await fetch(`${bed.url}/readyz`);
    expect([ready.status, await ready.json()]).toEqual([
      200,
      { status: 'HEALTHY', postgres: 'HEALTHY', redis: 'HEALTHY', closing: false },
    ]);
    await bed.graphql('{ health { status } }');
    const text = await (await fetch(`${bed.url}/metrics`)).text();
    for (const line of [
      'atelier_up{part="postgres"} 1',
      'atelier_up{part="redis"} 1',
      'atelier_lane_tasks{lane="gpu_heavy",state="queued"} 0',
      'atelier_graphql_seconds_count{operation="query",outcome="ok"}',
      'atelier_http_seconds_count',
      'process_cpu_seconds_total',
    ]) {
      expect(text).toContain(line);
    }
    expect((await fetch(`${bed.url}/elsewhere`)).status).toBe(404);
    expect((await fetch(`${bed.url}/graphql/elsewhere`)).status).toBe(404);
    expect((await fetch(`${bed.url}/files/none`)).status).toBe(403);
  });

  it('the query says how every part is; without a worker it is degraded', async () => {
    const { data } = await bed.graphql(
      '{ health { status postgres redis storage lanes { name paused concurrency queued processing } workers { id } load { cpuPercent memoryPercent gpuUtilization } uptimeSeconds version } }',
    );
    expect(data.health).toMatchObject({
      status: 'DEGRADED',
      postgres: 'HEALTHY',
      redis: 'HEALTHY',
      storage: 'HEALTHY',
      workers: [],
      version: expect.stringMatching(/^\d+\.\d+\.\d+/),
    });
    expect(data.health.lanes.map((lane: { name: string }) => lane.name)).toEqual([
      'cpu_intensive',
      'gpu_heavy',
      'gpu_medium',
    ]);
    expect(data.health.load.cpuPercent).toBeGreaterThanOrEqual(0);
    expect(data.health.load.memoryPercent).toBeGreaterThan(0);
  });
});

describe('browsers', () => {
  it('may call from the configured origins, before and after they are refused', async () => {
    const preflight = (origin: string) =>
      fetch(`${bed.url}/graphql`, {
        method: 'OPTIONS',
        headers: {
          origin,
          'access-control-request-method': 'POST',
          'access-control-request-headers': 'authorization,content-type',
        },
      });
    const allowed = await preflight('https://app.example');
    expect([allowed.status, allowed.headers.get('access-control-allow-origin')]).toEqual([204, 'https://app.example']);
    expect((await preflight('https://evil.example')).headers.get('access-control-allow-origin')).not.toBe(
      'https://evil.example',
    );
    const refused = await fetch(`${bed.url}/graphql`, {
      method: 'POST',
      headers: { origin: 'https://app.example', 'content-type': 'application/json' },
      body: '{}',
    });
    expect([refused.status, refused.headers.get('access-control-allow-origin')]).toEqual([401, 'https://app.example']);
  });

  it('get GraphiQL where it is on', async () => {
    const page = await fetch(`${bed.url}/graphql`, { headers: { accept: 'text/html' } });
    expect([page.status, page.headers.get('content-type')]).toEqual([200, 'text/html']);
    expect(await page.text()).toContain('createTask');
  });
});

describe('a request that cannot be read', () => {
  const post = (contentType: string, body: BodyInit) =>
    fetch(`${bed.url}/graphql`, {
      method: 'POST',
      headers: { 'content-type': contentType, authorization: `Bearer ${bed.tasksKey}` },
      body,
      duplex: 'half',
    } as RequestInit);
  const tooLarge = JSON.stringify({ query: '{ health { status } }', variables: { x: 'x'.repeat(2_000_000) } });

  it.each([
    ['at once', () => tooLarge],
    ['in pieces', () => new Blob([tooLarge]).stream()],
  ])('is told the limit of its body, sent %s', async (_name, body) => {
    const response = await post('application/json', body());
    expect([response.status, await response.json()]).toEqual([
      413,
      {
        errors: [{ message: 'a request body may have at most 2,000,000 bytes', extensions: { code: 'BAD_REQUEST' } }],
      },
    ]);
  });

  it.each(['text/plain', 'multipart/form-data; boundary=x'])('is told what to send instead of %s', async (type) => {
    const response = await post(type, '{}');
    expect([response.status, await response.json()]).toEqual([
      415,
      { errors: [{ message: 'send application/json', extensions: { code: 'BAD_REQUEST' } }] },
    ]);
  });
});

it('takes an upload in, gives it out again, and lets a task refer to it', async () => {
  const bytes = Buffer.from(
    'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==',
    'base64',
  );
  const created = await bed.graphql(
    'mutation ($size: SafeInt!) { createUpload(input: { contentType: "image/png", sizeBytes: $size }) { ... on CreateUploadSuccess { id url method headers expiresAt } } }',
    { size: bytes.length },
  );
  const { id, url, method, headers } = created.data.createUpload;
  expect((await fetch(url, { method, headers, body: bytes })).status).toBe(200);
  const complete =
    'mutation ($id: ID!) { completeUpload(id: $id) { ... on CompleteUploadSuccess { asset { id kind contentType sizeBytes sha256 width height durationMs url(expiresInSeconds: 60) } } } }';
  const { asset } = (await bed.graphql(complete, { id })).data.completeUpload;
  expect(asset).toMatchObject({
    kind: 'IMAGE',
    contentType: 'image/png',
    sizeBytes: bytes.length,
    width: 1,
    height: 1,
    durationMs: null,
  });
  expect(Buffer.from(await (await fetch(asset.url)).arrayBuffer()).equals(bytes)).toBe(true);
  const node = await bed.graphql('query ($id: ID!) { node(id: $id) { ... on Asset { sha256 } } }', { id: asset.id });
  expect(node.data.node.sha256).toBe(asset.sha256);
  const far = await bed.graphql(
    'query ($id: ID!) { node(id: $id) { ... on Asset { url(expiresInSeconds: 604801) } } }',
    { id: asset.id },
  );
  expect(far.errors?.[0]?.extensions?.code).toBe('BAD_REQUEST');

  // It is of no task: a token that is narrowed to tasks does not see it.
  const task = await bed.graphql(
    'mutation ($ids: [ID!]) { createTask(input: { task: { generateImage: { prompt: "x", referenceAssetIds: $ids } } }) { ... on CreateTaskSuccess { task { ... on GenerateImageTask { id input { referenceAssetIds } } } } ... on UserError { message } } }',
    { ids: [asset.id] },
  );
  expect(task.data.createTask.task.input.referenceAssetIds).toEqual([asset.id]);
  const { data } = await bed.graphql(
    'mutation ($ids: [ID!]) { createClientToken(input: { scopes: ["tasks:read"], taskIds: $ids }) { ... on CreateClientTokenSuccess { token } } }',
    { ids: [task.data.createTask.task.id] },
    { key: bed.operatorKey },
  );
  const hidden = await bed.graphql(
    'query ($id: ID!) { node(id: $id) { id } }',
    { id: asset.id },
    { key: data.createClientToken.token },
  );
  expect(hidden.data.node).toBeNull();
});

it('shows the webhooks of a task and sends one again', async () => {
  const created = await bed.graphql(
    'mutation ($runAt: DateTime) { createTask(input: { task: { generateText: { prompt: "x" } }, runAt: $runAt, callbackUrl: "https://example.com/hook" }) { ... on CreateTaskSuccess { task { ... on Node { id } } } ... on UserError { message } } }',
    { runAt: new Date(Date.now() + 3_600_000) },
  );
  const { id } = created.data.createTask.task;
  await bed.graphql('mutation ($id: ID!) { cancelTask(id: $id) { __typename } }', { id });
  const { data } = await bed.graphql(
    'query ($id: ID!) { task(id: $id) { ... on BaseTask { status webhookDeliveries { id url type attempts deliveredAt nextAttemptAt lastStatus lastError exhausted } } } }',
    { id },
  );
  expect(data.task).toMatchObject({
    status: 'CANCELLED',
    webhookDeliveries: [{ type: 'task.cancelled', url: 'https://example.com/hook', attempts: 0 }],
  });
  const [delivery] = data.task.webhookDeliveries;
  const again = await bed.graphql(
    'mutation ($id: ID!) { redeliverWebhook(id: $id) { ... on RedeliverWebhookSuccess { delivery { id exhausted } } } }',
    { id: delivery.id },
  );
  expect(again.data.redeliverWebhook.delivery).toEqual({ id: delivery.id, exhausted: false });
  const other = await bed.createAccount(0);
  const foreign = await bed.graphql(
    'mutation ($id: ID!) { redeliverWebhook(id: $id) { __typename } }',
    { id: delivery.id },
    { key: other.key },
  );
  expect(foreign.data.redeliverWebhook.__typename).toBe('NotFoundError');
});

it("answers in five seconds and in the contract's words when the database is away", async () => {
  const { core } = bed;
  const away = Object.assign(new Error('connect ECONNREFUSED 127.0.0.1:5432'), { code: 'ECONNREFUSED' });
  await bed.graphql('{ health { status } }');
  const own: any = {
    ...core,
    db: { ...core.db, sql: () => Promise.reject(away), prisma: failing(away) },
    config: { ...core.config, ATELIER_PORT: 0, ATELIER_PUBLIC_URL: 'http://127.0.0.1:1' },
  };
  const server = await startServer(own);
  const ask = async (query: string) => {
    const response = await fetch(`${server.url}/graphql`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', authorization: `Bearer ${bed.tasksKey}` },
      body: JSON.stringify({ query }),
    });
    return { status: response.status, ...((await response.json()) as any) };
  };
  expect(await ask('{ health { status } }')).toMatchObject({
    status: 503,
    errors: [{ extensions: { code: 'UNAVAILABLE' } }],
  });
  expect((await fetch(`${server.url}/readyz`)).status).toBe(503);
  expect((await fetch(`${server.url}/healthz`)).status).toBe(200);
  expect(await (await fetch(`${server.url}/metrics`)).text()).toContain('atelier_up{part="postgres"} 0');

  // A caller that is still remembered gets as far as the resolvers.
  own.db.prisma = { ...failing(away), apiKey: core.db.prisma.apiKey };
  expect(
    await ask(
      'mutation { createTask(input: { task: { generateText: { prompt: "x" } } }) { __typename ... on UnavailableError { code retryAfterMs } } }',
    ),
  ).toMatchObject({
    data: { createTask: { __typename: 'UnavailableError', code: 'UNAVAILABLE', retryAfterMs: 1000 } },
  });
  expect(await ask('{ tasks { nodes { __typename } } }')).toMatchObject({
    errors: [{ extensions: { code: 'UNAVAILABLE' } }],
  });
  expect(await ask('{ health { status postgres redis lanes { name } } }')).toMatchObject({
    data: { health: { status: 'DOWN', postgres: 'DOWN', lanes: [] } },
  });

  // Anything else is ours, and shows nothing of itself.
  own.db.sql = () => Promise.reject(new TypeError('secret detail'));
  own.db.prisma = { ...failing(new TypeError('secret detail')), apiKey: core.db.prisma.apiKey };
  const inner = [
    await ask(
      'mutation { createTask(input: { task: { generateText: { prompt: "x" } } }) { __typename ... on UnavailableError { code message } } }',
    ),
    await ask('{ task(id: "task_01h455vb4pex5vsknk084sn02q") { __typename } }'),
  ];
  expect(inner[0]).toMatchObject({ data: { createTask: { __typename: 'UnavailableError', code: 'INTERNAL' } } });
  expect(inner[1]).toMatchObject({
    data: { task: null },
    errors: [{ extensions: { code: 'INTERNAL' }, path: ['task'] }],
  });
  expect(JSON.stringify(inner)).not.toContain('secret detail');
  await server.close();
});

/** A Prisma client of which every call fails. */
function failing(error: Error): any {
  const calls = new Proxy({}, { get: () => () => Promise.reject(error) });
  const models = [
    'apiKey',
    'task',
    'account',
    'project',
    'asset',
    'ledgerEntry',
    'taskEvent',
    'attempt',
    'webhookDelivery',
  ];
  return Object.fromEntries(models.map((model) => [model, calls]));
}
