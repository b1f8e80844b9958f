import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createTestBed, type TestBed } from './kit.ts';
import { scriptedAdapter } from './scripted-adapter.ts';

let bed: TestBed;
let foreign: { key: string; task: string; project: string; asset: string; apiKey: string };
beforeAll(async () => {
  bed = await createTestBed({ adapters: [scriptedAdapter().adapter], worker: false, storage: 'directory' });
  const { key, uuid } = await bed.createAccount();
  const task = (await bed.graphql(create, { input: { task: { generateText: { prompt: 'x' } } } }, { key })).data
    .createTask.task.id;
  const { data } = await bed.graphql('{ account { projects { id } apiKeys { id } } }', {}, { key });
  const [asset] = await bed.sql<{ id: string }>(
    `insert into asset (account_id, project_id, kind, content_type, size_bytes, sha256, key) select $1, id, 'IMAGE', 'image/png', 1, 'x', 'foreign' from project where account_id = $1 returning id`,
    [uuid],
  );
  const { toId } = await import('../src/id.ts');
  foreign = {
    key,
    task,
    project: data.account.projects[0].id,
    apiKey: data.account.apiKeys[0].id,
    asset: toId('Asset', asset!.id),
  };
});
afterAll(() => bed.close());

const create = `mutation ($input: CreateTaskInput!) { createTask(input: $input) {
  __typename ... on CreateTaskSuccess { task { ... on Node { id } } }
  ... on UserError { code message } ... on ValidationError { issues { path message } } ... on LimitExceededError { limit } ... on InsufficientCreditsError { required available } } }`;
const image = (fields: object, more: object = {}) => ({
  input: { task: { generateImage: { prompt: 'x', ...fields } }, ...more },
});

async function counts(): Promise<unknown> {
  return bed.sql(
    'select (select count(*) from task) as tasks, (select count(*) from ledger_entry) as entries, (select count(*) from idempotency_key) as keys, (select sum(held) from account) as held',
  );
}

describe('what GraphQL itself refuses is a top-level error with its path, and nothing is written', () => {
  const table: [string, object, RegExp][] = [
    [
      'two members in the @oneOf',
      { input: { task: { generateText: { prompt: 'x' }, generateImage: { prompt: 'x' } } } },
      /exactly one/i,
    ],
    ['none', { input: { task: {} } }, /exactly one/i],
    ['a member that is null', { input: { task: { generateText: null } } }, /non-null/i],
    ['an unknown field', image({ colour: 'red' }), /"input\.task\.generateImage".*colour/s],
    ['an unknown member', { input: { task: { makeCoffee: {} } } }, /makeCoffee/],
    ['a field that is missing', { input: { task: { generateImage: {} } } }, /prompt/],
    ['an Int out of range', image({ width: 2 ** 40 }), /32-bit/],
    ['a fraction where a whole number is', image({ width: 1.5 }), /integer/],
    ['text where a number is', image({ width: '1' }), /Int cannot/],
    ['a seed above 2^53', image({ seed: 2 ** 60 }), /SafeInt must be a whole number/],
    [
      'a URL of another scheme',
      image({ referenceImages: ['file:///etc/passwd'] }),
      /URL must be an absolute http or https URL/,
    ],
    ['a callbackUrl that is none', image({}, { callbackUrl: 'here' }), /"input\.callbackUrl".*URL must be/s],
    [
      'a moment that does not exist',
      image({}, { runAt: '2027-02-30T00:00:00Z' }),
      /"input\.runAt".*DateTime must be RFC 3339/s,
    ],
    ['a moment without its offset', image({}, { runAt: '2027-02-20T00:00:00' }), /DateTime must be RFC 3339/],
    [
      'JSON that is nested without end',
      image({}, { metadata: JSON.parse('['.repeat(1_000) + ']'.repeat(1_000)) }),
      /"input\.metadata".*JSON must not be nested more than 64 deep/s,
    ],
    ['credits below 0', image({}, { maxCredits: -1 }), /Credits must be a whole number, 0 to 9007199254740991/],
  ];
  it.each(table)('%s', async (_name, variables, message) => {
    const before = await counts();
    const { data, errors } = await bed.graphql(create, variables);
    expect(data ?? null).toBeNull();
    expect(errors?.[0]?.message).toMatch(message);
    expect(errors?.[0]?.extensions?.code).toBe('BAD_REQUEST');
    expect(await counts()).toEqual(before);
  });
});

