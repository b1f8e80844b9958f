import { createClient as createSseClient } from 'graphql-sse';
import { type Client, createClient as createWsClient } from 'graphql-ws';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import WebSocket from 'ws';
import { createTestBed, eventually, type TestBed } from './kit.ts';
import { type Script, scriptedAdapter } from './scripted-adapter.ts';

let bed: TestBed;
let script: Script;
beforeAll(async () => {
  script = scriptedAdapter();
  bed = await createTestBed({ adapters: [script.adapter], storage: 'directory' });
});
afterAll(() => bed.close());

const watch = `subscription ($id: ID!, $after: Int) { taskEvents(id: $id, after: $after) {
  __typename seq taskId cursor at task { ... on BaseTask { status project { name } } }
  ... on TaskStatusChanged { status previous } ... on TaskProgressed { attempt progress step } ... on TaskLogged { level message } ... on TaskOutputAdded { index asset { id } } } }`;
const feed =
  'subscription ($after: String, $filter: TaskFilter) { taskFeed(after: $after, filter: $filter) { __typename seq cursor taskId } }';

async function submit(options: object = {}, key = bed.tasksKey): Promise<string> {
  const { data } = await bed.graphql(
    'mutation ($options: JSON) { createTask(input: { provider: "scripted", task: { generateText: { prompt: "x", options: $options } } }) { ... on CreateTaskSuccess { task { ... on Node { id } } } } }',
    { options },
    { key },
  );
  return data.createTask.task.id;
}

/** Each transport's results of one subscription. */
const transports: { [name: string]: (query: string, variables: object, key?: string) => AsyncIterableIterator<any> } = {
  SSE: (query, variables, key) => bed.subscribe(query, variables, { key }),
  WebSocket: (query, variables, key) => {
    const client = wsClient(`Bearer ${key ?? bed.tasksKey}`);
    return client.iterate({ query, variables: { ...variables } }) as AsyncIterableIterator<any>;
  },
};
function wsClient(authorization: string | undefined, closed?: (event: any) => void): Client {
  return createWsClient({
    url: `${bed.url.replace('http', 'ws')}/graphql`,
    webSocketImpl: WebSocket,
    connectionParams: authorization === undefined ? {} : { authorization },
    retryAttempts: 0,
    on: { closed: closed ?? (() => {}) },
  });
}
const subscribers = async (transport: string) =>
  Number(
    /atelier_subscribers\{transport="(\w+)"\} (\d+)/.exec(
      (await metrics()).split('\n').find((line) => line.includes(`transport="${transport}"`)) ?? '',
    )?.[2] ?? 0,
  );
const metrics = async () => (await fetch(`${bed.url}/metrics`)).text();

