import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createTestBed, eventually, type TestBed } from './kit.ts';
import { type Script, scriptedAdapter } from './scripted-adapter.ts';

let bed: TestBed;
let script: Script;
beforeAll(async () => {
  script = scriptedAdapter();
  bed = await createTestBed({ adapters: [script.adapter] });
});
afterAll(() => bed.close());

const create = `mutation ($input: CreateTaskInput!) {
  createTask(input: $input) {
    __typename
    ... on CreateTaskSuccess { replayed warnings task { ... on BaseTask { id status lastSeq } } }
    ... on UserError { code message }
    ... on ValidationError { issues { path message } }
    ... on InsufficientCreditsError { required available }
    ... on IdempotencyMismatchError { existingId }
    ... on LimitExceededError { limit }
  }
}`;
const everything = `
  __typename id type status progress currentStep queuePosition estimatedDurationMs priority provider model project { id name createdAt }
  tags metadata error { code message retryable providerRequestId } warnings needsReview cancelRequestedAt retryOf
  assets { id kind contentType sizeBytes sha256 width height durationMs url expiresAt createdAt }
  attempts { number provider model startedAt endedAt error { code } }
  cost { quoted charged released basis ledger { id leg amount availableChange heldChange availableAfter heldAfter task { ... on Node { id } } runId note createdAt } }
  webhookDeliveries { id } lastSeq events { __typename seq cursor at taskId task { ... on Node { id } } }
  createdAt runAt startedAt deadlineAt completedAt processingTimeMs`;
const text = (options: object = {}, more: object = {}) => ({
  input: { task: { generateText: { prompt: 'x', options } }, provider: 'scripted', ...more },
});
const image = (more: object = {}) => ({
  input: { task: { generateImage: { prompt: 'x' } }, provider: 'scripted', ...more },
});

async function submit(input: object, key?: string): Promise<string> {
  const { data, errors } = await bed.graphql(create, input, { key: key ?? bed.tasksKey });
  if (!data?.createTask?.task) throw new Error(JSON.stringify(data ?? errors));
  return data.createTask.task.id;
}
async function finished(id: string) {
  return eventually(async () => {
    const { data } = await bed.graphql('query ($id: ID!) { task(id: $id) { ... on BaseTask { status } } }', { id });
    return ['COMPLETED', 'FAILED', 'CANCELLED', 'EXPIRED'].includes(data.task.status) && data.task.status;
  });
}

