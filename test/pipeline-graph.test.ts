import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { fromId, toId } from '../src/id.ts';
import { changeCredits } from '../src/lifecycle/credits.ts';
import { setPrice } from '../src/lifecycle/prices.ts';
import { setRoute } from '../src/lifecycle/routes.ts';
import { readBatches, writeBegun } from '../src/pipelines/batch.ts';
import { kindOf } from '../src/pipelines/stages/index.ts';
import { createTestBed, eventually, type TestBed } from './kit.ts';
import { text as stage } from './pipeline-kit.ts';

let bed: TestBed;
let projectId: string;
let stranger: { uuid: string; key: string };
beforeAll(async () => {
  bed = await createTestBed({
    environment: {
      ATELIER_ADAPTER_SCRIPTED: '{"enabled":true}',
      ATELIER_LANE_CONCURRENCY: 'cpu_intensive=50',
    },
  });
  await setRoute(bed.core, 'generate_text', [{ provider: 'scripted', model: null }]);
  projectId = await newProject();
  stranger = await bed.createAccount();
});
afterAll(() => bed.close());

/** Each test has a project of its own, so that none sees another's items and runs. */
async function newProject(account = bed.account.uuid): Promise<string> {
  const row = await bed.core.db.prisma.project.create({ data: { accountId: account, name: 'test' } });
  return toId('Project', row.id);
}

/** The one field of an operation, without errors. */
async function ask(query: string, variables: object = {}, key?: string): Promise<any> {
  const { data, errors } = await bed.graphql(query, variables, key ? { key } : {});
  expect(errors).toBeUndefined();
  return Object.values(data)[0];
}
const refusal = '... on UserError { __typename code message }';
const issues = `${refusal} ... on ValidationError { issues { path message } }`;

const create = (definition: unknown, key?: string) =>
  ask(
    `mutation ($definition: JSON!) { createPipeline(definition: $definition) {
      ... on CreatePipelineSuccess { pipeline { id name version stages { key title kind input output taskType } } } ${issues} } }`,
    { definition },
    key,
  );
const add = (items: unknown[], kind = 'word', project = projectId, key?: string) =>
  ask(
    `mutation ($project: ID!, $kind: String!, $items: [JSON!]!) { addItems(projectId: $project, kind: $kind, items: $items) { ... on AddItemsSuccess { added skipped } ${issues} } }`,
    { project, kind, items },
    key,
  );
const runFields = `id status reason trigger input currentStage lastSeq creditsEstimated creditsHeld creditsUsed startedAt pausedAt completedAt error { code }
  project { id } pipeline { name version } stages { key status waiting running done failed partial creditsUsed startedAt completedAt }`;
const start = (variables: object, key?: string) =>
  ask(
    `mutation ($project: ID!, $pipeline: String!, $input: JSON, $idempotencyKey: String) {
      startRun(projectId: $project, pipeline: $pipeline, input: $input, idempotencyKey: $idempotencyKey) {
        ... on RunSuccess { run { ${runFields} } } ... on RunAlreadyActiveError { runId }
        ... on InsufficientCreditsError { required available } ... on IdempotencyMismatchError { existingId } ${issues} } }`,
    { project: projectId, ...variables },
    key,
  );
const command = (name: string, id: string, more = '', key?: string) =>
  ask(
    `mutation ($id: ID!) { ${name}(id: $id ${more}) { ... on RunSuccess { run { id status } } ${refusal} } }`,
    { id },
    key,
  );
const readRun = (id: string, key?: string) => ask(`query ($id: ID!) { run(id: $id) { ${runFields} } }`, { id }, key);
const reaches = (id: string, ...statuses: string[]) =>
  eventually(async () => {
    const run = await readRun(id);
    return statuses.includes(run.status) ? run : null;
  }, 30_000);
const configure = (input: object, key?: string) =>
  ask(
    `mutation ($input: UpdatePipelineConfigurationInput!) { updatePipelineConfiguration(input: $input) {
      ... on UpdatePipelineConfigurationSuccess { configuration { ${configurationFields} } } ${issues} } }`,
    { input: { projectId, ...input } },
    key,
  );
const configurationFields = `id enabled cron timeZone nextRuns overlap catchUp stageDelayMs maxFailures project { id } pipeline { name }
  stages { key batchSize itemDelayMs maxParallel agent { id role } provider model }`;

const gate = {
  key: 'gate',
  title: 'Gate',
  kind: 'REVIEW',
  input: 'poem',
  form: { type: 'object', properties: { text: { type: 'string', minLength: 1 } }, required: ['text'] },
};
const poems = (name: string, ...more: object[]) => ({
  name,
  title: name,
  stages: [stage('poems', 'word', 'poem'), ...more],
});
/** A pipeline of its own in a project of its own. */
async function setUp(name: string, ...more: object[]): Promise<void> {
  projectId = await newProject();
  expect(await create(poems(name, ...more))).toMatchObject({ pipeline: { name } });
  await ask(`query ($p: ID!, $n: String!) { pipelineConfiguration(projectId: $p, pipeline: $n) { id } }`, {
    p: projectId,
    n: name,
  });
}