describe.each(Object.keys(transports))('over %s', (name) => {
  const open = transports[name]!;

  it('a task is replayed, followed, and completed with its terminal event, each seq once', async () => {
    const gate = `follow-${name}`;
    const id = await submit({ gate, progress: [0.25, 0.5], logs: ['hello'] });
    await script.reached(gate);
    const seen: any[] = [];
    for await (const { data, errors } of open(watch, { id })) {
      expect(errors).toBeUndefined();
      seen.push(data.taskEvents);
      if (seen.length === 2) script.open(gate);
    }
    expect(seen.map((event) => event.seq)).toEqual(seen.map((_, index) => index + 1));
    expect(seen[0]).toMatchObject({
      __typename: 'TaskStatusChanged',
      taskId: id,
      status: 'QUEUED',
      previous: null,
      task: { project: { name: 'default' } },
    });
    expect(seen.at(-1)).toMatchObject({
      __typename: 'TaskStatusChanged',
      status: 'COMPLETED',
      previous: 'PROCESSING',
      task: { status: 'COMPLETED' },
    });
    // The task in an event is the task as it is now, not as it was at the first event of the stream.
    expect(new Set(seen.map((event) => event.task.status)).size).toBeGreaterThan(1);
    const kinds = new Set(seen.map((event) => event.__typename));
    expect(kinds).toContain('TaskProgressed');
    expect(kinds).toContain('TaskLogged');

    const rest: number[] = [];
    for await (const { data } of open(watch, { id, after: 3 })) rest.push(data.taskEvents.seq);
    expect(rest).toEqual(seen.map((event) => event.seq).filter((seq) => seq > 3));
  });

  it('a feed goes on from the cursor of a list, over all tasks, and from the cursor of an event', async () => {
    const { key } = await bed.createAccount();
    const before = await bed.graphql('{ tasks { feedCursor } }', {}, { key });
    const ids = [await submit({}, key), await submit({}, key)];
    const read = async (after: string) => {
      const seen: any[] = [];
      for await (const { data } of open(feed, { after }, key)) {
        seen.push(data.taskFeed);
        if (
          new Set(seen.filter((event) => event.seq === 1).map((event) => event.taskId)).size === 2 ||
          seen.length > 50
        )
          break;
      }
      return seen;
    };
    const seen = await read(before.data.tasks.feedCursor);
    expect(new Set(seen.map((event) => event.taskId))).toEqual(new Set(ids));
    for await (const { data } of open(feed, { after: seen[0].cursor }, key)) {
      expect(data.taskFeed.cursor).not.toBe(seen[0].cursor);
      break;
    }
  });

  it('nothing is left behind when the client goes', async () => {
    const id = await submit({ gate: `left-${name}` });
    const stream = open(watch, { id });
    await stream.next();
    const transport = name === 'SSE' ? 'sse' : 'websocket';
    expect(await subscribers(transport)).toBeGreaterThan(0);
    await stream.return?.();
    await eventually(async () => (await subscribers(transport)) === 0);
    script.open(`left-${name}`);
  });

  it('a revoked key ends its streams, without complete', async () => {
    const { data } = await bed.graphql(
      'mutation { createApiKey(input: { name: "x", scopes: ["tasks:read"] }) { ... on CreateApiKeySuccess { secret apiKey { id } } } }',
      {},
      { key: bed.operatorKey },
    );
    const gate = `revoked-${name}`;
    const stream = open(watch, { id: await submit({ gate }) }, data.createApiKey.secret);
    await stream.next();
    const ended = drain(stream);
    await bed.graphql(
      'mutation ($id: ID!) { revokeApiKey(id: $id) { __typename } }',
      { id: data.createApiKey.apiKey.id },
      { key: bed.operatorKey },
    );
    expect(await ended).toBe('cut');
    script.open(gate);
  });

  it('a key that expires ends its streams', async () => {
    const { createApiKey } = await import('../src/access.ts');
    const { secret, apiKey } = await createApiKey(bed.core, {
      accountId: bed.account.uuid,
      name: 'x',
      scopes: ['tasks:read'],
      expiresAt: new Date(Date.now() + 1_000),
    });
    const gate = `expired-${name}`;
    const stream = open(watch, { id: await submit({ gate }) }, secret);
    await stream.next();
    const ended = drain(stream);
    await eventually(() => apiKey.expiresAt! < new Date());
    // The regular look is every 10 s; this is a hint to look now.
    bed.core.bus.wake('keys', { keyId: apiKey.id });
    expect(await ended).toBe('cut');
    script.open(gate);
  });

  it('a client token sees in its feed only the project that it is narrowed to', async () => {
    const account = await bed.createAccount();
    const project = (
      await bed.graphql(
        'mutation { createProject(input: { name: "p" }) { ... on CreateProjectSuccess { project { id } } } }',
        {},
        account,
      )
    ).data.createProject.project.id;
    const { data } = await bed.graphql(
      'mutation ($project: ID) { createClientToken(input: { scopes: ["tasks:read", "tasks:write"], projectId: $project }) { ... on CreateClientTokenSuccess { token } } }',
      { project },
      account,
    );
    const { feedCursor: after } = (await bed.graphql('{ tasks { feedCursor } }', {}, account)).data.tasks;
    await submit({}, account.key);
    const inside = await submit({}, data.createClientToken.token);
    for await (const result of open(feed, { after }, data.createClientToken.token)) {
      expect(result.data.taskFeed.taskId).toBe(inside);
      break;
    }
    const elsewhere = (
      await bed.graphql('{ account { projects { id name } } }', {}, account)
    ).data.account.projects.find((each: { name: string }) => each.name === 'default').id;
    const empty = open(feed, { after, filter: { projectId: elsewhere } }, data.createClientToken.token);
    expect(
      await Promise.race([
        empty.next().then(() => 'something'),
        new Promise((resolve) => setTimeout(resolve, 300, 'nothing')),
      ]),
    ).toBe('nothing');
    void empty.return?.();
  });

  it('a key without the scope is told so', async () => {
    const key = await bed.createKey(['account']);
    for await (const { errors } of open(watch, { id: 'x' }, key))
      expect(errors).toMatchObject([{ extensions: { code: 'FORBIDDEN', requiredScope: 'tasks:read' } }]);
  });
});

describe('SSE', () => {
  it('is not buffered by proxies, and is a plain 401 without a key', async () => {
    const ask = (headers: Record<string, string>, signal?: AbortSignal) =>
      fetch(`${bed.url}/graphql`, {
        method: 'POST',
        signal,
        headers: { accept: 'text/event-stream', 'content-type': 'application/json', ...headers },
        body: JSON.stringify({ query: feed }),
      });
    const abort = new AbortController();
    const { status, headers } = await ask({ authorization: `Bearer ${bed.tasksKey}` }, abort.signal);
    expect([
      status,
      headers.get('content-type'),
      headers.get('x-accel-buffering'),
      headers.get('cache-control'),
    ]).toEqual([200, 'text/event-stream', 'no', 'no-cache']);
    abort.abort();
    expect((await ask({})).status).toBe(401);
  });
});