describe('a task', () => {
  it('shows every field of BaseTask, its input with defaults, and its result with assets', async () => {
    const id = await submit(image({ tags: ['a', 'b'], metadata: { deep: [null, 0, false] }, priority: 0 }));
    expect(await finished(id)).toBe('COMPLETED');
    const query = `query ($id: ID!) { task(id: $id) { ... on BaseTask { ${everything} } ... on GenerateImageTask {
      input { prompt width height count seed referenceImages options } result { images { id url } seed } } } }`;
    const { data, errors } = await bed.graphql(query, { id });
    expect(errors).toBeUndefined();
    expect(data.task).toMatchObject({
      __typename: 'GenerateImageTask',
      id,
      type: 'GENERATE_IMAGE',
      status: 'COMPLETED',
      progress: 1,
      queuePosition: null,
      provider: 'scripted',
      project: { name: 'default' },
      tags: ['a', 'b'],
      metadata: { deep: [null, 0, false] },
      error: null,
      input: { prompt: 'x', width: 1024, height: 1024, count: 1, referenceImages: null },
      attempts: [{ number: 1, provider: 'scripted', error: null }],
      cost: { basis: 'QUOTE', ledger: [{ leg: 'HOLD', task: { id } }, { leg: 'CAPTURE' }] },
    });
    expect(Number.isInteger(data.task.input.seed)).toBe(true);
    expect(data.task.result.images).toHaveLength(1);
    expect(data.task.result.images[0].id).toBe(data.task.assets[0].id);
    expect(data.task.assets[0]).toMatchObject({ kind: 'TEXT', sizeBytes: 4 });
    expect(await (await fetch(data.task.assets[0].url)).text()).toBe('done');
    expect(data.task.events.map((event: { seq: number }) => event.seq)).toEqual(
      data.task.events.map((_: unknown, index: number) => index + 1),
    );
    expect(data.task.lastSeq).toBe(data.task.events.length);
    const later = await bed.graphql(
      'query ($id: ID!) { task(id: $id) { ... on BaseTask { estimatedDurationMs events(after: 1, first: 1) { seq } } } }',
      { id },
    );
    expect(later.data.task.events).toEqual([{ seq: 2 }]);
  });

  it('asks the database once when it is created and only its own columns are asked for', async () => {
    await submit(text());
    const queries = await countQueries(() => submit(text()));
    expect(queries).toEqual(['task_create']);
  });

  it('loads what hangs on the tasks of a list together', async () => {
    for (let count = 0; count < 3; count++) await submit(image());
    const { length: few } = await countQueries(() =>
      bed.graphql(
        `{ tasks(first: 2) { nodes { ... on BaseTask { project { name } assets { id } attempts { number } } } } }`,
      ),
    );
    const { length: more } = await countQueries(() =>
      bed.graphql(
        `{ tasks(first: 4) { nodes { ... on BaseTask { project { name } assets { id } attempts { number } } } } }`,
      ),
    );
    expect(more).toBe(few);
    expect(more).toBeLessThanOrEqual(7);
  });

  it('is found by node(id), as are its project, assets and entries of the ledger', async () => {
    const id = await submit(image());
    await finished(id);
    const key = await bed.createKey(['tasks:read', 'account']);
    const { data } = await bed.graphql(
      'query ($id: ID!) { task(id: $id) { ... on BaseTask { project { id } assets { id } cost { ledger { id } } } } }',
      { id },
    );
    const ids = [id, data.task.project.id, data.task.assets[0].id, data.task.cost.ledger[0].id, bed.account.id];
    const found = await Promise.all(
      ids.map((each) => bed.graphql('query ($id: ID!) { node(id: $id) { __typename id } }', { id: each }, { key })),
    );
    expect(found.map(({ data }) => data.node)).toEqual(
      ['GenerateImageTask', 'Project', 'Asset', 'LedgerEntry', 'Account'].map((__typename, index) => ({
        __typename,
        id: ids[index],
      })),
    );
  });

  it('says its place in its own backlog, by priority', async () => {
    const operator = { key: bed.operatorKey };
    await bed.graphql('mutation { setLane(name: "cpu_intensive", paused: true) { __typename } }', {}, operator);
    const other = await bed.createAccount();
    await submit(text(), other.key);
    const low = await submit(text({}, { priority: 1 }), other.key);
    const high = await submit(text({}, { priority: 9 }), other.key);
    const query = 'query ($id: ID!) { task(id: $id) { ... on BaseTask { queuePosition } } }';
    expect((await bed.graphql(query, { id: high }, { key: other.key })).data.task.queuePosition).toBe(1);
    expect((await bed.graphql(query, { id: low }, { key: other.key })).data.task.queuePosition).toBe(2);
    const { data } = await bed.graphql(
      'mutation { cancelTasks(filter: {}) { ... on CancelTasksSuccess { matched cancelled requested } } }',
      {},
      other,
    );
    expect(data.cancelTasks).toEqual({ matched: 3, cancelled: 3, requested: 0 });
    await bed.graphql('mutation { setLane(name: "cpu_intensive", paused: false) { __typename } }', {}, operator);
  });

  it('is retried once when it is retried twice at once, and deleted only when it has ended', async () => {
    const id = await submit(text({ throws: true }));
    expect(await finished(id)).toBe('FAILED');
    const retry =
      'mutation ($id: ID!) { retryTask(id: $id) { __typename ... on CreateTaskSuccess { task { ... on BaseTask { id retryOf } } } ... on UserError { code } } }';
    const [one, two] = await Promise.all([bed.graphql(retry, { id }), bed.graphql(retry, { id })]);
    expect(one.data.retryTask.task.retryOf).toBe(id);
    expect(two.data.retryTask.task.id).toBe(one.data.retryTask.task.id);
    const remove =
      'mutation ($id: ID!) { deleteTask(id: $id) { __typename ... on DeleteTaskSuccess { id } ... on UserError { code } } }';
    expect((await bed.graphql(remove, { id })).data.deleteTask).toEqual({ __typename: 'DeleteTaskSuccess', id });
    expect((await bed.graphql(remove, { id })).data.deleteTask).toEqual({
      __typename: 'NotFoundError',
      code: 'NOT_FOUND',
    });
    const cancel = 'mutation ($id: ID!) { cancelTask(id: $id) { __typename ... on UserError { code } } }';
    const done = await submit(text());
    await finished(done);
    expect((await bed.graphql(cancel, { id: done })).data.cancelTask).toMatchObject({ __typename: 'ConflictError' });
    const review =
      'mutation ($id: ID!) { reviewTask(id: $id, decision: FAIL_RELEASE) { __typename ... on UserError { code } ... on ForbiddenError { requiredScope } } }';
    expect((await bed.graphql(review, { id: done }, { key: bed.operatorKey })).data.reviewTask).toMatchObject({
      __typename: 'ConflictError',
      code: 'NOT_IN_REVIEW',
    });
    expect((await bed.graphql(review, { id: done })).data.reviewTask).toMatchObject({
      __typename: 'ForbiddenError',
      requiredScope: 'operator',
    });
  });
});