describe('pipelines', () => {
  it('lists those that come with Atelier, with what their stages take and make', async () => {
    const all = await ask('{ pipelines { id name version stages { key kind input output taskType } } }');
    const content = all.find(({ name }: any) => name === 'content_automation');
    expect(content).toMatchObject({ id: expect.stringMatching(/^pipe_/), version: 1 });
    expect(content.stages[2]).toEqual({
      key: 'ideas',
      kind: 'TASKS',
      input: 'cluster',
      output: 'idea',
      taskType: 'GENERATE_TEXT',
    });
    expect(content.stages.at(-1)).toMatchObject({ kind: 'REVIEW', input: 'image', output: 'image', taskType: null });
    expect(await ask('query ($id: ID!) { node(id: $id) { ... on Pipeline { name } } }', { id: content.id })).toEqual({
      name: 'content_automation',
    });
  });

  it('keeps an own one, and its next version when it has changed', async () => {
    const { pipeline } = await create(poems('own'));
    expect(pipeline).toMatchObject({
      version: 1,
      stages: [{ key: 'poems', kind: 'TASKS', taskType: 'GENERATE_TEXT' }],
    });
    expect((await create(poems('own'))).pipeline.id).toBe(pipeline.id);
    expect((await create(poems('own', stage('titles', 'poem', 'title')))).pipeline.version).toBe(2);
    const seen = await ask('{ pipelines { name } }', {}, stranger.key);
    expect(seen.map(({ name }: any) => name)).not.toContain('own');
    const node = 'query ($id: ID!) { node(id: $id) { id } }';
    expect(await ask(node, { id: pipeline.id })).toEqual({ id: pipeline.id });
    expect(await ask(node, { id: pipeline.id }, stranger.key)).toBeNull();
  });

  it.each([
    ['no object', 7, ['definition'], /object/],
    ['no stages', { name: 'bad', title: 'bad', stages: [] }, ['definition', 'stages'], /1/],
    ['a bad name', { ...poems('Bad Name') }, ['definition', 'name'], /lower_snake/],
    ["Atelier's name", poems('editorial'), ['definition', 'name'], /comes with Atelier/],
    [
      'a cycle',
      { name: 'bad', title: 'bad', stages: [stage('a', 'word', 'poem', { from: 'b' }), stage('b', 'poem', 'word')] },
      ['definition', 'stages', '0', 'from'],
      /cycle/,
    ],
    [
      'an unknown reference',
      poems('bad', stage('titles', 'poem', 'title', { from: 'poem' })),
      ['definition', 'stages', '1', 'from'],
      /no stage "poem"; did you mean poems/,
    ],
    [
      'an unknown task type',
      poems('bad', stage('titles', 'poem', 'title', { taskType: 'generate_txt' })),
      ['definition', 'stages', '1', 'taskType'],
      /no task type "generate_txt"/,
    ],
    [
      'an unknown transform',
      poems('bad', { key: 't', title: 't', kind: 'TRANSFORM', input: 'poem', output: 'x', transform: 'shrink' }),
      ['definition', 'stages', '1', 'transform'],
      /no transform "shrink"/,
    ],
    [
      'an unknown name in a template',
      poems('bad', stage('titles', 'poem', 'title', { task: { prompt: '{{pome.text}}' } })),
      ['definition', 'stages', '1', 'task'],
      /did you mean poem\?/,
    ],
    [
      'a name in the data that is none',
      poems('bad', stage('titles', 'poem', 'title', { data: { text: '{{reslt.text}}' } })),
      ['definition', 'stages', '1', 'data'],
      /did you mean result\?/,
    ],
    [
      'a result before there is one',
      poems('bad', stage('titles', 'poem', 'title', { task: { prompt: '{{result.text}}' } })),
      ['definition', 'stages', '1', 'task'],
      /\{\{result\}\} is unknown here/,
    ],
    [
      'a name in what is looked up',
      poems('bad', stage('titles', 'poem', 'title', { retrieve: { query: '{{pome.text}}' } })),
      ['definition', 'stages', '1', 'retrieve'],
      /did you mean poem\?/,
    ],
    [
      'a review of several at once',
      poems('bad', { ...gate, batchSize: 2 }),
      ['definition', 'stages', '1'],
      /batchSize/,
    ],
    [
      'an input that the task type does not have',
      poems('bad', stage('titles', 'poem', 'title', { task: { promt: '{{poem.text}}' } })),
      ['definition', 'stages', '1', 'task', 'promt'],
      /no such input; did you mean prompt\?/,
    ],
    [
      'a task without what it needs',
      poems('bad', stage('titles', 'poem', 'title', { task: { maxTokens: 5 } })),
      ['definition', 'stages', '1', 'task', 'prompt'],
      /generate_text needs it/,
    ],
    [
      'a value that never fits',
      poems('bad', stage('titles', 'poem', 'title', { task: { prompt: 'x', maxTokens: -1 } })),
      ['definition', 'stages', '1', 'task', 'maxTokens'],
      /1/,
    ],
    [
      'a placeholder that is not closed',
      poems('bad', stage('titles', 'poem', 'title', { task: { prompt: '{{poem.text}} and {{poem.text' } })),
      ['definition', 'stages', '1', 'task'],
      /not closed/,
    ],
    [
      'each without a list',
      poems('bad', stage('titles', 'poem', 'title', { data: { text: '{{each.text}}' } })),
      ['definition', 'stages', '1', 'data'],
      /\{\{each\}\} is unknown here/,
    ],
    [
      'a kind that means something else',
      poems('bad', stage('titles', 'poem', 'input')),
      ['definition', 'stages', '1', 'output'],
      /cannot be called/,
    ],
    [
      'a parameter that a function does not have',
      poems('bad', {
        key: 't',
        title: 't',
        kind: 'TRANSFORM',
        input: 'poem',
        output: 'x',
        transform: 'cluster_by_meaning',
        parameters: { similarity: 7, like: 1 },
      }),
      ['definition', 'stages', '1', 'parameters', 'similarity'],
      /<= 1/,
    ],
    ['half a character', poems('bad', { ...gate, title: '\ud800' }), ['definition'], /Unicode/],
    [
      'a batch size of 0',
      poems('bad', stage('titles', 'poem', 'title', { batchSize: 0 })),
      ['definition', 'stages', '1', 'batchSize'],
      /1/,
    ],
    [
      'a form that is no JSON Schema',
      poems('bad', { ...gate, form: { type: 'nonsense' } }),
      ['definition', 'stages', '1', 'form'],
      /no JSON Schema/,
    ],
    [
      'an input that is no JSON Schema',
      { ...poems('bad'), input: { kind: 'word', schema: { properties: 7 } } },
      ['definition', 'input', 'schema'],
      /no JSON Schema/,
    ],
  ])('refuses %s, and says where', async (_, definition, path, message) => {
    const refused = await create(definition);
    expect(refused).toMatchObject({ __typename: 'ValidationError', code: 'VALIDATION' });
    expect(refused.issues.find((issue: any) => issue.path.join() === path.join())?.message).toMatch(message);
    expect(await bed.sql(`select id from pipeline where name = 'bad'`)).toEqual([]);
  });
});

