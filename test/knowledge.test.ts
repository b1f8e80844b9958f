import { createServer } from 'node:http';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { toId } from '../src/id.ts';
import { embedTexts } from '../src/knowledge/embed.ts';
import { embedDue } from '../src/knowledge/embed-due.ts';
import { splitPassages as split } from '../src/knowledge/passages.ts';
import { searchKnowledge } from '../src/knowledge/search.ts';
import { dropAbandoned } from '../src/knowledge/text.ts';
import { similarity, trigramScorer } from '../src/knowledge/trigram.ts';
import { isStorable } from '../src/lifecycle/storable.ts';
import { createTestBed, type TestBed } from './kit.ts';
import { writePdf } from './pdf.ts';

let bed: TestBed;
let projectId: string;
beforeAll(async () => {
  bed = await createTestBed({ worker: false });
});
afterAll(() => bed.close());
beforeEach(async () => {
  projectId = await createProject();
});

const documentFields = 'id title category tags weight contentType sizeBytes passageCount createdAt updatedAt';
const outcome = `__typename ... on KnowledgeDocumentSuccess { document { ${documentFields} } }
  ... on UserError { code message } ... on ValidationError { issues { path message } } ... on LimitExceededError { limit }`;
const passageFields =
  'text score fullTextScore trigramScore semanticScore weight document { id title category tags weight }';

async function createProject(key?: string): Promise<string> {
  const account = await bed.createKey(['account']);
  const { data } = await bed.graphql(
    'mutation { createProject(input: { name: "knowledge" }) { ... on CreateProjectSuccess { project { id } } } }',
    {},
    { key: key ?? account },
  );
  return data.createProject.project.id;
}
async function add(input: object, key?: string) {
  const { data, errors } = await bed.graphql(
    `mutation ($input: AddKnowledgeDocumentInput!) { addKnowledgeDocument(input: $input) { ${outcome} } }`,
    { input: { projectId, title: 'A title', ...input } },
    key ? { key } : {},
  );
  expect(errors).toBeUndefined();
  return data.addKnowledgeDocument;
}
async function update(id: string, input: object, key?: string) {
  const { data, errors } = await bed.graphql(
    `mutation ($id: ID!, $input: UpdateKnowledgeDocumentInput!) { updateKnowledgeDocument(id: $id, input: $input) { ${outcome} } }`,
    { id, input },
    key ? { key } : {},
  );
  expect(errors).toBeUndefined();
  return data.updateKnowledgeDocument;
}
async function remove(id: string, key?: string) {
  const { data } = await bed.graphql(
    'mutation ($id: ID!) { deleteKnowledgeDocument(id: $id) { __typename ... on DeleteKnowledgeDocumentSuccess { id } ... on UserError { code } } }',
    { id },
    key ? { key } : {},
  );
  return data.deleteKnowledgeDocument;
}
const search = (variables: object, key?: string) =>
  bed.graphql(
    `query ($projectId: ID!, $query: String!, $first: Int, $category: String, $tags: [String!]) {
      searchKnowledge(projectId: $projectId, query: $query, first: $first, category: $category, tags: $tags) { ${passageFields} } }`,
    { projectId, ...variables },
    key ? { key } : {},
  );
async function found(variables: object): Promise<any[]> {
  const { data, errors } = await search(variables);
  expect(errors).toBeUndefined();
  return data.searchKnowledge;
}
const list = (variables: object = {}, key?: string) =>
  bed.graphql(
    `query ($projectId: ID!, $first: Int, $after: String) { knowledgeDocuments(projectId: $projectId, first: $first, after: $after) {
      edges { cursor node { title } } nodes { ${documentFields} } pageInfo { hasNextPage hasPreviousPage endCursor } } }`,
    { projectId, ...variables },
    key ? { key } : {},
  );