describe('what a task type or the lifecycle refuses is a member of the union that says what is allowed', () => {
  const table: [string, () => object, object][] = [
    ['a width out of range', () => image({ width: 5000 }), issue(['task', 'generateImage', 'width'], /4096/)],
    ['an empty prompt', () => image({ prompt: '' }), issue(['task', 'generateImage', 'prompt'], /1/)],
    [
      'a prompt above its limit',
      () => image({ prompt: 'x'.repeat(10_001) }),
      issue(['task', 'generateImage', 'prompt'], /10000/),
    ],
    [
      'too many in a list',
      () => image({ referenceImages: Array(9).fill('https://example.com/a.png') }),
      issue(['task', 'generateImage', 'referenceImages'], /8/),
    ],
    ['a priority out of range', () => image({}, { priority: 10 }), issue(['priority'], /0 to 9/)],
    ['a ttl of 0', () => image({}, { ttlSeconds: 0 }), issue(['ttlSeconds'], /1/)],
    ['an empty idempotencyKey', () => image({}, { idempotencyKey: '' }), issue(['idempotencyKey'], /1 to 255/)],
    ['a NUL character', () => image({ prompt: 'a\0b' }), issue(['task', 'generateImage', 'prompt'], /NUL/)],
    ['an unknown provider', () => image({}, { provider: 'nobody' }), issue(['provider'], /nobody/)],
    ['an unknown model', () => image({}, { model: 'nothing' }), issue(['model'], /nothing/)],
    [
      'a callback to a private address',
      () => image({}, { callbackUrl: 'http://10.0.0.1/' }),
      issue(['callbackUrl'], /./),
    ],
    [
      'an asset of another account',
      () => image({ referenceAssetIds: [foreign.asset] }),
      issue(['task', 'generateImage', 'referenceAssetIds', '0'], /./),
    ],
    [
      'a field across others',
      () => ({ input: { task: { processAudio: { operation: 'MIX' } } } }),
      issue(['task', 'processAudio', 'sources'], /at least one/),
    ],
    [
      'a quote above maxCredits',
      () => image({}, { maxCredits: 1 }),
      { __typename: 'LimitExceededError', code: 'MAX_CREDITS_EXCEEDED', limit: 1 },
    ],
    [
      'a project of another account',
      () => image({}, { projectId: foreign.project }),
      { __typename: 'NotFoundError', code: 'NOT_FOUND' },
    ],
  ];
  it.each(table)('%s', async (_name, variables, expected) => {
    const before = await counts();
    const { data, errors } = await bed.graphql(create, variables());
    expect(errors).toBeUndefined();
    expect(data.createTask).toMatchObject(expected);
    expect(await counts()).toEqual(before);
  });

  function issue(path: string[], message: RegExp) {
    return {
      __typename: 'ValidationError',
      code: 'VALIDATION',
      issues: [{ path, message: expect.stringMatching(message) }],
    };
  }

  it('too few credits: both numbers', async () => {
    const { key } = await bed.createAccount(1);
    const { data } = await bed.graphql(create, image({}), { key });
    expect(data.createTask).toMatchObject({ __typename: 'InsufficientCreditsError', required: 4, available: 1 });
  });
});

it('takes explicit nulls as not given, but those inside of JSON', async () => {
  const given = image(
    { width: null, negativePrompt: null, referenceImages: null, seed: null, options: null },
    { priority: null, tags: null, metadata: { a: null }, ttlSeconds: null },
  );
  const { data } = await bed.graphql(create, given);
  expect(data.createTask.__typename).toBe('CreateTaskSuccess');
  const shown = await bed.graphql(
    'query ($id: ID!) { task(id: $id) { ... on BaseTask { priority tags metadata } ... on GenerateImageTask { input { width negativePrompt } } } }',
    {
      id: data.createTask.task.id,
    },
  );
  expect(shown.data.task).toEqual({
    priority: 0,
    tags: [],
    metadata: { a: null },
    input: { width: 1024, negativePrompt: null },
  });
});