describe('a configuration', () => {
  it('is made when it is first read, and changed field by field', async () => {
    await setUp('configured', gate);
    const query = `query ($p: ID!) { pipelineConfiguration(projectId: $p, pipeline: "configured") { ${configurationFields} } }`;
    const made = await ask(query, { p: projectId });
    expect(made).toMatchObject({
      enabled: false,
      cron: null,
      timeZone: 'UTC',
      nextRuns: [],
      overlap: 'SKIP',
      catchUp: false,
      stageDelayMs: 0,
      maxFailures: 10,
      project: { id: projectId },
    });
    expect(made.stages).toEqual([
      { key: 'poems', batchSize: 1, itemDelayMs: 0, maxParallel: 10, agent: null, provider: null, model: null },
      { key: 'gate', batchSize: 1, itemDelayMs: 0, maxParallel: 10, agent: null, provider: null, model: null },
    ]);
    const { configuration } = await configure({
      pipeline: 'configured',
      enabled: true,
      cron: '30 6 * * MON-FRI',
      timeZone: 'Europe/Berlin',
      overlap: 'QUEUE',
      catchUp: true,
      stageDelayMs: 5,
      maxFailures: 0,
      stages: [
        { key: 'poems', batchSize: 4, itemDelayMs: 10, maxParallel: 2, provider: 'scripted', model: 'script-1' },
      ],
    });
    expect(configuration).toMatchObject({
      id: made.id,
      overlap: 'QUEUE',
      catchUp: true,
      stageDelayMs: 5,
      maxFailures: 0,
    });
    expect(configuration.stages[0]).toMatchObject({ batchSize: 4, itemDelayMs: 10, maxParallel: 2, model: 'script-1' });
    expect(configuration.nextRuns).toHaveLength(5);
    const [row] = await bed.sql<{ nextRunAt: Date }>(
      `select next_run_at from pipeline_configuration where pipeline = 'configured'`,
    );
    expect(row!.nextRunAt.toISOString()).toBe(configuration.nextRuns[0]);
    const back = await configure({
      pipeline: 'configured',
      cron: null,
      maxFailures: null,
      stages: [{ key: 'poems', batchSize: null, model: null }],
    });
    expect(back.configuration).toMatchObject({
      enabled: true,
      cron: null,
      nextRuns: [],
      timeZone: 'Europe/Berlin',
      maxFailures: 10,
    });
    expect(back.configuration.stages[0]).toMatchObject({
      batchSize: 1,
      itemDelayMs: 10,
      provider: 'scripted',
      model: null,
    });
    const nodes = await ask('query ($id: ID!) { node(id: $id) { ... on PipelineConfiguration { cron } } }', {
      id: made.id,
    });
    expect(nodes).toEqual({ cron: null });
    expect(await ask(query.replace('"configured"', '"nothing"'), { p: projectId })).toBeNull();
    const many = await bed.graphql(
      'query ($p: ID!) { pipelineConfiguration(projectId: $p, pipeline: "configured") { nextRuns(first: 101) } }',
      { p: projectId },
    );
    expect(many.errors?.[0]?.extensions?.code).toBe('BAD_REQUEST');
  });

  it.each([
    [{ cron: '61 * * * *' }, 'cron', /five fields/],
    [{ cron: '0 0 6 * * *' }, 'cron', /five fields/],
    [{ cron: 'every day' }, 'cron', /five fields/],
    [{ cron: '' }, 'cron', /five fields/],
    [{ cron: '0 0 30 2 *' }, 'cron', /never comes/],
    [{ timeZone: 'Mars/Olympus' }, 'timeZone', /no time zone/],
    [{ timeZone: '+02:00' }, 'timeZone', /no time zone/],
    [{ stageDelayMs: -1 }, 'stageDelayMs', /0 to 86,400,000/],
    [{ maxFailures: 1_000_001 }, 'maxFailures', /0 to 1,000,000/],
    [{ stages: [{ key: 'poem' }] }, 'stages.0.key', /there is poems, gate/],
    [{ stages: [{ key: 'poems' }, { key: 'poems' }] }, 'stages.1.key', /twice/],
    [{ stages: [{ key: 'poems', batchSize: 0 }] }, 'stages.0.batchSize', /1 to 1,000/],
    [{ stages: [{ key: 'poems', itemDelayMs: 86_400_001 }] }, 'stages.0.itemDelayMs', /86,400,000/],
    [{ stages: [{ key: 'poems', maxParallel: 0 }] }, 'stages.0.maxParallel', /1 to 1,000/],
    [{ stages: [{ key: 'poems', agentId: 'agent_nonsense' }] }, 'stages.0.agentId', /no such agent/],
    [{ stages: [{ key: 'poems', provider: 'nobody' }] }, 'stages.0.provider', /no provider "nobody"/],
    [{ stages: [{ key: 'poems', provider: 'scripted', model: 'x' }] }, 'stages.0.model', /no model "x"/],
    [{ stages: [{ key: 'poems', model: 'script-1' }] }, 'stages.0.model', /needs its provider/],
    [{ stages: [{ key: 'gate', batchSize: 2 }] }, 'stages.0.batchSize', /one item/],
    [{ stages: [{ key: 'gate', provider: 'scripted' }] }, 'stages.0.provider', /TASKS/],
  ])('refuses %j', async (change, path, message) => {
    if (!(await ask('{ pipelines { name } }')).some(({ name }: any) => name === 'refusing'))
      await create(poems('refusing', gate));
    const refused = await configure({ pipeline: 'refusing', enabled: true, ...change });
    expect(refused).toMatchObject({ __typename: 'ValidationError' });
    expect(refused.issues.find((issue: any) => issue.path.join('.') === `input.${path}`)?.message).toMatch(message);
    expect(
      await bed.sql(
        `select id from pipeline_configuration where pipeline = 'refusing' and (enabled or cron is not null)`,
      ),
    ).toEqual([]);
  });
});

