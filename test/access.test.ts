import { SignJWT } from 'jose';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { authenticate, createApiKey } from '../src/access.ts';
import { isWellFormed, mintSecret } from '../src/key.ts';
import { createTestBed, eventually, type TestBed } from './kit.ts';
import { scriptedAdapter } from './scripted-adapter.ts';

let bed: TestBed;
let accountKey: string;
beforeAll(async () => {
  bed = await createTestBed({ adapters: [scriptedAdapter().adapter], worker: false, storage: 'directory' });
  accountKey = await bed.createKey(['account']);
});
afterAll(() => bed.close());

const create =
  'mutation ($project: ID) { createTask(input: { projectId: $project, task: { generateText: { prompt: "x" } } }) { __typename ... on CreateTaskSuccess { task { ... on BaseTask { id project { id } } } } ... on UserError { code message } ... on ForbiddenError { requiredScope } } }';
const createToken = `mutation ($input: CreateClientTokenInput!) { createClientToken(input: $input) {
  __typename ... on CreateClientTokenSuccess { token expiresAt } ... on UserError { code } ... on ValidationError { issues { path message } } } }`;
const createKey = `mutation ($input: CreateApiKeyInput!) { createApiKey(input: $input) {
  __typename ... on CreateApiKeySuccess { secret apiKey { id hint scopes lastUsedAt } } ... on UserError { code message } ... on ValidationError { issues { path message } } ... on ForbiddenError { requiredScope } } }`;
const revokeKey =
  'mutation ($id: ID!) { revokeApiKey(id: $id) { __typename ... on RevokeApiKeySuccess { apiKey { revokedAt } } } }';

async function token(input: object): Promise<string> {
  const { data } = await bed.graphql(createToken, { input }, { key: accountKey });
  if (!data.createClientToken.token) throw new Error(JSON.stringify(data));
  return data.createClientToken.token;
}
async function submit(key = bed.tasksKey, project?: string): Promise<{ id: string; project: { id: string } }> {
  return (await bed.graphql(create, { project }, { key })).data.createTask.task;
}
async function newProject(): Promise<string> {
  const { data } = await bed.graphql(
    'mutation { createProject(input: { name: "another" }) { ... on CreateProjectSuccess { project { id name } } } }',
    {},
    { key: accountKey },
  );
  return data.createProject.project.id;
}

describe('a request without a good key', () => {
  const good = mintSecret();
  const table: [string, string | undefined][] = [
    ['none', undefined],
    ['an empty one', ''],
    ['no Bearer', good],
    ['another scheme', `Basic ${good}`],
    ['garbage', 'Bearer garbage'],
    ['a wrong checksum', `Bearer ${good.slice(0, -1)}${good.endsWith('0') ? '1' : '0'}`],
    ['a well-formed one that nobody has', `Bearer ${good}`],
    [
      'a token of another secret',
      'Bearer eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJ4In0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U',
    ],
    ['a token without a signature', 'Bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiJ4In0.'],
  ];
  it.each(table)('%s: 401 and UNAUTHENTICATED, whatever it asks', async (_name, authorization) => {
    for (const body of [
      '{"query":"{ __typename }"}',
      '{"query":"{"}',
      'garbage',
      '{"query":"{ __schema { types { name } } }"}',
    ]) {
      const response = await fetch(`${bed.url}/graphql`, {
        method: 'POST',
        headers: { 'content-type': 'application/json', ...(authorization !== undefined && { authorization }) },
        body,
      });
      expect(response.status).toBe(401);
      expect(await response.json()).toMatchObject({ errors: [{ extensions: { code: 'UNAUTHENTICATED' } }] });
    }
    const response = await fetch(`${bed.url}/graphql?query={__typename}`, {
      headers: authorization === undefined ? {} : { authorization },
    });
    expect(response.status).toBe(401);
  });

  it('a malformed key is refused without a look at the database', async () => {
    expect(isWellFormed(good)).toBe(true);
    expect(isWellFormed(`${good}0`)).toBe(false);
    const pool = bed.core.db.pool;
    const query = pool.query;
    let asked = 0;
    pool.query = ((...args: never[]) => {
      asked++;
      return (query as any).apply(pool, args);
    }) as never;
    await authenticate(bed.core, `Bearer ${good.slice(0, -2)}zz`);
    pool.query = query;
    expect(asked).toBe(0);
  });
});