async function embedAll(): Promise<void> {
  while (await embedDue(bed.core, 16));
}
async function upload(bytes: Buffer, contentType: string, key = bed.tasksKey): Promise<string> {
  const { data } = await bed.graphql(
    'mutation ($input: CreateUploadInput!) { createUpload(input: $input) { ... on CreateUploadSuccess { id url headers } } }',
    { input: { contentType, sizeBytes: bytes.length } },
    { key },
  );
  const { id, url, headers } = data.createUpload;
  await fetch(url, { method: 'PUT', headers, body: new Uint8Array(bytes) });
  const completed = await bed.graphql(
    'mutation ($id: ID!) { completeUpload(id: $id) { __typename ... on CompleteUploadSuccess { asset { id } } ... on UserError { message } } }',
    { id },
    { key },
  );
  return completed.data.completeUpload.asset.id;
}
const countRows = async () =>
  (
    await bed.sql<{ count: bigint }>(
      'select (select count(*) from knowledge_document) + (select count(*) from knowledge_passage) as count',
    )
  )[0]!.count;

describe('a document', () => {
  it('is added, listed, found by node, changed and deleted', async () => {
    const { document } = await add({
      text: '# Returns\n\nGoods come back within thirty days.',
      category: 'policy',
      tags: ['shop', 'shop', ' legal '],
      weight: 2,
    });
    expect(document).toMatchObject({
      title: 'A title',
      category: 'policy',
      tags: ['shop', 'legal'],
      weight: 2,
      contentType: 'text/markdown',
      sizeBytes: 46,
      passageCount: 1,
    });
    const node = await bed.graphql('query ($id: ID!) { node(id: $id) { __typename id } }', { id: document.id });
    expect(node.data.node).toEqual({ __typename: 'KnowledgeDocument', id: document.id });
    const changed = await update(document.id, { title: 'Sending back', category: null, tags: [], weight: 0.5 });
    expect(changed.document).toMatchObject({
      title: 'Sending back',
      category: null,
      tags: [],
      weight: 0.5,
      passageCount: 1,
    });
    expect((await found({ query: 'sending' }))[0]).toMatchObject({ fullTextScore: 1, weight: 0.5 });
    const rewritten = await update(document.id, { text: 'Bread is baked at night.' });
    expect(rewritten.document).toMatchObject({ title: 'Sending back', weight: 0.5, sizeBytes: 24 });
    expect((await found({ query: 'thirty days goods' })).map(({ text }) => text)).not.toContain('Goods');
    expect((await found({ query: 'baking' }))[0].text).toBe('Bread is baked at night.');
    expect(await remove(document.id)).toEqual({ __typename: 'DeleteKnowledgeDocumentSuccess', id: document.id });
    expect(await remove(document.id)).toEqual({ __typename: 'NotFoundError', code: 'NOT_FOUND' });
    expect(await found({ query: 'baking' })).toEqual([]);
  });

  it('is listed page by page, newest first', async () => {
    for (const title of ['one', 'two', 'three']) await add({ title, text: 'Something to read.' });
    const first = (await list({ first: 2 })).data.knowledgeDocuments;
    expect(first.nodes.map(({ title }: any) => title)).toEqual(['three', 'two']);
    expect(first.pageInfo).toMatchObject({ hasNextPage: true, hasPreviousPage: false });
    const rest = (await list({ first: 2, after: first.pageInfo.endCursor })).data.knowledgeDocuments;
    expect(rest.edges.map(({ node }: any) => node.title)).toEqual(['one']);
    expect((await list({ first: 101 })).errors?.[0]?.extensions?.code).toBe('BAD_REQUEST');
  });

  it('is read from HTML: headings part it, scripts and tags are not there', async () => {
    const html = `<html><head><title>no</title><script>var secret = 1</script></head><body><nav>menu</nav>
      <h1>Opening hours</h1><p>We open at <b>nine</b> &amp; close at <a href="https://example.com">five</a>.</p></body></html>`;
    const { document } = await add({ text: html, contentType: 'text/html' });
    expect(document).toMatchObject({ contentType: 'text/html', passageCount: 1 });
    const [passage] = await found({ query: 'opening' });
    expect(passage.text).toContain('# Opening hours');
    expect(passage.text).toContain('We open at nine & close at five.');
    expect(passage.text).not.toMatch(/secret|menu|example/);
  });

  it('is read from an uploaded PDF and from an uploaded text', async () => {
    const assetId = await upload(writePdf(['The lighthouse keeper', 'winds the clock on Sundays.']), 'application/pdf');
    expect((await add({ assetId })).document).toMatchObject({ contentType: 'application/pdf', passageCount: 1 });
    expect((await found({ query: 'lighthouse' }))[0].text).toMatch(/winds the clock on Sundays/);
    const text = await upload(Buffer.from('Äpfel and pears'), 'text/plain');
    expect((await add({ assetId: text })).document).toMatchObject({ contentType: 'text/markdown', sizeBytes: 16 });
  });
});