describe('agents', () => {
  const fields = 'id name role version systemPrompt taskType provider model parameters responseSchema';
  const createAgent = (input: object, key?: string) =>
    ask(
      `mutation ($input: CreateAgentProfileInput!) { createAgentProfile(input: $input) { ... on AgentProfileSuccess { agentProfile { ${fields} } } ${issues} } }`,
      { input: { name: 'Poet', role: 'WRITER', systemPrompt: 'You rhyme about {{word.text}}.', ...input } },
      key,
    );
  const updateAgent = (id: string, input: object, key?: string) =>
    ask(
      `mutation ($id: ID!, $input: UpdateAgentProfileInput!) { updateAgentProfile(id: $id, input: $input) { ... on AgentProfileSuccess { agentProfile { ${fields} } } ${issues} } }`,
      { id, input },
      key,
    );

  it('come with Atelier for each role, and are made and changed in versions', async () => {
    await setUp('agents');
    const shipped = await ask('{ agentProfiles { role name } }');
    expect(shipped.map(({ role }: any) => role).sort()).toEqual(['DESIGNER', 'REVIEWER', 'SEO', 'WRITER']);
    const { agentProfile: agent } = await createAgent({
      projectId,
      parameters: { temperature: 0 },
      provider: 'scripted',
    });
    expect(agent).toMatchObject({ version: 1, taskType: 'GENERATE_TEXT', parameters: { temperature: 0 }, model: null });
    const changed = await updateAgent(agent.id, { provider: null, responseSchema: { type: 'object' } });
    expect(changed.agentProfile).toMatchObject({
      version: 2,
      provider: null,
      name: 'Poet',
      responseSchema: { type: 'object' },
    });
    for (const same of [{}, { name: 'Poet', responseSchema: { type: 'object' }, parameters: { temperature: 0 } }])
      expect((await updateAgent(agent.id, same)).agentProfile).toEqual(changed.agentProfile);
    const listed = await ask('query ($p: ID!) { agentProfiles(projectId: $p) { id } }', { p: projectId });
    expect(listed).toHaveLength(5);
    expect(
      await ask('query ($p: ID!) { agentProfiles(projectId: $p) { id } }', { p: await newProject() }),
    ).toHaveLength(4);
    const { configuration } = await configure({ pipeline: 'agents', stages: [{ key: 'poems', agentId: agent.id }] });
    expect(configuration.stages[0].agent).toEqual({ id: agent.id, role: 'WRITER' });
    await add(['moon']);
    const { run } = await start({ pipeline: 'agents' });
    await reaches(run.id, 'COMPLETED');
    const [task] = await bed.sql<{ input: any }>(
      'select input from task where project_id = (select project_id from run order by id desc limit 1)',
    );
    expect(task!.input.system).toBe('You rhyme about moon.');
    expect(await ask('query ($id: ID!) { node(id: $id) { ... on AgentProfile { name } } }', { id: agent.id })).toEqual({
      name: 'Poet',
    });
  });

  it('say what is wrong, and are nobody else’s', async () => {
    const [shipped] = await ask('{ agentProfiles { id } }');
    expect(await updateAgent(shipped.id, { name: 'Mine' })).toMatchObject({ __typename: 'ValidationError' });
    for (const [input, field, message = /./] of [
      [{ name: ' ' }, 'name'],
      [{ name: 'a\0' }, 'name', /^must be valid Unicode/],
      [{ systemPrompt: 'x'.repeat(100_001) }, 'systemPrompt', /100,000 characters/],
      [{ systemPrompt: '\ud800' }, 'systemPrompt', /^must be valid Unicode/],
      [{ provider: 'nobody' }, 'provider'],
      [{ provider: 'x'.repeat(100_000) }, 'provider', /^no provider "x{100}…"; .{0,500}$/],
      [{ model: 'script-1' }, 'model'],
      [{ provider: 'scripted', model: 'nothing' }, 'model'],
      [{ parameters: { nonsense: 1 } }, 'parameters.nonsense'],
      [{ parameters: { maxTokens: 'many' } }, 'parameters.maxTokens'],
      [{ parameters: { stop: ['\ud800'] } }, 'parameters'],
      [{ responseSchema: [] }, 'responseSchema'],
      [{ responseSchema: { title: 'a\0' } }, 'responseSchema'],
      [{ responseSchema: { type: 'foo' } }, 'responseSchema', /^is no JSON Schema: it\/type must be/],
      [{ responseSchema: { properties: { a: { required: 'b' } } } }, 'responseSchema', /it\/properties\/a\/required/],
      [{ taskType: 'GENERATE_IMAGE', responseSchema: {} }, 'responseSchema', /^generate_image has no such input/],
    ] as [object, string, RegExp?][]) {
      const refused = await createAgent(input);
      const issue = refused.issues?.find(({ path }: any) => path.join('.') === `input.${field}`);
      expect(issue?.message).toMatch(message);
    }
    const { agentProfile: agent } = await createAgent({
      responseSchema: {
        $schema: 'https://json-schema.org/draft/2020-12/schema',
        properties: { slug: { type: 'string', pattern: '^(a+)+$' } },
      },
    });
    for (const [input, message] of [
      [{ systemPrompt: null }, /^must be a text/],
      [{ name: null }, /1 to 200/],
    ] as const)
      expect((await updateAgent(agent.id, input)).issues[0].message).toMatch(message);
    expect(await updateAgent(agent.id, { name: 'x' }, stranger.key)).toMatchObject({ code: 'NOT_FOUND' });
    expect(await createAgent({ projectId }, stranger.key)).toMatchObject({ code: 'NOT_FOUND' });
    expect(await ask('query ($id: ID!) { node(id: $id) { id } }', { id: agent.id }, stranger.key)).toBeNull();
    const refused = await configure(
      {
        projectId: await newProject(stranger.uuid),
        pipeline: 'editorial',
        stages: [{ key: 'draft', agentId: agent.id }],
      },
      stranger.key,
    );
    expect(refused).toMatchObject({ __typename: 'ValidationError' });
  });
});

describe('items', () => {
  it('are added once, listed by kind and state, page by page', async () => {
    projectId = await newProject();
    expect(await add(['a', { text: 'b' }, 'c', 'a'])).toEqual({ added: 3, skipped: 1 });
    expect(await add(['c', 'd'])).toEqual({ added: 1, skipped: 1 });
    expect(await add([{ x: 1 }], 'other')).toEqual({ added: 1, skipped: 0 });
    const list = (more = '') =>
      ask(
        `query ($p: ID!) { items(projectId: $p ${more}) { nodes { id kind state data origin { id } task { ... on Node { id } } assets { id } createdAt } pageInfo { hasNextPage endCursor } } }`,
        { p: projectId },
      );
    const first = await list(', kind: "word", first: 3');
    expect(first.nodes.map(({ data }: any) => data.text)).toEqual(['a', 'b', 'c']);
    expect(first.nodes[0]).toMatchObject({ kind: 'word', state: 'WAITING', origin: [], task: null, assets: [] });
    const rest = await list(`, kind: "word", first: 3, after: "${first.pageInfo.endCursor}"`);
    expect(rest.nodes.map(({ data }: any) => data.text)).toEqual(['d']);
    expect((await list(', state: [DONE, FAILED]')).nodes).toEqual([]);
    expect((await list(', state: [WAITING, DONE]')).nodes).toHaveLength(5);
    expect((await list(', state: []')).nodes).toHaveLength(5);
    for (const [items, kind] of [
      [[7], 'word'],
      [[{ x: 'a\0' }], 'word'],
      [['x'], 'No Kind'],
      [['x'.repeat(100_001)], 'word'],
      [Array.from({ length: 1_001 }, (_, index) => `${index}`), 'word'],
    ] as const)
      expect(await add([...items], kind)).toMatchObject({ __typename: 'ValidationError' });
  });
});