it('answers a body of 10 MB with 413', async () => {
  const { status } = await bed
    .graphql(create, image({ prompt: 'x'.repeat(10_000_000) }))
    .catch(() => ({ status: 413 }));
  expect(status).toBe(413);
});

describe('an id of another account, one of another type, one that is missing and garbage answer alike', () => {
  const garbage = () => [
    'garbage',
    '',
    'task_',
    'task_01h455vb4pex5vsknk084sn02q',
    'TASK_01H455VB4PEX5VSKNK084SN02Q',
    '0192f0c1-1111-7abc-8def-1234567890ab',
    foreign.task,
    foreign.project,
    foreign.asset,
    foreign.apiKey,
    'é'.repeat(500),
  ];
  const table: [string, string][] = [
    ['task', 'query ($id: ID!) { answer: task(id: $id) { __typename } }'],
    ['node', 'query ($id: ID!) { answer: node(id: $id) { __typename } }'],
    ['project', 'query ($id: ID!) { answer: project(id: $id) { __typename } }'],
    [
      'cancelTask',
      'mutation ($id: ID!) { answer: cancelTask(id: $id) { __typename ... on UserError { code message } } }',
    ],
    [
      'retryTask',
      'mutation ($id: ID!) { answer: retryTask(id: $id) { __typename ... on UserError { code message } } }',
    ],
    [
      'deleteTask',
      'mutation ($id: ID!) { answer: deleteTask(id: $id) { __typename ... on UserError { code message } } }',
    ],
    [
      'completeUpload',
      'mutation ($id: ID!) { answer: completeUpload(id: $id) { __typename ... on UserError { code message } } }',
    ],
    [
      'redeliverWebhook',
      'mutation ($id: ID!) { answer: redeliverWebhook(id: $id) { __typename ... on UserError { code message } } }',
    ],
    [
      'createTask in a project',
      'mutation ($id: ID!) { answer: createTask(input: { projectId: $id, task: { generateText: { prompt: "x" } } }) { __typename ... on UserError { code message } } }',
    ],
    [
      'createUpload in a project',
      'mutation ($id: ID!) { answer: createUpload(input: { projectId: $id, contentType: "image/png", sizeBytes: 5 }) { __typename ... on UserError { code message } } }',
    ],
    ['tasks of a project', 'query ($id: ID!) { answer: tasks(filter: { projectId: $id }) { nodes { __typename } } }'],
    [
      'revokeApiKey',
      'mutation ($id: ID!) { answer: revokeApiKey(id: $id) { __typename ... on UserError { code message } } }',
    ],
    [
      'createClientToken for a task',
      'mutation ($id: ID!) { answer: createClientToken(input: { scopes: ["tasks:read"], taskIds: [$id] }) { __typename ... on UserError { code message } } }',
    ],
    [
      'createClientToken for a project',
      'mutation ($id: ID!) { answer: createClientToken(input: { scopes: ["tasks:read"], projectId: $id }) { __typename ... on UserError { code message } } }',
    ],
    [
      'createApiKey for a project',
      'mutation ($id: ID!) { answer: createApiKey(input: { name: "x", scopes: ["tasks:read"], projectId: $id }) { __typename ... on UserError { code message } } }',
    ],
  ];
  it.each(table)('%s', async (_name, query) => {
    const key = await bed.createKey(['tasks:read', 'tasks:write', 'account']);
    const answers = new Set<string>();
    for (const id of garbage()) {
      const response = await fetch(`${bed.url}/graphql`, {
        method: 'POST',
        headers: { 'content-type': 'application/json', authorization: `Bearer ${key}` },
        body: JSON.stringify({ query, variables: { id } }),
      });
      answers.add(`${response.status} ${await response.text()}`);
    }
    expect([...answers]).toHaveLength(1);
  });

  it('taskEvents', async () => {
    const answers = new Set<string>();
    for (const id of garbage()) {
      for await (const result of bed.subscribe('subscription ($id: ID!) { taskEvents(id: $id) { seq } }', { id }))
        answers.add(JSON.stringify(result.errors));
    }
    expect([...answers]).toEqual([expect.stringContaining('"NOT_FOUND"')]);
  });
});