describe('an API key', () => {
  it('is shown once, kept as a hash, hinted at, and noted when it is used', async () => {
    const { data } = await bed.graphql(
      createKey,
      { input: { name: ' web ', scopes: ['tasks:read', 'tasks:read'] } },
      { key: accountKey },
    );
    const { secret, apiKey } = data.createApiKey;
    expect(isWellFormed(secret)).toBe(true);
    expect(apiKey).toEqual({
      id: apiKey.id,
      hint: `${secret.slice(0, 8)}…${secret.slice(-4)}`,
      scopes: ['tasks:read'],
      lastUsedAt: null,
    });
    const [row] = await bed.sql('select * from api_key where hint = $1', [apiKey.hint]);
    expect(JSON.stringify(row)).not.toContain(secret);
    expect((await bed.graphql('{ tasks { nodes { __typename } } }', {}, { key: secret })).errors).toBeUndefined();
    await eventually(
      async () =>
        (
          await bed.graphql(
            'query ($id: ID!) { node(id: $id) { ... on ApiKey { lastUsedAt } } }',
            { id: apiKey.id },
            { key: accountKey },
          )
        ).data.node.lastUsedAt,
    );
  });

  it('is refused at once when it is revoked, by every process, and revoking it again answers the same', async () => {
    const { data } = await bed.graphql(
      createKey,
      { input: { name: 'x', scopes: ['tasks:read'] } },
      { key: accountKey },
    );
    const { secret: key, apiKey } = data.createApiKey;
    expect((await bed.graphql('{ health { version } }', {}, { key })).status).toBe(200);
    const first = await bed.graphql(revokeKey, { id: apiKey.id }, { key: accountKey });
    expect((await bed.graphql('{ health { version } }', {}, { key })).status).toBe(401);
    expect(await bed.graphql(revokeKey, { id: apiKey.id }, { key: accountKey })).toEqual(first);
  });

  it('is refused when it has expired', async () => {
    const { secret } = await createApiKey(bed.core, {
      accountId: bed.account.uuid,
      name: 'x',
      scopes: ['tasks:read'],
      expiresAt: new Date(Date.now() + 300),
    });
    expect((await bed.graphql('{ health { version } }', {}, { key: secret })).status).toBe(200);
    await eventually(async () => (await bed.graphql('{ health { version } }', {}, { key: secret })).status === 401);
  });

  const bad: [string, object, string[]][] = [
    ['the scope operator', { name: 'x', scopes: ['operator'] }, ['scopes']],
    ['an unknown scope', { name: 'x', scopes: ['tasks:read', 'everything'] }, ['scopes']],
    ['no scope', { name: 'x', scopes: [] }, ['scopes']],
    ['an empty name', { name: '  ', scopes: ['tasks:read'] }, ['name']],
    ['an expiry in the past', { name: 'x', scopes: ['tasks:read'], expiresAt: '2020-01-01T00:00:00Z' }, ['expiresAt']],
  ];
  it.each(bad)('cannot be created with %s, by an operator either', async (_name, input, path) => {
    for (const key of [accountKey, bed.operatorKey]) {
      const { data } = await bed.graphql(createKey, { input }, { key });
      expect(data.createApiKey).toMatchObject({ __typename: 'ValidationError', issues: [{ path }] });
    }
  });

  it('for another account needs the scope operator; without it a foreign id and garbage answer alike', async () => {
    const { id } = await bed.createAccount(0);
    const input = (accountId: string) => ({ input: { name: 'x', scopes: ['tasks:read'], accountId } });
    expect((await bed.graphql(createKey, input(id), { key: bed.operatorKey })).data.createApiKey.__typename).toBe(
      'CreateApiKeySuccess',
    );
    expect(
      (await bed.graphql(createKey, input(bed.account.id), { key: accountKey })).data.createApiKey.__typename,
    ).toBe('CreateApiKeySuccess');
    const foreign = await bed.graphql(createKey, input(id), { key: accountKey });
    expect(foreign.data.createApiKey).toMatchObject({ __typename: 'ForbiddenError', requiredScope: 'operator' });
    expect(await bed.graphql(createKey, input('garbage'), { key: accountKey })).toEqual(foreign);
    expect(
      (await bed.graphql(createKey, input('garbage'), { key: bed.operatorKey })).data.createApiKey.__typename,
    ).toBe('NotFoundError');
  });
});