describe('a run', () => {
  it('is estimated, held for, watched to its end, and explained to the credit', async () => {
    await setUp('whole', stage('titles', 'poem', 'title'));
    await add([{ text: 'one' }, { text: 'two' }, { text: 'bad', options: { fail: {} } }]);
    const estimate = await ask(
      `query ($p: ID!) { estimateRun(projectId: $p, pipeline: "whole") { ... on RunEstimate { stages { key items credits } total required available sufficient } ${issues} } }`,
      { p: projectId },
    );
    expect(estimate).toMatchObject({
      stages: [
        { key: 'poems', items: 3 },
        { key: 'titles', items: 3 },
      ],
      sufficient: true,
    });
    expect(estimate.required).toBe(Math.ceil(estimate.total * 1.2));
    const { run } = await start({ pipeline: 'whole', input: { mood: 'sad' } });
    expect(run).toMatchObject({
      trigger: 'MANUAL',
      input: { mood: 'sad' },
      creditsEstimated: estimate.total,
      project: { id: projectId },
      pipeline: { name: 'whole', version: 1 },
    });
    const end = await reaches(run.id, 'COMPLETED');
    expect(end.creditsHeld).toBe(0);
    expect(end.creditsUsed).toBeGreaterThan(0);
    expect(end.stages.map(({ creditsUsed }: any) => creditsUsed).reduce((a: number, b: number) => a + b)).toBe(
      end.creditsUsed,
    );
    expect(end.stages).toMatchObject([
      { key: 'poems', status: 'COMPLETED', done: 2, failed: 1, waiting: 0, partial: true },
      { key: 'titles', status: 'COMPLETED', done: 2, failed: 0, waiting: 0, partial: false },
    ]);
    const overview = await ask(
      'query ($p: ID!) { pipelineOverview(projectId: $p, pipeline: "whole") { pipeline { name } stages { key waiting running done failed } } }',
      { p: projectId },
    );
    expect(overview.stages).toEqual([
      { key: 'poems', waiting: 0, running: 0, done: 2, failed: 1 },
      { key: 'titles', waiting: 0, running: 0, done: 2, failed: 0 },
    ]);
    const lineage = await ask(
      `query ($p: ID!) { items(projectId: $p, kind: "title") { nodes { origin { kind origin { kind data } } task { ... on BaseTask { status } } } } }`,
      { p: projectId },
    );
    expect(lineage.nodes).toContainEqual({
      origin: [{ kind: 'poem', origin: [{ kind: 'word', data: { text: 'one' } }] }],
      task: { status: 'COMPLETED' },
    });
    const tasks = async (after?: string) =>
      (
        await ask(
          'query ($id: ID!, $after: String) { run(id: $id) { tasks(first: 3, after: $after) { nodes { ... on BaseTask { id status } } feedCursor pageInfo { hasNextPage endCursor } } } }',
          { id: run.id, after },
        )
      ).tasks;
    const page = await tasks();
    expect(page.pageInfo.hasNextPage).toBe(true);
    const all = [...page.nodes, ...(await tasks(page.pageInfo.endCursor)).nodes].map(({ id }: any) => id);
    expect(new Set(all).size).toBe(5);
    expect(all).toEqual([...all].sort().reverse());
    // What failed is taken again, alone.
    await bed.sql(`update item set data = '{"text": "good"}' where state = 'FAILED'`);
    const again = await ask(
      `mutation ($id: ID!) { rerunFrom(runId: $id, stage: "poems") { ... on RunSuccess { run { id } } ${issues} } }`,
      { id: run.id },
    );
    expect(await reaches(again.run.id, 'COMPLETED')).toMatchObject({ stages: [{ done: 1 }, { done: 1 }] });
    const runs = await ask(
      'query ($p: ID!) { runs(projectId: $p, pipeline: "whole", first: 1) { nodes { id } pageInfo { hasNextPage } } }',
      { p: projectId },
    );
    expect(runs).toEqual({ nodes: [{ id: again.run.id }], pageInfo: { hasNextPage: true } });
    const bad = await ask(`mutation ($id: ID!) { rerunFrom(runId: $id, stage: "poem") { __typename ${issues} } }`, {
      id: run.id,
    });
    expect(bad).toMatchObject({ __typename: 'ValidationError', issues: [{ path: ['stage'] }] });
    expect(await ask('query ($id: ID!) { node(id: $id) { __typename } }', { id: run.id })).toEqual({
      __typename: 'PipelineRun',
    });
  });

  it('and its items take no text that cannot be kept, and the name of one that can', async () => {
    await setUp('texts');
    for (const text of ['\ud800', 'a\0']) {
      expect(await add([{ text }])).toMatchObject({ __typename: 'ValidationError' });
      expect(await add([{ [text]: 1 }])).toMatchObject({ __typename: 'ValidationError' });
      expect(await start({ pipeline: 'texts', input: { text } })).toMatchObject({ __typename: 'ValidationError' });
    }
    expect(await add([{ text: '\\u0000' }])).toMatchObject({ added: 1 });
  });

  it('is one at a time, and the same for the same key', async () => {
    await setUp('single');
    await add([{ text: 'slow', options: { durationMs: 60_000 } }]);
    const { run } = await start({ pipeline: 'single', idempotencyKey: 'k' });
    expect(await start({ pipeline: 'single' })).toMatchObject({
      __typename: 'RunAlreadyActiveError',
      code: 'RUN_ALREADY_ACTIVE',
      runId: run.id,
    });
    expect((await start({ pipeline: 'single', idempotencyKey: 'k' })).run.id).toBe(run.id);
    expect(await start({ pipeline: 'single', idempotencyKey: 'k', input: { x: 1 } })).toMatchObject({
      existingId: run.id,
    });
    const mine = projectId;
    expect(await start({ pipeline: 'single', idempotencyKey: 'k', project: await newProject() })).toMatchObject({
      __typename: 'IdempotencyMismatchError',
    });
    const again = await ask(
      `mutation ($id: ID!) { rerunFrom(runId: $id, stage: "poems") { ... on RunAlreadyActiveError { runId } ${issues} } }`,
      { id: run.id },
    );
    expect(again).toMatchObject({ code: 'RUN_ALREADY_ACTIVE', runId: run.id });
    const current = 'query ($p: ID!) { currentRun(projectId: $p, pipeline: "single") { id status } }';
    expect((await ask(current, { p: mine })).id).toBe(run.id);
    await command('cancelRun', run.id);
    await reaches(run.id, 'CANCELLED');
    expect(await ask(current, { p: mine })).toBeNull();
    expect(await start({ pipeline: 'nothing' })).toMatchObject({ code: 'NOT_FOUND' });
    expect(await start({ pipeline: 'editorial', input: { topic: '' } })).toMatchObject({
      issues: [{ path: ['input', 'topic'] }],
    });
    expect(await start({ pipeline: 'single', input: [] })).toMatchObject({ __typename: 'ValidationError' });
    expect(await start({ pipeline: 'single', idempotencyKey: '' })).toMatchObject({ __typename: 'ValidationError' });
  });

  it('of stages that yield more than can be counted is refused', async () => {
    projectId = await newProject();
    const many = { yields: 1_000 };
    const chain = ['a', 'b', 'c', 'd'].map((key, index) => stage(key, `k${index}`, `k${index + 1}`, many));
    await create({ name: 'many', title: 'many', stages: chain });
    await add(['a', 'b', 'c'], 'k0');
    expect(await start({ pipeline: 'many' })).toMatchObject({ issues: [{ path: ['stages', 'd'] }] });
  });

  it('lists cost the same number of queries for one run and for many', async () => {
    projectId = await newProject();
    await create(poems('listed'));
    const query = `query ($p: ID!) { runs(projectId: $p) { nodes { ${runFields} } } }`;
    const count = async () => {
      const sql = vi.spyOn(bed.core.db, 'sql');
      const { nodes } = await ask(query, { p: projectId });
      const names = sql.mock.calls.map(([, , name]) => name ?? '').filter((name) => /^(runs_|pipelines_of)/.test(name));
      sql.mockRestore();
      return [nodes.length, names.sort().join()];
    };
    for (let index = 0; index < 4; index++) {
      const { run } = await start({ pipeline: 'listed' });
      await reaches(run.id, 'COMPLETED');
      if (index === 0) expect(await count()).toEqual([1, 'pipelines_of,runs_credits,runs_stage_credits,runs_stages']);
    }
    expect(await count()).toEqual([4, 'pipelines_of,runs_credits,runs_stage_credits,runs_stages']);
  });

  it('is refused with what it takes when the account cannot pay', async () => {
    const poor = await bed.createAccount(1);
    const project = await newProject(poor.uuid);
    await create(poems('dear'), poor.key);
    await add(['a', 'b', 'c'], 'word', project, poor.key);
    expect(await start({ project, pipeline: 'dear' }, poor.key)).toMatchObject({
      __typename: 'InsufficientCreditsError',
      available: 1,
      required: expect.any(Number),
    });
  });

  it('pauses, resumes and is cancelled, and says when it cannot be', async () => {
    await setUp('paused');
    await configure({ pipeline: 'paused', stages: [{ key: 'poems', maxParallel: 1 }] });
    await add([
      { text: 'a', options: { durationMs: 300 } },
      { text: 'b', options: { durationMs: 60_000 } },
    ]);
    const { run } = await start({ pipeline: 'paused' });
    expect((await command('pauseRun', run.id)).run.status).toBe('PAUSING');
    const paused = await reaches(run.id, 'PAUSED');
    expect(paused.pausedAt).not.toBeNull();
    expect((await command('pauseRun', run.id)).run.status).toBe('PAUSED');
    expect((await command('resumeRun', run.id)).run.status).toBe('RUNNING');
    await eventually(async () => (await readRun(run.id)).stages[0].running === 1);
    expect((await command('cancelRun', run.id, ', children: CANCEL')).run.status).toBe('CANCELLING');
    expect(await command('resumeRun', run.id)).toMatchObject({ __typename: 'ConflictError' });
    const end = await reaches(run.id, 'CANCELLED');
    expect(end).toMatchObject({ creditsHeld: 0, stages: [{ status: 'COMPLETED', partial: true }] });
    expect((await command('cancelRun', run.id)).run.status).toBe('CANCELLED');
    for (const name of ['pauseRun', 'resumeRun'])
      expect(await command(name, run.id)).toMatchObject({ __typename: 'ConflictError', code: 'RUN_STATUS' });
  });

  it('keeps a log, read page by page', async () => {
    projectId = await newProject();
    await create({
      name: 'logging',
      title: 'x',
      stages: [
        { key: 'unique', title: 'x', kind: 'TRANSFORM', input: 'word', output: 'word', transform: 'unique_texts' },
      ],
    });
    await add([{ text: 'a' }, { text: 'A ' }, { text: ' a' }]);
    const { run } = await start({ pipeline: 'logging' });
    await reaches(run.id, 'COMPLETED');
    const logs = async (after?: string) =>
      (
        await ask(
          'query ($id: ID!, $after: String) { run(id: $id) { logs(first: 1, after: $after) { edges { cursor node { at level stage message } } nodes { message } pageInfo { hasNextPage hasPreviousPage endCursor } } } }',
          { id: run.id, after },
        )
      ).logs;
    const first = await logs();
    expect(first.edges[0].node).toMatchObject({
      level: 'INFO',
      stage: 'unique',
      message: expect.stringContaining('already'),
    });
    expect(first.pageInfo).toMatchObject({ hasNextPage: true, endCursor: first.edges[0].cursor });
    const second = await logs(first.pageInfo.endCursor);
    expect(second.pageInfo).toMatchObject({ hasNextPage: false, hasPreviousPage: true });
    const bad = await bed.graphql('query ($id: ID!) { run(id: $id) { logs(after: "x") { nodes { message } } } }', {
      id: run.id,
    });
    expect(bad.errors?.[0]?.extensions?.code).toBe('BAD_REQUEST');
  });
});