describe('what is no document is refused, and leaves nothing', () => {
  let before: bigint;
  beforeEach(async () => {
    before = await countRows();
  });
  const refused = async (input: object, path: string[], message: RegExp) => {
    const answer = await add(input);
    expect(answer.__typename).toBe('ValidationError');
    expect(answer.issues[0].path).toEqual(path);
    expect(answer.issues[0].message).toMatch(message);
    expect(await countRows()).toBe(before);
  };

  it.each([
    ['no text and no asset', {}, ['text'], /either/],
    ['both', { text: 'x', assetId: 'x' }, ['text'], /either/],
    ['an empty text', { text: ' \n ' }, ['text'], /no text/],
    ['a text of signs alone', { text: '--- ***' }, ['text'], /no text/],
    ['control characters', { text: 'a\u0000b' }, ['text'], /control characters/],
    ['a type that is no text', { text: 'x', contentType: 'image/png' }, ['contentType'], /text\/markdown/],
    ['an empty title', { text: 'x', title: ' ' }, ['title'], /1 to 300/],
    ['a long title', { text: 'x', title: 'x'.repeat(301) }, ['title'], /1 to 300/],
    ['an empty category', { text: 'x', category: '' }, ['category'], /1 to 100/],
    ['21 tags', { text: 'x', tags: Array.from({ length: 21 }, (_, index) => `t${index}`) }, ['tags'], /at most 20/],
    ['a long tag', { text: 'x', tags: ['ok', 'x'.repeat(101)] }, ['tags', '1'], /1 to 100/],
    ['a weight below 0', { text: 'x', weight: -0.1 }, ['weight'], /0 to 10/],
    ['a weight above 10', { text: 'x', weight: 10.1 }, ['weight'], /0 to 10/],
  ])('%s', (_name, input, path, message) => refused(input, path, message));

  it('an encrypted and a broken PDF, and binary garbage', async () => {
    const locked = await upload(writePdf(['secret'], { locked: true }), 'application/pdf');
    await refused({ assetId: locked }, ['assetId'], /encrypted/);
    const broken = await upload(Buffer.from('%PDF-1.4\nthis is none'), 'application/pdf');
    await refused({ assetId: broken }, ['assetId'], /cannot be read/);
    const garbage = await upload(Buffer.from([1, 2, 3, 0, 255, 254, 7, 9]), 'application/octet-stream');
    await refused({ assetId: garbage }, ['assetId'], /must be text, Markdown, HTML or PDF/);
    // Uploads look at the beginning only.
    const late = await upload(Buffer.concat([Buffer.from('word '.repeat(300_000)), Buffer.from([0xff])]), 'text/plain');
    await refused({ assetId: late }, ['assetId'], /UTF-8/);
  });

  it('an asset of 50 MB, and a text of more than 5,000 passages', async () => {
    const assetId = await upload(Buffer.from('x'), 'text/plain');
    await bed.sql('update asset set size_bytes = 52428800 where key like $1', ['%']);
    expect(await add({ assetId })).toMatchObject({
      __typename: 'LimitExceededError',
      code: 'DOCUMENT_TOO_LARGE',
      limit: 10_485_760,
    });
    await bed.sql('update asset set size_bytes = 1 where size_bytes = 52428800');
    const sections = Array.from({ length: 5_001 }, (_, index) => `# Section ${index}\n\n${'word '.repeat(50)}`).join(
      '\n\n',
    );
    const many = await upload(Buffer.from(sections), 'text/markdown');
    expect(await add({ assetId: many })).toMatchObject({
      __typename: 'LimitExceededError',
      code: 'TOO_MANY_PASSAGES',
      limit: 5_000,
    });
    expect(await countRows()).toBe(before);
  });

  it('a project and an asset of another account, garbage as ids', async () => {
    const other = await bed.createAccount();
    const theirs = await createProject(other.key);
    const notFound = { __typename: 'NotFoundError', code: 'NOT_FOUND' };
    expect(await add({ projectId: theirs, text: 'x' })).toMatchObject(notFound);
    expect(await add({ projectId: 'garbage', text: 'x' })).toMatchObject(notFound);
    const assetId = await upload(Buffer.from('their text'), 'text/plain', other.key);
    expect(await add({ assetId })).toMatchObject(notFound);
    expect(await add({ assetId: 'garbage' })).toMatchObject(notFound);
    expect(await countRows()).toBe(before);
    const { document } = await add({ text: 'mine' });
    expect(await update(document.id, { text: 'x' }, other.key)).toMatchObject(notFound);
    expect(await remove(document.id, other.key)).toMatchObject(notFound);
    for (const answer of [await list({}, other.key), await search({ query: 'mine' }, other.key)])
      expect(answer.errors?.[0]?.extensions?.code).toBe('NOT_FOUND');
    const node = 'query ($id: ID!) { node(id: $id) { __typename } }';
    expect((await bed.graphql(node, { id: document.id }, { key: other.key })).data.node).toBeNull();
  });

  it('a key without the scope, and a token for another project or for tasks', async () => {
    const reads = await bed.createKey(['tasks:read']);
    expect(await add({ text: 'x' }, reads)).toMatchObject({ __typename: 'ForbiddenError' });
    const writes = await bed.createKey(['tasks:write']);
    expect((await search({ query: 'x' }, writes)).errors?.[0]?.extensions?.code).toBe('FORBIDDEN');
    const mint = async (input: object) => {
      const { data } = await bed.graphql(
        'mutation ($input: CreateClientTokenInput!) { createClientToken(input: $input) { __typename ... on CreateClientTokenSuccess { token } ... on UserError { message } } }',
        { input },
        { key: bed.operatorKey },
      );
      return data.createClientToken.token;
    };
    const elsewhere = await mint({ scopes: ['tasks:read', 'tasks:write'], projectId: await createProject() });
    expect(await add({ text: 'x' }, elsewhere)).toMatchObject({ __typename: 'NotFoundError' });
    expect((await list({}, elsewhere)).errors?.[0]?.extensions?.code).toBe('NOT_FOUND');
    const here = await mint({ scopes: ['tasks:read', 'tasks:write'], projectId });
    expect(await add({ text: 'x' }, here)).toMatchObject({ __typename: 'KnowledgeDocumentSuccess' });
    const asset = await upload(Buffer.from('of another project'), 'text/plain');
    expect(await add({ assetId: asset }, here)).toMatchObject({ __typename: 'NotFoundError' });
    expect((await list({}, here)).data.knowledgeDocuments.nodes).toHaveLength(1);
  });
});