describe('scopes', () => {
  const queries: [string, string, string[]][] = [
    ['tasks', '{ tasks { nodes { __typename } } }', ['tasks:read']],
    ['task', '{ task(id: "x") { __typename } }', ['tasks:read']],
    ['project', '{ project(id: "x") { id } }', ['tasks:read', 'account']],
    ['account', '{ account { id } }', ['account']],
    ['accounts', '{ accounts { nodes { id } } }', ['operator']],
    ['prices', '{ prices { unit } }', ['operator']],
    ['routes', '{ routes { taskType } }', ['operator']],
    ['lanes', '{ lanes { name } }', ['operator']],
    [
      'providers',
      '{ providers { name title version taskTypes models { id taskTypes options typicalMs } capabilities state } }',
      ['tasks:read', 'tasks:write', 'account', 'operator'],
    ],
    ['health', '{ health { status } }', ['tasks:read', 'tasks:write', 'account', 'operator']],
  ];
  it.each(queries)('query %s', async (_name, query, allowed) => {
    for (const scope of ['tasks:read', 'tasks:write', 'account', 'operator']) {
      const { errors } = await bed.graphql(query, {}, { key: await bed.createKey([scope]) });
      expect([scope, errors?.[0]?.extensions?.code]).toEqual([
        scope,
        allowed.includes(scope) ? undefined : 'FORBIDDEN',
      ]);
    }
  });

  const mutations: [string, string, string[]][] = [
    ['createTask', 'createTask(input: { task: { generateText: { prompt: "" } } })', ['tasks:write']],
    ['cancelTask', 'cancelTask(id: "x")', ['tasks:write']],
    ['cancelTasks', 'cancelTasks(filter: { tags: ["none"] })', ['tasks:write']],
    ['retryTask', 'retryTask(id: "x")', ['tasks:write']],
    ['deleteTask', 'deleteTask(id: "x")', ['tasks:write']],
    ['createUpload', 'createUpload(input: { contentType: "image/png", sizeBytes: 0 })', ['tasks:write']],
    ['completeUpload', 'completeUpload(id: "x")', ['tasks:write']],
    ['redeliverWebhook', 'redeliverWebhook(id: "x")', ['tasks:write']],
    ['createProject', 'createProject(input: { name: "" })', ['account', 'operator']],
    ['createApiKey', 'createApiKey(input: { name: "", scopes: [] })', ['account', 'operator']],
    ['revokeApiKey', 'revokeApiKey(id: "x")', ['account']],
    ['createClientToken', 'createClientToken(input: { scopes: [] })', ['account']],
    ['rotateWebhookSecret', 'rotateWebhookSecret', ['account']],
    ['createAccount', 'createAccount(input: { name: "" })', ['operator']],
    ['grantCredits', 'grantCredits(accountId: "x", amount: 1, idempotencyKey: "x")', ['operator']],
    ['adjustCredits', 'adjustCredits(accountId: "x", change: 1, idempotencyKey: "x", note: "x")', ['operator']],
    ['setPrice', 'setPrice(input: { taskType: GENERATE_TEXT, unit: "X", creditsPerUnit: "1" })', ['operator']],
    ['setRoute', 'setRoute(taskType: GENERATE_TEXT, targets: [{ provider: "x" }])', ['operator']],
    ['setLane', 'setLane(name: "x")', ['operator']],
    ['reviewTask', 'reviewTask(id: "x", decision: FAIL_RELEASE)', ['operator']],
  ];
  it.each(mutations)('mutation %s', async (_name, field, allowed) => {
    for (const scope of ['tasks:read', 'tasks:write', 'account', 'operator']) {
      const { data, errors } = await bed.graphql(
        `mutation { answer: ${field} { __typename ... on UserError { code } } }`,
        {},
        { key: await bed.createKey([scope]) },
      );
      expect(errors).toBeUndefined();
      expect([scope, data.answer.__typename === 'ForbiddenError']).toEqual([scope, !allowed.includes(scope)]);
      expect(data.answer.__typename).not.toBe('UnavailableError');
    }
  });

  it('an account sees nothing of another: its ledger, keys and projects', async () => {
    const other = await bed.createAccount();
    const { data } = await bed.graphql(
      '{ account { id available held ledger { nodes { leg amount } } projects { name } apiKeys { hint } } }',
      {},
      { key: other.key },
    );
    expect(data.account).toEqual({
      id: other.id,
      available: 1_000_000,
      held: 0,
      ledger: { nodes: [{ leg: 'GRANT', amount: 1_000_000 }] },
      projects: [{ name: 'default' }],
      apiKeys: [expect.anything()],
    });
    const nodes = await bed.graphql(
      'query ($id: ID!) { node(id: $id) { id } }',
      { id: bed.account.id },
      { key: other.key },
    );
    expect(nodes.data.node).toBeNull();
  });
});