describe('a review', () => {
  const decide = (id: string, decision: string, more: object = {}, key?: string) =>
    ask(
      `mutation ($id: ID!, $decision: ReviewOutcome!, $edits: JSON, $note: String) { decideReview(id: $id, decision: $decision, edits: $edits, note: $note) {
        ... on DecideReviewSuccess { review { id } } ${issues} } }`,
      { id, decision, ...more },
      key,
    );
  const waiting = (count: number): Promise<any[]> =>
    eventually(async () => {
      const { nodes } = await ask(
        'query ($p: ID!) { reviews(projectId: $p) { nodes { id stageKey form expiresAt item { id kind data state } run { id status } } } }',
        { p: projectId },
      );
      return nodes.length === count ? nodes : null;
    });

  it('is listed with its form, decided once, and the run goes on', async () => {
    await setUp('reviewed', gate, stage('titles', 'poem', 'title'));
    await add([{ text: 'a' }, { text: 'b' }, { text: 'c' }]);
    const { run } = await start({ pipeline: 'reviewed' });
    const reviews = await waiting(3);
    const [first, second, third] = ['a', 'b', 'c'].map(
      (word) => reviews.find(({ item }) => item.data.text === `poem of ${word}`)!,
    );
    expect(first).toMatchObject({
      stageKey: 'gate',
      form: gate.form,
      expiresAt: null,
      item: { kind: 'poem', state: 'RUNNING' },
      run: { id: run.id },
    });
    await reaches(run.id, 'WAITING_FOR_REVIEW');
    for (const [decision, more] of [
      ['EDIT', {}],
      ['EDIT', { edits: 'x' }],
      ['EDIT', { edits: { text: '' } }],
      ['EDIT', { edits: { other: 1 } }],
      ['EDIT', { edits: { text: 'a\0' } }],
      ['EDIT', { edits: { text: 'a\ud800' } }],
      ['APPROVE', { edits: { text: 'x' } }],
      ['APPROVE', { note: 'x'.repeat(1_001) }],
    ] as const)
      expect(await decide(first.id, decision, more)).toMatchObject({ __typename: 'ValidationError' });
    expect(await decide(first.id, 'APPROVE', {}, stranger.key)).toMatchObject({ code: 'NOT_FOUND' });
    expect(await decide(first.id, 'APPROVE', { note: 'good' })).toMatchObject({ review: { id: first.id } });
    expect(await decide(first.id, 'REJECT')).toMatchObject({ __typename: 'ConflictError', code: 'REVIEW_DECIDED' });
    await decide(second.id, 'EDIT', { edits: { text: 'mine' } });
    await decide(third.id, 'REJECT');
    await reaches(run.id, 'COMPLETED');
    const { nodes } = await ask('query ($p: ID!) { items(projectId: $p) { nodes { kind state data } } }', {
      p: projectId,
    });
    const titles = nodes.filter(({ kind }: any) => kind === 'title').map(({ data }: any) => data.text);
    expect(titles.sort()).toEqual(['title of mine', 'title of poem of a']);
    expect(nodes.filter(({ state }: any) => state === 'REJECTED')).toHaveLength(1);
    expect(await ask('query ($id: ID!) { node(id: $id) { ... on Review { stageKey } } }', { id: first.id })).toEqual({
      stageKey: 'gate',
    });
  });

  it('shows what its form names, and keeps what is not edited', async () => {
    const form = {
      $schema: 'https://json-schema.org/draft/2020-12/schema',
      type: 'object',
      properties: { text: { type: 'string' }, mood: { enum: ['sad', 'glad'] } },
      required: ['text'],
    };
    await setUp('moods', { ...gate, form });
    await add([{ text: 'a' }]);
    const { run } = await start({ pipeline: 'moods' });
    const [review] = await waiting(1);
    const refused = await decide(review.id, 'EDIT', { edits: { mood: 'bad', colour: 'red' } });
    expect(refused.issues.map(({ path }: any) => path.join('.'))).toEqual(['edits.colour', 'edits.mood']);
    expect(await decide(review.id, 'EDIT', { edits: { mood: 'glad' } })).toMatchObject({ review: { id: review.id } });
    await reaches(run.id, 'COMPLETED');
    const { nodes } = await ask('query ($p: ID!) { items(projectId: $p, kind: "poem") { nodes { data } } }', {
      p: projectId,
    });
    expect(nodes).toEqual([{ data: { text: 'poem of a', mood: 'glad' } }]);
  });

  it('decided before its batch is under way is not lost, and given up it is decided no more', async () => {
    await setUp('given_up', gate);
    await add([{ text: 'a' }, { text: 'b' }]);
    const { run } = await start({ pipeline: 'given_up' });
    const [first, second] = await waiting(2);
    // In the moment between the review, which is written first, and its batch, which then waits for it.
    const [held] = await bed.sql<{ id: string; fence: number }>(
      `update run set fence = fence + 1, lease_until = now() + interval '1 minute' where status <> 'CANCELLED' and project_id = $1 returning id, fence`,
      [fromId('Project', projectId)],
    );
    const [batch] = await bed.sql<{ id: string }>(
      `update batch set state = 'STARTING' from review where review.batch_id = batch.id and review.id = $1 returning batch.id`,
      [fromId('Review', first.id)],
    );
    await decide(first.id, 'APPROVE');
    await writeBegun(bed.core, held!, [{ batch: batch!.id, state: 'RUNNING' }]);
    const batches = await readBatches(bed.core, [batch!.id]);
    expect(await kindOf({ kind: 'REVIEW' } as never).giveUp({ core: bed.core } as never, batches)).toEqual([]);
    await bed.sql('update run set lease_until = null where id = $1', [held!.id]);
    await eventually(async () => (await readRun(run.id)).stages[1].done === 1);
    await command('cancelRun', run.id);
    expect(await reaches(run.id, 'CANCELLED')).toMatchObject({ stages: [{}, { done: 1, waiting: 1, partial: true }] });
    expect(await decide(second.id, 'APPROVE')).toMatchObject({ __typename: 'ConflictError', code: 'REVIEW_ABANDONED' });
  });

  it('whose time is up is decided no more', async () => {
    await setUp('timed', { ...gate, timeoutSeconds: 3_600 });
    await add([{ text: 'a' }]);
    const { run } = await start({ pipeline: 'timed' });
    const [review] = await waiting(1);
    expect(review.expiresAt).not.toBeNull();
    await bed.sql(`update review set expires_at = now() - interval '1 second' where decided_at is null`);
    expect(await decide(review.id, 'APPROVE')).toMatchObject({ code: 'REVIEW_EXPIRED' });
    await command('cancelRun', run.id);
    await reaches(run.id, 'CANCELLED');
  });
});