describe('a search', () => {
  it('finds by words at once, and by meaning without a shared word once it is embedded', async () => {
    await add({ title: 'Bicycle', text: 'Repairing a puncture: remove the inner tube and patch the hole.' });
    await add({ title: 'Kitchen', text: 'The cake needs two eggs and a cup of flour.' });
    await add({ title: 'Shop', text: 'Our refund policy lasts thirty days.' });
    const question = 'can I get my money back?';
    expect((await found({ query: question })).every(({ semanticScore }) => semanticScore === 0)).toBe(true);
    expect((await found({ query: 'eggs for a cake' }))[0]).toMatchObject({
      document: { title: 'Kitchen' },
      fullTextScore: 1,
    });
    await embedAll();
    const [best, next] = await found({ query: question });
    expect(best.document.title).toBe('Shop');
    expect(best.fullTextScore).toBe(0);
    expect(best.semanticScore).toBeGreaterThan(next.semanticScore + 0.1);
    for (const { score, fullTextScore, trigramScore, semanticScore, weight } of [best, next])
      expect(score).toBeCloseTo(weight * (0.35 * fullTextScore + 0.15 * trigramScore + 0.5 * semanticScore));
  });

  it('finds words that are spelled otherwise, with and without pg_trgm', async () => {
    await add({ title: 'Rocks', text: 'Granite is an igneous rock of quartz and feldspar.' });
    const [withIndex] = await found({ query: 'grannite' });
    expect(withIndex).toMatchObject({ fullTextScore: 0, semanticScore: 0, document: { title: 'Rocks' } });
    expect(withIndex.trigramScore).toBeGreaterThan(0.5);
    await bed.sql('alter index knowledge_word_trigrams rename to elsewhere');
    const other = { ...bed.core };
    const scope = { accountId: bed.account.uuid, projectId: await uuidOf(projectId) };
    const without = await searchKnowledge(other, scope, { query: 'grannite', first: 5 });
    await bed.sql('alter index elsewhere rename to knowledge_word_trigrams');
    expect(without[0]?.trigramScore).toBe(withIndex.trigramScore);
  });

  it('puts a document with more weight first, and leaves out one with none', async () => {
    const light = await add({ title: 'Whales', text: 'Whales sing in the deep sea.' });
    const heavy = await add({ title: 'Whales', text: 'Whales sing in the deep sea.', weight: 3 });
    await embedAll();
    const [first, second] = await found({ query: 'singing whales' });
    expect([first.document.id, second.document.id]).toEqual([heavy.document.id, light.document.id]);
    expect(first.weight).toBe(3);
    expect(first.score).toBeCloseTo(3 * second.score);
    await update(heavy.document.id, { weight: 0 });
    expect((await found({ query: 'singing whales' })).map(({ document }) => document.id)).toEqual([light.document.id]);
  });

  it('looks at one category, and at what has all of the tags', async () => {
    await add({ title: 'A', text: 'Rivers flow to the sea.', category: 'geo', tags: ['x', 'y'] });
    await add({ title: 'B', text: 'Rivers flow to the sea.', category: 'geo', tags: ['x'] });
    await add({ title: 'C', text: 'Rivers flow to the sea.', category: 'art', tags: ['y'] });
    await embedAll();
    const titles = async (how: object) =>
      (await found({ query: 'river', ...how })).map(({ document }) => document.title).sort();
    expect(await titles({})).toEqual(['A', 'B', 'C']);
    expect(await titles({ category: 'geo' })).toEqual(['A', 'B']);
    expect(await titles({ tags: ['x', 'y'] })).toEqual(['A']);
    expect(await titles({ category: 'art', tags: ['x'] })).toEqual([]);
    expect(await titles({ first: 1 })).toHaveLength(1);
  });

  it('is refused for an empty or endless query and for first outside 1 to 20', async () => {
    for (const variables of [
      { query: ' ' },
      { query: 'x'.repeat(2_001) },
      { query: 'x', first: 0 },
      { query: 'x', first: 21 },
    ])
      expect((await search(variables)).errors?.[0]?.extensions?.code).toBe('BAD_REQUEST');
    for (const query of [`'`, '\\', `a' | b & !c:*`, 'the and of', '日本語', '😀', '& | !', '-'.repeat(2_000)])
      expect(await found({ query })).toEqual([]);
  });

  it('finds what another process changed', async () => {
    const { document } = await add({ title: 'Old', text: 'Tulips bloom in spring.' });
    await embedAll();
    expect((await found({ query: 'flowers' }))[0].semanticScore).toBeGreaterThan(0.2);
    // The API's process has the vectors now; what follows reaches it by the database alone.
    const scope = { accountId: bed.account.uuid, projectId: await uuidOf(projectId) };
    const another = { ...bed.core };
    await searchKnowledge(another, scope, { query: 'flowers', first: 5 });
    await update(document.id, { text: 'The engine of the lorry is loud.' });
    await embedAll();
    for (const core of [bed.core, another]) {
      const passages = await searchKnowledge(core, scope, { query: 'noise of a truck', first: 5 });
      expect(passages.map(({ text }) => text)).toEqual(['The engine of the lorry is loud.']);
      expect(passages[0]!.semanticScore).toBeGreaterThan(0.3);
    }
    await remove(document.id);
    expect(await searchKnowledge(another, scope, { query: 'flowers', first: 5 })).toEqual([]);
  });
});