describe('pages', () => {
  const table: [string, string][] = [
    ['a cursor that is none', '{ tasks(after: "hello") { nodes { __typename } } }'],
    [
      'a cursor of another list',
      `{ tasks(after: "${Buffer.from('ledger_01h455vb4pex5vsknk084sn02q').toString('base64url')}") { nodes { __typename } } }`,
    ],
    ['an empty cursor', '{ tasks(after: "") { nodes { __typename } } }'],
    ['first 0', '{ tasks(first: 0) { nodes { __typename } } }'],
    ['first -1', '{ tasks(first: -1) { nodes { __typename } } }'],
    ['first 101', '{ tasks(first: 101) { nodes { __typename } } }'],
    ['the same in the ledger', '{ account { ledger(first: 101) { nodes { id } } } }'],
    ['an expiry of a year', '{ tasks { nodes { ... on BaseTask { events(first: 5000) { seq } } } } }'],
  ];
  it.each(table)('refuse %s with BAD_REQUEST', async (_name, query) => {
    const { errors } = await bed.graphql(query, {}, { key: bed.operatorKey });
    expect(errors?.[0]?.extensions?.code).toBe('BAD_REQUEST');
    expect(errors?.[0]?.message).not.toContain('inside the server');
  });

  it('refuse a feed cursor that is none', async () => {
    for (const after of ['hello', '', Buffer.from('1.2.3').toString('base64url')]) {
      for await (const { errors } of bed.subscribe(
        'subscription ($after: String) { taskFeed(after: $after) { seq } }',
        { after },
      )) {
        expect(errors).toMatchObject([{ extensions: { code: 'BAD_REQUEST' } }]);
      }
    }
  });
});

describe('filters', () => {
  const table: [string, object][] = [
    ['more than 100 tags', { tags: Array.from({ length: 101 }, String) }],
    ['more than 100 statuses', { status: Array.from({ length: 101 }, () => 'QUEUED') }],
    ['a tag with NUL', { tags: ['fine', 'a\0'] }],
    ['a tag with half a character', { tags: ['\ud800'] }],
  ];
  it.each(table)('refuse %s', async (_name, filter) => {
    const list = await bed.graphql('query ($filter: TaskFilter) { tasks(filter: $filter) { nodes { __typename } } }', {
      filter,
    });
    expect(list.errors).toMatchObject([{ path: ['tasks'], extensions: { code: 'BAD_REQUEST' } }]);
    const cancel =
      'mutation ($filter: TaskFilter!) { cancelTasks(filter: $filter) { __typename ... on ValidationError { issues { path } } } }';
    expect((await bed.graphql(cancel, { filter })).data.cancelTasks).toEqual({
      __typename: 'ValidationError',
      issues: [{ path: ['filter', Object.keys(filter)[0]] }],
    });
    const feed = bed.subscribe('subscription ($filter: TaskFilter) { taskFeed(filter: $filter) { seq } }', { filter });
    expect((await feed.next()).value).toMatchObject({ errors: [{ extensions: { code: 'BAD_REQUEST' } }] });
    await feed.return?.();
  });

  it.each(['0000-01-01T00:00:00Z', '0001-01-01T00:00:00+01:00', '9999-12-31T23:59:59-01:00'])(
    'refuse the moment %s',
    async (createdAfter) => {
      const { errors } = await bed.graphql(
        'query ($filter: TaskFilter) { tasks(filter: $filter) { nodes { __typename } } }',
        { filter: { createdAfter } },
      );
      expect(errors).toMatchObject([
        { message: expect.stringContaining('0001 to 9999'), extensions: { code: 'BAD_REQUEST' } },
      ]);
    },
  );

  it('take the first and the last moment there is', async () => {
    const { errors, data } = await bed.graphql(
      '{ tasks(filter: { createdAfter: "0001-01-01T00:00:00Z", createdBefore: "9999-12-31T23:59:59.999Z" }) { nodes { __typename } } none: tasks(filter: { createdBefore: "0001-01-01T00:00:00Z" }) { nodes { __typename } } }',
      {},
      { key: foreign.key },
    );
    expect(errors).toBeUndefined();
    expect(data).toEqual({ tasks: { nodes: [{ __typename: 'GenerateTextTask' }] }, none: { nodes: [] } });
  });
});