it('node(id) asks for the same scope as task(id)', async () => {
  const { id } = await submit();
  const writer = await bed.createKey(['tasks:write']);
  const garbage = (prefix: string) => `${prefix}_01h455vb4pex5vsknk084sn02q`;
  for (const each of [id, garbage('task'), garbage('asset'), garbage('delivery')]) {
    const { data, errors } = await bed.graphql(
      'query ($id: ID!) { node(id: $id) { id } }',
      { id: each },
      { key: writer },
    );
    expect(data).toEqual({ node: null });
    expect(errors).toMatchObject([{ path: ['node'], extensions: { code: 'FORBIDDEN', requiredScope: 'tasks:read' } }]);
  }
});

describe('a client token', () => {
  it('reads and writes what its scopes say, and nothing of the account', async () => {
    const key = await token({ scopes: ['tasks:read', 'tasks:write'] });
    const { id } = await submit(key);
    expect(
      (await bed.graphql('query ($id: ID!) { task(id: $id) { __typename } }', { id }, { key })).data.task,
    ).not.toBeNull();
    expect((await bed.graphql('{ account { id } }', {}, { key })).errors?.[0]?.extensions?.code).toBe('FORBIDDEN');
    expect(
      (await bed.graphql(createToken, { input: { scopes: ['tasks:read'] } }, { key })).data.createClientToken
        .__typename,
    ).toBe('ForbiddenError');
    const reader = await token({ scopes: ['tasks:read'] });
    expect((await bed.graphql(create, {}, { key: reader })).data.createTask).toMatchObject({
      __typename: 'ForbiddenError',
      requiredScope: 'tasks:write',
    });
  });

  it('that is narrowed to tasks sees these, and creates none', async () => {
    const seen = await submit();
    const hidden = await submit();
    const key = await token({ scopes: ['tasks:read', 'tasks:write'], taskIds: [seen.id] });
    const show = 'query ($id: ID!) { task(id: $id) { ... on Node { id } } node(id: $id) { id } }';
    expect((await bed.graphql(show, { id: seen.id }, { key })).data).toEqual({
      task: { id: seen.id },
      node: { id: seen.id },
    });
    expect((await bed.graphql(show, { id: hidden.id }, { key })).data).toEqual({ task: null, node: null });
    expect((await bed.graphql('{ tasks { nodes { ... on Node { id } } } }', {}, { key })).data.tasks.nodes).toEqual([
      { id: seen.id },
    ]);
    const cancel = 'mutation ($id: ID!) { cancelTask(id: $id) { __typename } }';
    expect((await bed.graphql(cancel, { id: hidden.id }, { key })).data.cancelTask.__typename).toBe('NotFoundError');
    expect(
      (await bed.graphql('mutation { cancelTasks(filter: {}) { ... on CancelTasksSuccess { matched } } }', {}, { key }))
        .data.cancelTasks.matched,
    ).toBe(1);
    for (const query of [
      create,
      'mutation { createTask: retryTask(id: "x") { __typename } }',
      'mutation { createTask: createUpload(input: { contentType: "image/png", sizeBytes: 5 }) { __typename } }',
      'mutation { createTask: completeUpload(id: "x") { __typename } }',
    ]) {
      expect((await bed.graphql(query, {}, { key })).data.createTask.__typename).toBe('ForbiddenError');
    }
  });

  it('that is narrowed to a project sees and creates only there', async () => {
    const project = await newProject();
    const key = await token({ scopes: ['tasks:read', 'tasks:write'], projectId: project });
    const outside = await submit();
    const inside = await submit(key);
    expect(inside.project.id).toBe(project);
    expect((await submit(key, project)).project.id).toBe(project);
    const refused = await bed.graphql(create, { project: outside.project.id }, { key });
    expect(refused.data.createTask.__typename).toBe('NotFoundError');
    expect(await bed.graphql(create, { project: 'garbage' }, { key })).toEqual(refused);
    expect(
      (await bed.graphql('{ tasks { nodes { ... on BaseTask { project { id } } } } }', {}, { key })).data.tasks.nodes,
    ).toEqual([{ project: { id: project } }, { project: { id: project } }]);
    expect(
      (await bed.graphql('query ($id: ID!) { project(id: $id) { id } }', { id: outside.project.id }, { key })).data
        .project,
    ).toBeNull();
  });

  it('that is narrowed to a project completes no upload of another', async () => {
    const projectId = await newProject();
    const key = await token({ scopes: ['tasks:write'], projectId });
    const upload = async (by: string) => {
      const { data } = await bed.graphql(
        'mutation { createUpload(input: { contentType: "text/plain", sizeBytes: 5 }) { ... on CreateUploadSuccess { id url method headers } } }',
        {},
        { key: by },
      );
      const { id, url, method, headers } = data.createUpload;
      await fetch(url, { method, headers, body: 'hello' });
      return id;
    };
    const complete = (id: string) =>
      bed.graphql(
        'mutation ($id: ID!) { completeUpload(id: $id) { __typename ... on UserError { code message } } }',
        { id },
        { key },
      );
    expect((await complete(await upload(key))).data.completeUpload).toEqual({ __typename: 'CompleteUploadSuccess' });
    const foreign = await complete(await upload(bed.tasksKey));
    expect(foreign.data.completeUpload.__typename).toBe('NotFoundError');
    expect(await complete('garbage')).toEqual(foreign);
  });

  it('that is narrowed sees what a task costs, and not the balance', async () => {
    const { id } = await submit();
    const show = (fields: string, key: string) =>
      bed.graphql(
        `query ($id: ID!) { task(id: $id) { ... on BaseTask { cost { ledger { ${fields} } } } } }`,
        { id },
        { key },
      );
    const key = await token({ scopes: ['tasks:read'], taskIds: [id] });
    expect((await show('leg amount availableChange heldChange', key)).errors).toBeUndefined();
    for (const field of ['availableAfter', 'heldAfter']) {
      expect((await show(field, bed.tasksKey)).errors).toBeUndefined();
      expect((await show(field, key)).errors).toMatchObject([
        { path: ['task', 'cost', 'ledger', 0, field], extensions: { code: 'FORBIDDEN' } },
      ]);
    }
  });

  const bad: [string, object, string[]][] = [
    ['a scope beyond tasks', { scopes: ['account'] }, ['scopes']],
    ['a life under a minute', { scopes: ['tasks:read'], expiresInSeconds: 59 }, ['expiresInSeconds']],
    ['a life above a day', { scopes: ['tasks:read'], expiresInSeconds: 86_401 }, ['expiresInSeconds']],
    ['no task', { scopes: ['tasks:read'], taskIds: [] }, ['taskIds']],
  ];
  it.each(bad)('cannot be made with %s', async (_name, input, path) => {
    const { data } = await bed.graphql(createToken, { input }, { key: accountKey });
    expect(data.createClientToken).toMatchObject({ __typename: 'ValidationError', issues: [{ path }] });
  });

  it('dies with the key that made it', async () => {
    const { data } = await bed.graphql(createKey, { input: { name: 'x', scopes: ['account'] } }, { key: accountKey });
    const made = await bed.graphql(
      createToken,
      { input: { scopes: ['tasks:read'] } },
      { key: data.createApiKey.secret },
    );
    const key = made.data.createClientToken.token;
    expect((await bed.graphql('{ tasks { nodes { __typename } } }', {}, { key })).status).toBe(200);
    await bed.graphql(revokeKey, { id: data.createApiKey.apiKey.id }, { key: accountKey });
    expect((await bed.graphql('{ tasks { nodes { __typename } } }', {}, { key })).status).toBe(401);
  });

  it('is refused when it has expired or is signed with another key', async () => {
    const claims = JSON.parse(
      Buffer.from((await token({ scopes: ['tasks:read'] })).split('.')[1]!, 'base64url').toString(),
    );
    const forge = (payload: object, secret: string) =>
      new SignJWT(payload as never).setProtectedHeader({ alg: 'HS256' }).sign(new TextEncoder().encode(secret));
    for (const key of [
      await forge(claims, bed.core.secret),
      await forge({ ...claims, exp: 1 }, bed.core.secret),
      await forge(claims, 'x'.repeat(32)),
    ]) {
      expect((await bed.graphql('{ __typename }', {}, { key })).status).toBe(401);
    }
  });
});