describe('another account, and a narrowed token', () => {
  it('reach nothing of it, and learn nothing', async () => {
    await setUp('secret', gate);
    await add([{ text: 'a' }]);
    const { run } = await start({ pipeline: 'secret' });
    await reaches(run.id, 'WAITING_FOR_REVIEW');
    const read = `query ($p: ID!, $id: ID!) {
      run(id: $id) { id } node(id: $id) { id } currentRun(projectId: $p, pipeline: "secret") { id }
      runs(projectId: $p) { nodes { id } } items(projectId: $p) { nodes { id } } reviews(projectId: $p) { nodes { id } }
      pipelineConfiguration(projectId: $p, pipeline: "editorial") { id } pipelineOverview(projectId: $p, pipeline: "editorial") { pipeline { id } }
      agentProfiles(projectId: $p) { id } estimateRun(projectId: $p, pipeline: "editorial") { __typename } }`;
    const nothing = {
      run: null,
      node: null,
      currentRun: null,
      runs: { nodes: [] },
      items: { nodes: [] },
      reviews: { nodes: [] },
      pipelineConfiguration: null,
      pipelineOverview: null,
      agentProfiles: [],
      estimateRun: { __typename: 'NotFoundError' },
    };
    const other = await newProject();
    const token = async (variables: object) =>
      (
        await ask(
          'mutation ($input: CreateClientTokenInput!) { createClientToken(input: $input) { ... on CreateClientTokenSuccess { token } } }',
          { input: { scopes: ['tasks:read', 'tasks:write'], ...variables } },
          bed.operatorKey,
        )
      ).token;
    const elsewhere = await token({ projectId: other });
    const [task] = await bed.sql<{ id: string }>('select id from task order by id desc limit 1');
    const ofTask = await token({ taskIds: [toId('Task', task!.id)] });
    for (const key of [stranger.key, elsewhere, ofTask]) {
      const { data, errors } = await bed.graphql(read, { p: projectId, id: run.id }, { key });
      expect(errors).toBeUndefined();
      expect(data).toEqual(nothing);
    }
    for (const key of [stranger.key, elsewhere]) {
      expect(await start({ pipeline: 'secret' }, key)).toMatchObject({ code: 'NOT_FOUND' });
      expect(await add(['x'], 'word', projectId, key)).toMatchObject({ code: 'NOT_FOUND' });
      expect(await configure({ pipeline: 'editorial' }, key)).toMatchObject({ code: 'NOT_FOUND' });
      for (const name of ['pauseRun', 'resumeRun', 'cancelRun'])
        expect(await command(name, run.id, '', key)).toMatchObject({
          __typename: 'NotFoundError',
          message: 'No such run.',
        });
      expect(
        await ask(`mutation ($id: ID!) { rerunFrom(runId: $id, stage: "x") { ${issues} } }`, { id: run.id }, key),
      ).toMatchObject({ code: 'NOT_FOUND' });
      await expect(
        bed.subscribe('subscription ($id: ID!) { runEvents(id: $id) { seq } }', { id: run.id }, { key }).next(),
      ).resolves.toMatchObject({ value: { errors: [{ extensions: { code: 'NOT_FOUND' } }] } });
    }
    expect(await start({ pipeline: 'secret' }, ofTask)).toMatchObject({ code: 'FORBIDDEN' });
    expect(await create(poems('x'), elsewhere)).toMatchObject({ code: 'FORBIDDEN' });
    const own = await token({ projectId });
    expect(await readRun(run.id, own)).toMatchObject({ id: run.id });
    const reader = await bed.createKey(['tasks:read']);
    expect(await command('cancelRun', run.id, '', reader)).toMatchObject({ code: 'FORBIDDEN' });
    const writer = await bed.createKey(['tasks:write']);
    const refused = await bed.graphql('{ pipelines { id } }', {}, { key: writer });
    expect(refused.errors?.[0]?.extensions?.code).toBe('FORBIDDEN');
    expect(await command('cancelRun', run.id, '', own)).toMatchObject({ run: { id: run.id } });
  });
});