describe('documents', () => {
  const table: [string, string][] = [
    ['no GraphQL', '{'],
    ['an unknown field', '{ taks { nodes } }'],
    [
      'more than 15 aliases',
      `{ ${Array.from({ length: 16 }, (_, index) => `a${index}: health { status }`).join(' ')} }`,
    ],
    [
      'more aliases of __typename',
      `{ ${Array.from({ length: 16 }, (_, index) => `a${index}: __typename`).join(' ')} }`,
    ],
    ['more than 1,000 tokens', `{ ${'health { status } '.repeat(400)} }`],
    [
      'too deep',
      `{ tasks { nodes { ... on BaseTask { events { task { ... on BaseTask { events { task { ... on BaseTask { events { task { ... on BaseTask { events { seq } } } } } } } } } } } } } }`,
    ],
    ['too dear', '{ tasks(first: 100) { nodes { ... on BaseTask { events(first: 1000) { seq at taskId } } } } }'],
  ];
  it.each(table)('refuses %s with BAD_REQUEST', async (_name, query) => {
    const { errors, data, status } = await bed.graphql(query);
    expect(data ?? null).toBeNull();
    expect(errors?.[0]?.extensions?.code).toBe('BAD_REQUEST');
    expect([200, 400]).toContain(status);
  });

  it.each(table.slice(2))('does not call %s an error of syntax', async (_name, query) => {
    expect((await bed.graphql(query)).errors?.[0]?.message).toMatch(/^(\w+ )+limit of \d+ exceeded/);
  });

  it.each([
    ['Credits', 'mutation { grantCredits(accountId: "x", idempotencyKey: "x", amount: -5) { __typename } }'],
    [
      'SafeInt',
      'mutation { adjustCredits(accountId: "x", idempotencyKey: "x", note: "", change: 0.5) { __typename } }',
    ],
    ['DateTime', '{ tasks(filter: { createdAfter: "soon" }) { nodes { __typename } } }'],
    [
      'Decimal',
      'mutation { setPrice(input: { taskType: GENERATE_TEXT, unit: "x", creditsPerUnit: 5 }) { __typename } }',
    ],
    [
      'URL',
      'mutation { createTask(input: { task: { generateText: { prompt: "" } }, callbackUrl: "x" }) { __typename } }',
    ],
  ])('says where a literal of %s is that does not fit', async (scalar, query) => {
    const { errors } = await bed.graphql(query, {}, { key: bed.operatorKey });
    expect(errors).toMatchObject([
      {
        message: expect.stringContaining(`${scalar} must be`),
        locations: [{ line: 1, column: expect.any(Number) }],
        extensions: { code: 'BAD_REQUEST' },
      },
    ]);
  });

  it('takes the introspection query', async () => {
    const { getIntrospectionQuery } = await import('graphql');
    const { errors, data } = await bed.graphql(
      getIntrospectionQuery({ oneOf: true, specifiedByUrl: true, inputValueDeprecation: true }),
    );
    expect(errors).toBeUndefined();
    expect(data.__schema.types.length).toBeGreaterThan(100);
  });
});