describe('many at once', () => {
  const createMany = `mutation ($inputs: [CreateTaskInput!]!) { createTasks(inputs: $inputs) {
    __typename ... on CreateTaskSuccess { task { ... on BaseTask { id } } } ... on UserError { code } ... on ValidationError { issues { path } } } }`;

  it('are created each on its own, in order', async () => {
    const inputs = Array.from(
      { length: 20 },
      (_, index) => text({}, { idempotencyKey: `many-${index}`, priority: index === 3 ? 12 : 0 }).input,
    );
    delete (inputs[5] as { idempotencyKey?: string }).idempotencyKey;
    const { data } = await bed.graphql(createMany, { inputs });
    expect(data.createTasks.map((each: { __typename: string }) => each.__typename)).toEqual(
      inputs.map((_, index) => (index === 3 || index === 5 ? 'ValidationError' : 'CreateTaskSuccess')),
    );
    expect(data.createTasks[5].issues[0].path).toEqual(['idempotencyKey']);
    const again = await bed.graphql(createMany, { inputs });
    expect(again.data.createTasks[0].task.id).toBe(data.createTasks[0].task.id);
  });

  it('are at most 100', async () => {
    const inputs = Array.from({ length: 101 }, (_, index) => text({}, { idempotencyKey: `too-many-${index}` }).input);
    const { errors } = await bed.graphql(createMany, { inputs });
    expect(errors?.[0]?.extensions?.code).toBe('BAD_REQUEST');
  });
});

describe('a list of tasks', () => {
  const list = `query ($first: Int, $after: String, $filter: TaskFilter) { tasks(first: $first, after: $after, filter: $filter) {
    edges { cursor node { ... on Node { id } } } nodes { ... on BaseTask { id status } } feedCursor pageInfo { hasNextPage hasPreviousPage startCursor endCursor } } }`;

  it('comes newest first, page by page, without gaps or doubles', async () => {
    const { key } = await bed.createAccount();
    const ids: string[] = [];
    for (let count = 0; count < 7; count++) ids.unshift(await submit(text(), key));
    const seen: string[] = [];
    let after: string | null = null;
    do {
      const { data }: { data: any } = await bed.graphql(list, { first: 3, after }, { key });
      seen.push(...data.tasks.nodes.map((node: { id: string }) => node.id));
      expect(data.tasks.pageInfo.hasPreviousPage).toBe(after !== null);
      expect(data.tasks.edges.at(-1).cursor).toBe(data.tasks.pageInfo.endCursor);
      after = data.tasks.pageInfo.hasNextPage ? data.tasks.pageInfo.endCursor : null;
    } while (after);
    expect(seen).toEqual(ids);
  });

  it('is narrowed by every field of the filter; a project of another account matches nothing', async () => {
    const account = await bed.createAccount();
    const { key } = account;
    const tagged = await submit(text({}, { tags: ['red', 'blue'] }), key);
    await submit(image({ tags: ['red'] }), key);
    const narrowed = async (filter: object) =>
      (await bed.graphql(list, { filter }, { key })).data.tasks.nodes.map((node: { id: string }) => node.id);
    expect(await narrowed({ tags: ['red', 'blue'] })).toEqual([tagged]);
    expect(await narrowed({ type: ['GENERATE_TEXT'] })).toEqual([tagged]);
    expect(await narrowed({ tags: ['red'], type: [] })).toHaveLength(2);
    expect(await narrowed({ status: ['EXPIRED', 'CANCELLED'] })).toEqual([]);
    expect(await narrowed({ needsReview: true })).toEqual([]);
    expect(await narrowed({ createdAfter: '2100-01-01T00:00:00Z' })).toEqual([]);
    expect(await narrowed({ createdBefore: '2100-01-01T00:00:00Z' })).toHaveLength(2);
    const { data } = await bed.graphql('{ account { projects { id } } }', {}, account);
    expect(await narrowed({ projectId: data.account.projects[0].id })).toHaveLength(2);
    expect((await bed.graphql(list, { filter: { projectId: data.account.projects[0].id } })).data.tasks.nodes).toEqual(
      [],
    );
    expect(await narrowed({ projectId: 'garbage' })).toEqual([]);
  });

  it('passes the limits also when a client asks for everything of 100 tasks at once', async () => {
    const members = [
      'GenerateVideo',
      'GenerateImage',
      'GenerateCharacterVoice',
      'ProcessAudio',
      'RenderAnimation',
      'GenerateText',
      'TestPrompt',
    ];
    const inputs = members.map((name) => `... on ${name}Task { input { options } }`).join(' ');
    const { errors } =
      await bed.graphql(`{ tasks(first: 100) { nodes { ... on BaseTask { id type status progress currentStep priority provider model project { id name }
      error { code message } assets { id url kind } cost { quoted charged } createdAt startedAt completedAt } ${inputs} } pageInfo { endCursor hasNextPage } } }`);
    expect(errors).toBeUndefined();
  });
});

/** Names or texts of the statements that the API sends meanwhile, but those that nobody waits for. */
async function countQueries(work: () => Promise<unknown>): Promise<string[]> {
  const { pool } = bed.core.db;
  const seen: string[] = [];
  const query = pool.query.bind(pool) as any;
  pool.query = ((statement: { name?: string; text?: string }, ...rest: unknown[]) => {
    const text = statement.name ?? statement.text ?? String(statement);
    if (!text.includes('api_key') && !text.startsWith('events_')) seen.push(text);
    return query(statement, ...rest);
  }) as any;
  try {
    await work();
  } finally {
    pool.query = query;
  }
  return seen;
}