it('rotates the secret of webhooks and keeps the old one for 24 h', async () => {
  const read = () =>
    bed.sql<{ now: string; before: string; until: Date }>(
      'select webhook_secret as now, previous_webhook_secret as before, previous_webhook_secret_until as until from account where id = $1',
      [bed.account.uuid],
    );
  const [old] = await read();
  const { data } = await bed.graphql(
    'mutation { rotateWebhookSecret { ... on RotateWebhookSecretSuccess { secret } } }',
    {},
    { key: accountKey },
  );
  const [row] = await read();
  expect(row).toMatchObject({ now: data.rotateWebhookSecret.secret, before: old!.now });
  expect(data.rotateWebhookSecret.secret).toMatch(/^whsec_[A-Za-z0-9+/]{43}=$/);
  expect(row!.until.getTime() - Date.now()).toBeGreaterThan(23 * 3_600_000);
});

it('creates accounts with a default project, for operators', async () => {
  const { data } = await bed.graphql(
    'mutation { createAccount(input: { name: "new" }) { ... on CreateAccountSuccess { account { id name available projects { name } ledger { nodes { id } } } } } }',
    {},
    { key: bed.operatorKey },
  );
  expect(data.createAccount.account).toMatchObject({
    name: 'new',
    available: 0,
    projects: [{ name: 'default' }],
    ledger: { nodes: [] },
  });
  const project = await bed.graphql(
    'mutation ($id: ID!) { createProject(input: { name: "p", accountId: $id }) { __typename } }',
    { id: data.createAccount.account.id },
    { key: bed.operatorKey },
  );
  expect(project.data.createProject.__typename).toBe('CreateProjectSuccess');
});