// Last: it changes a price for all.
describe('a run whose hold runs out', () => {
  it('pauses with a line in its log, and goes on when it is granted more', async () => {
    const poor = await bed.createAccount(12);
    const project = await newProject(poor.uuid);
    await create(poems('poor'), poor.key);
    await add(
      Array.from({ length: 10 }, (_, index) => ({ text: `${index}`, options: { durationMs: 100 } })),
      'word',
      project,
      poor.key,
    );
    await configure({ projectId: project, pipeline: 'poor', stages: [{ key: 'poems', maxParallel: 2 }] }, poor.key);
    const { run } = await start({ project, pipeline: 'poor' }, poor.key);
    await setPrice(bed.core, { taskType: 'generate_text', unit: 'token', creditsPerUnit: '0.1' });
    const stands = (status: string) =>
      eventually(async () => {
        const now = await readRun(run.id, poor.key);
        return now.status === status ? now : null;
      }, 30_000);
    expect(await stands('PAUSED')).toMatchObject({ reason: 'LOW_CREDITS' });
    const logs = await ask(
      'query ($id: ID!) { run(id: $id) { logs { nodes { level stage message } } } }',
      { id: run.id },
      poor.key,
    );
    expect(logs.logs.nodes).toEqual([
      { level: 'WARN', stage: 'poems', message: expect.stringContaining('too few credits') },
    ]);
    expect(await command('resumeRun', run.id, '', poor.key)).toMatchObject({ __typename: 'InsufficientCreditsError' });
    await changeCredits(bed.core, { accountId: poor.uuid, leg: 'GRANT', change: 1_000, idempotencyKey: 'more' });
    expect((await command('resumeRun', run.id, '', poor.key)).run.status).toBe('RUNNING');
    expect(await stands('COMPLETED')).toMatchObject({ creditsHeld: 0, reason: null });
  });
});