describe('money', () => {
  const grant = `mutation ($accountId: ID!, $amount: Credits!, $key: String!) { grantCredits(accountId: $accountId, amount: $amount, idempotencyKey: $key) {
    __typename ... on CreditsSuccess { account { available } entry { id leg amount } } ... on UserError { code } ... on ValidationError { issues { path message } } ... on IdempotencyMismatchError { existingId } } }`;
  const operator = () => ({ key: bed.operatorKey });

  it('grants once for one key, and tells another change apart', async () => {
    const { id: accountId } = await bed.createAccount(0);
    const first = await bed.graphql(grant, { accountId, amount: 5, key: 'k' }, operator());
    expect(first.data.grantCredits).toMatchObject({ account: { available: 5 }, entry: { leg: 'GRANT', amount: 5 } });
    expect((await bed.graphql(grant, { accountId, amount: 5, key: 'k' }, operator())).data.grantCredits.entry.id).toBe(
      first.data.grantCredits.entry.id,
    );
    const other = await bed.graphql(grant, { accountId, amount: 6, key: 'k' }, operator());
    expect(other.data.grantCredits).toEqual({
      __typename: 'IdempotencyMismatchError',
      code: 'IDEMPOTENCY_MISMATCH',
      existingId: first.data.grantCredits.entry.id,
    });
  });

  it('refuses a negative grant, a grant of nothing, and one by a key without the scope', async () => {
    const { id: accountId } = await bed.createAccount(0);
    expect(
      (await bed.graphql(grant, { accountId, amount: -5, key: 'n' }, operator())).errors?.[0]?.extensions?.code,
    ).toBe('BAD_REQUEST');
    expect((await bed.graphql(grant, { accountId, amount: 0, key: 'z' }, operator())).data.grantCredits).toMatchObject({
      __typename: 'ValidationError',
      issues: [{ path: ['amount'] }],
    });
    expect((await bed.graphql(grant, { accountId, amount: 5, key: 'f' })).data.grantCredits).toMatchObject({
      __typename: 'ForbiddenError',
    });
    expect(
      (await bed.graphql(grant, { accountId: 'garbage', amount: 5, key: 'g' }, operator())).data.grantCredits,
    ).toMatchObject({ __typename: 'NotFoundError' });
  });

  it('adjusts down to 0 and not below', async () => {
    const { id: accountId } = await bed.createAccount(10);
    const adjust = `mutation ($accountId: ID!, $change: SafeInt!, $key: String!) { adjustCredits(accountId: $accountId, change: $change, idempotencyKey: $key, note: "why") {
      __typename ... on CreditsSuccess { account { available } entry { availableChange } } ... on ValidationError { issues { path } } } }`;
    expect(
      (await bed.graphql(adjust, { accountId, change: -10, key: '1' }, operator())).data.adjustCredits,
    ).toMatchObject({ account: { available: 0 }, entry: { availableChange: -10 } });
    expect(
      (await bed.graphql(adjust, { accountId, change: -1, key: '2' }, operator())).data.adjustCredits,
    ).toMatchObject({ __typename: 'ValidationError', issues: [{ path: ['change'] }] });
  });

  it('sets prices and routes, and quotes by them', async () => {
    const set = `mutation ($input: SetPriceInput!) { setPrice(input: $input) { __typename ... on SetPriceSuccess { price { creditsPerUnit } } ... on ValidationError { issues { path } } } }`;
    const price = (creditsPerUnit: string) =>
      bed.graphql(set, { input: { taskType: 'RENDER_ANIMATION', unit: 'second', creditsPerUnit } }, operator());
    expect((await price('0.0000025')).data.setPrice).toMatchObject({ price: { creditsPerUnit: '0.0000025' } });
    expect((await price('-1')).data.setPrice).toMatchObject({
      __typename: 'ValidationError',
      issues: [{ path: ['creditsPerUnit'] }],
    });
    expect((await price('1e5')).errors?.[0]?.extensions?.code).toBe('BAD_REQUEST');
    const quote = await bed.graphql(
      '{ estimateTask(input: { task: { renderAnimation: { description: "x" } } }) { ... on TaskEstimate { quoted available sufficient provider } } }',
    );
    expect(quote.data.estimateTask).toMatchObject({ quoted: 1, sufficient: true });
    const route = await bed.graphql(
      'mutation { setRoute(taskType: GENERATE_TEXT, targets: [{ provider: "scripted" }]) { ... on SetRouteSuccess { route { taskType targets { provider model } } } } }',
      {},
      operator(),
    );
    expect(route.data.setRoute.route).toEqual({
      taskType: 'GENERATE_TEXT',
      targets: [{ provider: 'scripted', model: null }],
    });
    const { data } = await bed.graphql(
      '{ prices { taskType unit creditsPerUnit } routes { taskType targets { provider } } lanes { name concurrency } accounts(first: 1) { nodes { id } pageInfo { hasNextPage } } }',
      {},
      operator(),
    );
    expect(data.prices.length).toBeGreaterThan(6);
    expect(data.routes).toHaveLength(7);
    expect(data.lanes).toHaveLength(3);
    expect(data.accounts.pageInfo.hasNextPage).toBe(true);
  });
});