describe('embedding', () => {
  it('gives vectors of unit length, zeros for what the model does not know, and leaves the loop free', async () => {
    let ticks = 0;
    const timer = setInterval(() => ticks++, 5);
    const vectors = await embedTexts(bed.core, [
      'a cat',
      '日本語',
      '',
      'a'.repeat(3_000),
      'the quick brown fox '.repeat(40),
    ]);
    clearInterval(timer);
    expect(vectors.map(({ length }) => length)).toEqual([512, 512, 512, 512, 512]);
    expect(vectors.map((vector) => Math.round(Math.hypot(...vector) * 1e4) / 1e4)).toEqual([1, 0, 0, 1, 1]);
    expect(ticks).toBeGreaterThan(5);
    await expect(embedTexts(bed.core, ['x'], AbortSignal.abort(new Error('enough')))).rejects.toThrow('enough');
  });

  it('is shared by workers, and goes on after one that died', async () => {
    const text = Array.from(
      { length: 12 },
      (_, index) => `# Part ${index}\n\n${'Something to read. '.repeat(15)}`,
    ).join('\n\n');
    const { document } = await add({ text });
    expect(document.passageCount).toBe(12);
    const waiting = async () =>
      (await bed.sql<{ count: bigint }>('select count(*) from knowledge_passage where embedding is null'))[0]!.count;
    await embedDue(bed.core, 5);
    expect(await waiting()).toBe(7n);
    // As a worker leaves it that was killed in the midst of it.
    await bed.sql(
      `update knowledge_document set embed_due_at = now() + interval '2 minutes' where embed_due_at is not null`,
    );
    expect(await embedDue(bed.core, 5)).toBe(false);
    await bed.sql('update knowledge_document set embed_due_at = now() where embed_due_at is not null');
    await Promise.all([embedAll(), embedAll()]);
    expect(await waiting()).toBe(0n);
  });

  it('comes from any server with the OpenAI API; another model embeds everything again', async () => {
    const asked: any[] = [];
    let status = 200;
    const server = createServer(async (request, response) => {
      const body = JSON.parse(Buffer.concat(await request.toArray()).toString());
      asked.push({ url: request.url, authorization: request.headers.authorization, ...body });
      response.statusCode = status;
      const data = body.input.map((text: string, index: number) => ({ index, embedding: [text.length, 3, 4] }));
      response.end(JSON.stringify({ data: data.reverse() }));
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const { port } = server.address() as { port: number };
    const remote = await createTestBed({
      worker: false,
      environment: {
        ATELIER_EMBEDDINGS_URL: `http://127.0.0.1:${port}/v1`,
        ATELIER_EMBEDDINGS_KEY: 'sk-embeddings',
        ATELIER_EMBEDDINGS_MODEL: 'tiny',
        ATELIER_ALLOWED_HOSTS: '127.0.0.1',
      },
    });
    try {
      const [vector] = await embedTexts(remote.core, ['']);
      expect(vector).toEqual([0, expect.closeTo(0.6), expect.closeTo(0.8)]);
      expect(asked[0]).toMatchObject({
        url: '/v1/embeddings',
        authorization: 'Bearer sk-embeddings',
        model: 'tiny',
        input: [''],
      });
      status = 500;
      await expect(embedTexts(remote.core, ['x'])).rejects.toThrow(/answered 500/);
    } finally {
      await remote.close();
      server.close();
    }
    await add({ text: 'Something to read.' });
    await embedAll();
    await bed.sql(`update knowledge_document set embedding_model = 'former'`);
    await bed.sql(`update knowledge_passage set embedding_model = 'former'`);
    const fresh = { ...bed.core };
    while (await embedDue(fresh, 16));
    const left = await bed.sql(`select from knowledge_passage where embedding_model = 'former'`);
    expect(left).toHaveLength(0);
  });
});

describe('a text that is written in several statements', () => {
  it('is not there before it is whole, and goes when its writer is gone', async () => {
    const uuid = await uuidOf(projectId);
    const rows = await bed.sql<{ id: string }>(
      `insert into knowledge_document (account_id, project_id, title, content_type, size_bytes, staged_at)
      values ($1, $2, 'half', 'text/plain', 1, now() - interval '11 minutes') returning id`,
      [bed.account.uuid, uuid],
    );
    await bed.sql(
      `insert into knowledge_passage (document_id, project_id, version, place, text, search)
      values ($1, $2, 1, 1, 'half of it', to_tsvector('english', 'half of it') || array_to_tsvector(array[$3::text]))`,
      [rows[0]!.id, uuid, uuid],
    );
    expect((await list()).data.knowledgeDocuments.nodes).toEqual([]);
    expect(await found({ query: 'half' })).toEqual([]);
    expect(await remove(toId('KnowledgeDocument', rows[0]!.id))).toMatchObject({ code: 'NOT_FOUND' });
    expect(await dropAbandoned(bed.core, 10)).toBe(1);
    expect(await bed.sql('select from knowledge_document where project_id = $1', [uuid])).toEqual([]);
  });

  it('is the one that began last when two are written at once', async () => {
    const { document } = await add({ text: 'The first.' });
    const answers = await Promise.all(
      Array.from({ length: 6 }, (_, index) => update(document.id, { text: `Version ${index} of the text.` })),
    );
    expect(answers.every(({ __typename }) => __typename === 'KnowledgeDocumentSuccess')).toBe(true);
    const rows = await bed.sql<{ version: number; staged: number; stagedAt: Date | null }>(
      'select version, staged, staged_at from knowledge_document where project_id = $1',
      [await uuidOf(projectId)],
    );
    expect(rows).toEqual([{ version: 7, staged: 7, stagedAt: null }]);
    const passages = await bed.sql('select from knowledge_passage where project_id = $1', [await uuidOf(projectId)]);
    expect(passages).toHaveLength(1);
  });
});

describe('passages', () => {
  const splitPassages = (text: string) => split(text) ?? [];

  it('begin at headings, overlap within a section, and are never longer than 800', () => {
    const sentence = 'The river carries water to the sea. ';
    const section = (title: string) => `# ${title}\n\n${sentence.repeat(60)}`;
    const passages = splitPassages(`${section('One')}\n\n${section('Two')}`);
    expect(Math.max(...passages.map(({ length }) => length))).toBeLessThanOrEqual(800);
    expect(passages.filter((passage) => passage.startsWith('#'))).toHaveLength(2);
    expect(passages[1]!.startsWith('carries') || passages[0]!.includes(passages[1]!.slice(0, 60))).toBe(true);
  });

  it('never cut a character, and join short sections', () => {
    const faces = splitPassages('😀'.repeat(3_000).replace(/^/, 'a'));
    expect(faces.join('')).not.toMatch(/\ufffd/);
    for (const passage of faces) expect(isStorable(passage)).toBe(true);
    expect(splitPassages('# A\n\nshort\n\n# B\n\nshort')).toHaveLength(1);
  });

  it('keep every word of any text', () => {
    const words = Array.from({ length: 5_000 }, (_, index) => `word${index}`);
    const text = words
      .map((word, index) => word + (index % 97 === 0 ? '\n\n' : index % 13 === 0 ? '. ' : ' '))
      .join('');
    const kept = new Set(splitPassages(text).flatMap((passage) => passage.match(/word\d+/g)));
    expect(kept.size).toBe(words.length);
  });
});

describe('similarity of spelling', () => {
  it('is that of pg_trgm', async () => {
    for (const [one, other] of [
      ['word', 'two'],
      ['granite', 'grannite'],
      ['same', 'same'],
      ['a', 'b'],
    ] as const) {
      const rows = await bed.sql<{ similarity: number }>('select similarity($1, $2)::float8', [one, other]);
      expect(similarity(one, other)).toBeCloseTo(rows[0]!.similarity);
    }
    expect(trigramScorer('granite quartz')('Quartz, granite')).toBe(1);
    expect(trigramScorer('granite')('nothing alike')).toBe(0);
    expect(trigramScorer('!')('x')).toBe(0);
  });
});

async function uuidOf(id: string): Promise<string> {
  const rows = await bed.sql<{ id: string }>('select id from project');
  return rows.find((row) => toId('Project', row.id) === id)!.id;
}