describe('WebSocket', () => {
  const closeCode = (authorization: string | undefined) =>
    new Promise<number>((resolve) => {
      const client = wsClient(authorization, (event) => resolve(event.code));
      client.subscribe({ query: '{ __typename }' }, { next() {}, error() {}, complete() {} });
    });

  it('is closed with 4403 without a good key in connection_init', async () => {
    expect(await closeCode(undefined)).toBe(4403);
    expect(await closeCode('Bearer garbage')).toBe(4403);
    expect(await closeCode('')).toBe(4403);
  });

  it('answers queries and mutations, and codes what it refuses', async () => {
    const client = wsClient(`Bearer ${bed.tasksKey}`);
    const ask = async (query: string) => {
      for await (const result of client.iterate<any>({ query })) return result;
    };
    expect(
      (await ask('{ tasks(first: 1) { nodes { ... on BaseTask { id project { name } } } } }'))?.errors,
    ).toBeUndefined();
    expect(
      (await ask('mutation { createTask(input: { task: { generateText: { prompt: "x" } } }) { __typename } }'))?.data
        .createTask.__typename,
    ).toBe('CreateTaskSuccess');
    expect((await ask('{ tasks(first: 0) { nodes { __typename } } }'))?.errors).toMatchObject([
      { extensions: { code: 'BAD_REQUEST' } },
    ]);
    for (const query of ['{', '{ taks }', `{ ${'health { status } '.repeat(400)} }`]) {
      await expect(ask(query)).rejects.toMatchObject([{ extensions: { code: 'BAD_REQUEST' } }]);
    }
    await client.dispose();
  });

  it('takes 100 operations at once and refuses the next', async () => {
    const id = await submit({ gate: 'many' });
    const client = wsClient(`Bearer ${bed.tasksKey}`);
    let begun = 0;
    const refused = new Promise((resolve) => {
      for (let count = 0; count < 101; count++) {
        client.subscribe(
          { query: watch, variables: { id } },
          { next: () => void begun++, error: resolve, complete() {} },
        );
      }
    });
    expect(await refused).toMatchObject([{ extensions: { code: 'RATE_LIMITED' } }]);
    await eventually(() => begun >= 100);
    await client.dispose();
    script.open('many');
  });

  it('is cut when a message is too large', async () => {
    const socket = new WebSocket(`${bed.url.replace('http', 'ws')}/graphql`, 'graphql-transport-ws');
    await new Promise((resolve) => socket.once('open', resolve));
    const closed = new Promise((resolve) => socket.once('close', resolve));
    socket.on('error', () => {});
    socket.send('x'.repeat(2_500_000));
    expect(await closed).toBe(1009);
  });
});

it('a server that stops cuts SSE without complete and closes WebSockets with 1001: after either, clients connect again', async () => {
  const own = scriptedAdapter();
  const stopping = await createTestBed({ adapters: [own.adapter], worker: false, storage: 'directory' });
  const { data } = await stopping.graphql(
    'mutation { createTask(input: { provider: "scripted", task: { generateText: { prompt: "x" } } }) { ... on CreateTaskSuccess { task { ... on Node { id } } } } }',
  );
  const query = 'subscription ($id: ID!) { taskEvents(id: $id) { seq } }';
  const variables = { id: data.createTask.task.id };
  const events: string[] = [];
  const sse = createSseClient({
    url: `${stopping.url}/graphql`,
    headers: { authorization: `Bearer ${stopping.tasksKey}` },
    retryAttempts: 0,
  });
  const cut = new Promise((resolve) =>
    sse.subscribe(
      { query, variables },
      { next: () => void events.push('next'), error: () => resolve('cut'), complete: () => resolve('completed') },
    ),
  );
  const code = new Promise<number>((resolve) => {
    const client = createWsClient({
      url: `${stopping.url.replace('http', 'ws')}/graphql`,
      webSocketImpl: WebSocket,
      connectionParams: { authorization: `Bearer ${stopping.tasksKey}` },
      retryAttempts: 0,
      on: { closed: (event: any) => resolve(event.code) },
    });
    client.subscribe({ query, variables }, { next: () => void events.push('next'), error() {}, complete() {} });
  });
  await eventually(() => events.length === 2);
  const started = Date.now();
  await stopping.close();
  expect(Date.now() - started).toBeLessThan(5_000);
  expect(await cut).toBe('cut');
  expect(await code).toBe(1001);
});

async function drain(stream: AsyncIterableIterator<any>): Promise<'completed' | 'cut'> {
  try {
    for await (const _ of stream);
    return 'completed';
  } catch {
    return 'cut';
  }
}
