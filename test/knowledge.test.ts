import { getEventListeners } from 'node:events';
import { readdir, readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { Core } from '../src/core.ts';
import type { KnowledgeDocument } from '../src/db.ts';
import { OutsideError } from '../src/errors.ts';
import { toId } from '../src/id.ts';
import { updateDocument } from '../src/knowledge/document.ts';
import { embedTexts } from '../src/knowledge/embed.ts';
import { embedDue } from '../src/knowledge/embed-due.ts';
import { extractPassages } from '../src/knowledge/extract.ts';
import { splitPassages as split } from '../src/knowledge/passages.ts';
import { searchKnowledge } from '../src/knowledge/search.ts';
import { dropAbandoned } from '../src/knowledge/text.ts';
import { similarity, trigramScorer } from '../src/knowledge/trigram.ts';
import { toBytes, toUnit } from '../src/knowledge/vector.ts';
import { openVectors } from '../src/knowledge/vectors.ts';
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

  it('is read from HTML with a table: each row is a line, however many rows there are and whatever they span', async () => {
    const row = (name: string, price: string) => `<tr><td>${name}</td><td><b>${price}</b></td></tr>`;
    const table = `<table><tr><th>Name</th><th>Price</th></tr>${row('Apple', '3')}${row('Pear', '4')}</table>`;
    const read = (html: string) => extractPassages(Buffer.from(html), 'text/html', 'text');
    expect(await read(`${table}<p>after</p>`)).toEqual(['Name | Price\nApple | 3\nPear | 4\n\nafter']);
    const wide = `<table>${'<tr><td colspan=2000 rowspan=2000>wide</td></tr>'.repeat(20)}</table>`;
    expect(await read(wide)).toHaveLength(1);
    expect((await read(`<table>${row('Plum', '5').repeat(100_000)}</table>`)).length).toBeGreaterThan(1_000);
  });

  it('keeps the text that took its place when it is renamed at the same time', async () => {
    const { document } = await add({ text: 'The first text.' });
    const [former] = await bed.sql<KnowledgeDocument>('select * from knowledge_document where project_id = $1', [
      await uuidOf(projectId),
    ]);
    await update(document.id, { text: 'The second text.' });
    const renamed = await updateDocument(bed.core, former!, { title: 'Renamed' });
    expect(renamed).toMatchObject({ title: 'Renamed', passageCount: 1, sizeBytes: 16n });
    expect((await found({ query: 'renamed' })).map(({ text }) => text)).toEqual(['The second text.']);
  });

  it('is read from an uploaded PDF and from an uploaded text', async () => {
    const assetId = await upload(writePdf(['The lighthouse keeper', 'winds the clock on Sundays.']), 'application/pdf');
    expect((await add({ assetId })).document).toMatchObject({ contentType: 'application/pdf', passageCount: 1 });
    expect((await found({ query: 'lighthouse' }))[0].text).toMatch(/winds the clock on Sundays/);
    const text = await upload(Buffer.from('Äpfel and pears'), 'text/plain');
    expect((await add({ assetId: text })).document).toMatchObject({ contentType: 'text/plain', sizeBytes: 16 });
  });

  it('of an asset is read as what the asset is; the caller says what sort of text a plain one is', async () => {
    const read = async (uploaded: string, contentType?: string) => {
      const assetId = await upload(Buffer.from('<h1>Apples</h1> and <b>pears</b>'), uploaded);
      const { document } = await add({ assetId, ...(contentType && { contentType }) });
      const [passage] = await found({ query: 'pears' });
      await remove(document.id);
      return [document.contentType, passage.text];
    };
    const raw = '<h1>Apples</h1> and <b>pears</b>';
    expect(await read('text/plain')).toEqual(['text/plain', raw]);
    expect(await read('text/markdown')).toEqual(['text/markdown', raw]);
    expect(await read('text/html')).toEqual(['text/html', '# Apples\n\nand pears']);
    expect(await read('text/plain', 'text/html')).toEqual(['text/html', '# Apples\n\nand pears']);
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
    ['control characters', { text: 'a\u0001b' }, ['text'], /control characters/],
    ['a text with NUL', { text: 'a\0b' }, ['text'], /Unicode without the NUL/],
    ['a text with half a character', { text: 'a\ud800b' }, ['text'], /Unicode without the NUL/],
    ['a title with half a character', { text: 'x', title: 'a\udc00' }, ['title'], /^must be valid Unicode/],
    ['a category with NUL', { text: 'x', category: 'a\0' }, ['category'], /^must be valid Unicode/],
    ['a tag with NUL', { text: 'x', tags: ['ok', 'a\0'] }, ['tags', '1'], /^must be valid Unicode/],
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

  it('HTML of more than 512 elements within each other, at once', async () => {
    const nested = (depth: number) => `${'<div>'.repeat(depth)}deep${'</div>'.repeat(depth)}`;
    const begun = performance.now();
    await expect(extractPassages(Buffer.from(nested(200_000)), 'text/html', 'text')).rejects.toThrow(
      'text: has more than 512 HTML elements within each other',
    );
    expect(performance.now() - begun).toBeLessThan(10_000);
    await refused({ text: nested(513), contentType: 'text/html' }, ['text'], /512 HTML elements/);
    expect(await extractPassages(Buffer.from(nested(512)), 'text/html', 'text')).toEqual(['deep']);
    const unclosed = '<p>one<br><ul><li>two<li>three</ul>'.repeat(1_000);
    expect(await extractPassages(Buffer.from(unclosed), 'text/html', 'text')).not.toHaveLength(0);
  });

  it('what no process can be started for: tried again later', async () => {
    const refusal = await withoutNode(() =>
      extractPassages(Buffer.from('<p>x</p>'), 'text/html', 'text').catch((error: unknown) => error),
    );
    expect(refusal).toBeInstanceOf(OutsideError);
    expect(refusal).toMatchObject({ retryable: true, message: expect.stringMatching(/extract-process: .*ENOENT/) });
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
    expect((await list({}, other.key)).data.knowledgeDocuments.nodes).toEqual([]);
    expect((await search({ query: 'mine' }, other.key)).data.searchKnowledge).toEqual([]);
    expect((await search({ projectId: 'garbage', query: 'mine' })).data.searchKnowledge).toEqual([]);
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
    expect((await list({}, elsewhere)).data.knowledgeDocuments.nodes).toEqual([]);
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

  it.each([
    ['Борщ со сметаной', 'борщ', 'БОРЩ'],
    ['Ein ÜBERBLICK', 'überblick', 'Überblick'],
    ['Η Αθήνα', 'ΑΘΉΝΑ', 'αθήνα'],
    ['Una can\u0303ada', 'CAÑADA', 'cañada'],
    ['An e\ufb03cient pump, ef\u00adfort\u00adless', 'efficient', 'EFFORTLESS'],
    ['“Granite”—it’s a rock', 'granite', 'rock'],
    ['«Борщ»…и хлеб', 'борщ', 'хлеб'],
  ])('finds words in any case and script, between any signs: %s', async (text, ...queries) => {
    await add({ title: text, text });
    for (const query of queries) {
      const [passage] = await found({ query });
      expect(passage).toMatchObject({ text, fullTextScore: 1, trigramScore: 1, document: { title: text } });
    }
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

  it('finds words of other scripts that are spelled otherwise', async () => {
    await add({ title: 'Суп', text: 'Борщ едят со сметаной.' });
    await add({ title: 'Soup', text: 'Granite soup.' });
    const [passage, ...others] = await found({ query: 'сметанной' });
    expect(passage).toMatchObject({ fullTextScore: 0, document: { title: 'Суп' } });
    expect(passage.trigramScore).toBeGreaterThan(0.3);
    expect(others).toEqual([]);
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
      { query: 'x', tags: Array.from({ length: 21 }, (_, index) => `t${index}`) },
    ])
      expect((await search(variables)).errors?.[0]?.extensions?.code).toBe('BAD_REQUEST');
    await add({ text: 'x' });
    for (const variables of [{ category: 'a\0' }, { tags: ['a\ud800'] }])
      expect(await found({ query: 'x', ...variables })).toEqual([]);
    for (const query of [`'`, '\\', `a' | b & !c:*`, 'the and of', '日本語', '😀', '& | !', '-'.repeat(2_000)])
      expect(await found({ query })).toEqual([]);
  });

  it('compares each vector once, whatever was written while they were read, and those of before when they were too many', async () => {
    const { document } = await add({ text: 'Tulips bloom in spring.' });
    await embedAll();
    const project = await uuidOf(projectId);
    const scope = { accountId: bed.account.uuid, projectId: project };
    const model = 'energetic-ai/en';
    const added: string[] = [];
    // Between the reading of the revision and that of the vectors another document is embedded.
    const core = intercept(bed.core, async (name) => {
      if (name !== 'knowledge_documents' || added.length > 0) return;
      added.push((await add({ text: 'Roses bloom in summer.' })).document.id);
      await embedAll();
    });
    const nearest = async () => {
      const vectors = await openVectors(core, project, model);
      const [query] = await embedTexts(core, ['flowers']);
      return vectors.nearest(Float32Array.from(query!), { chosen: null, most: 30 }).map(({ id }) => id);
    };
    await nearest();
    const ids = await nearest();
    expect(ids).toHaveLength(2);
    expect(new Set(ids).size).toBe(2);

    await bed.sql('update knowledge_document set passage_count = 50001 where project_id = $1', [project]);
    await update(document.id, { weight: 2 });
    expect(await nearest()).toEqual([]);
    await bed.sql('update knowledge_document set passage_count = 1 where project_id = $1', [project]);
    await update(document.id, { weight: 1 });
    expect((await nearest()).sort()).toEqual(ids.sort());
    expect((await searchKnowledge(core, scope, { query: 'flowers', first: 5 }))[0]!.semanticScore).toBeGreaterThan(0.2);
  });

  it('reads again from the start what a failing database cut off', async () => {
    const text = Array.from({ length: 2_001 }, (_, index) => `# Part ${index}\n\n${'word '.repeat(50)}`).join('\n\n');
    const { document } = await add({ text });
    const project = await uuidOf(projectId);
    const model = 'energetic-ai/en';
    await bed.sql(
      `update knowledge_passage set embedding = $2, embedding_model = $3, revision = 1 where project_id = $1`,
      [project, toBytes(toUnit([1, 2, 3])), model],
    );
    await bed.sql('update knowledge_document set embed_due_at = null where project_id = $1', [project]);
    let reads = 0;
    const core = intercept(bed.core, async (name) => {
      if (name === 'knowledge_vectors' && ++reads === 2) throw new Error('the connection was lost');
    });
    await expect(openVectors(core, project, model)).rejects.toThrow('lost');
    const vectors = await openVectors(core, project, model);
    const near = vectors.nearest(toUnit([1, 2, 3]), { chosen: null, most: 5_000 });
    expect([near.length, new Set(near.map(({ id }) => id)).size]).toEqual([2_001, 2_001]);
    await remove(document.id);
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
    expect(await embedTexts(bed.core, [])).toEqual([]);
    await expect(embedTexts(bed.core, ['x'], AbortSignal.abort(new Error('enough')))).rejects.toThrow('enough');
  });

  it('is left at once by whoever gives up, also while the process hangs; it goes on for the others', async () => {
    await embedTexts(bed.core, ['x']);
    const [pid] = await childrenCalled('embed-process');
    process.kill(pid!, 'SIGSTOP');
    const signal = new AbortController();
    const left = embedTexts(bed.core, new Array(1_000).fill('a text'), signal.signal).catch(
      (reason: unknown) => reason,
    );
    const stays = embedTexts(bed.core, ['a cat']);
    const expired = embedTexts(bed.core, ['x'], AbortSignal.timeout(100)).catch((reason: unknown) => reason);
    try {
      expect(await expired).toMatchObject({ name: 'TimeoutError' });
      const begun = performance.now();
      signal.abort(new Error('enough'));
      expect(await left).toMatchObject({ message: 'enough' });
      expect(performance.now() - begun).toBeLessThan(500);
    } finally {
      process.kill(pid!, 'SIGCONT');
    }
    expect(await stays).toHaveLength(1);
    expect(getEventListeners(signal.signal, 'abort')).toHaveLength(0);
    const kept = new AbortController().signal;
    await embedTexts(bed.core, ['one', 'two'], kept);
    expect(getEventListeners(kept, 'abort')).toHaveLength(0);
  });

  it('starts one process for all that wait, and says what became of it', async () => {
    const stop = async () => {
      await embedTexts(bed.core, ['x']);
      const [pid] = await childrenCalled('embed-process');
      process.kill(pid!, 'SIGSTOP');
      return pid!;
    };
    const embed = (text: string) => embedTexts(bed.core, [text]).catch((error: unknown) => error);
    const first = await stop();
    const [lost, next] = [embed('x'), embed('y')];
    process.kill(first, 'SIGKILL');
    // It had answered before: another takes its place.
    expect(await lost).toMatchObject({ retryable: true, message: expect.stringMatching(/SIGKILL/) });
    expect(await next).toHaveLength(1);

    const second = await stop();
    const last = embed('x');
    process.kill(second, 'SIGKILL');
    await last;
    const errors = await withoutNode(() => Promise.all(Array.from({ length: 1_000 }, () => embed('x'))));
    expect(errors[0]).toBeInstanceOf(OutsideError);
    expect(errors[0]).toMatchObject({ retryable: true, message: expect.stringMatching(/embed-process: .*ENOENT/) });
    expect(new Set(errors).size).toBe(1);
    expect(await embedTexts(bed.core, ['x'])).toHaveLength(1);
  });

  it('of a very long text reads the beginning only', async () => {
    const [long] = await embedTexts(bed.core, ['the quick brown fox '.repeat(5_000)]);
    expect(long).toEqual((await embedTexts(bed.core, ['the quick brown fox '.repeat(500)]))[0]);
  });

  it('written by two workers at once is the one that came first', async () => {
    const { document } = await add({ text: 'Something to read.' });
    const project = await uuidOf(projectId);
    let isTaken = false;
    // The other takes over what this one seems to have given up, after it has read the passages and before it writes.
    const slow = intercept(bed.core, async (name) => {
      if (name !== 'knowledge_embed_write' || isTaken) return;
      isTaken = true;
      await bed.sql('update knowledge_document set embed_due_at = now() where project_id = $1', [project]);
      await embedAll();
    });
    while (await embedDue(slow, 16));
    expect(isTaken).toBe(true);
    const read = () =>
      bed.sql<{ revision: bigint }>('select revision from knowledge_passage where project_id = $1', [project]);
    // 1: it was shown. 2: the other's.
    expect(await read()).toEqual([{ revision: 2n }]);
    expect(document.passageCount).toBe(1);
  });

  it('gives pgvector no vector without a direction: its distance from anything would be no number', async () => {
    await add({ title: '日本語', text: '日本語' });
    await add({ text: 'A cat.' });
    // As the migration leaves it, with a column that keeps what it is given.
    await bed.sql(`create domain vector as text`);
    await bed.sql('alter table knowledge_passage add column vector vector');
    await bed.sql(`create function knowledge_nearest() returns int language sql as 'select 1'`);
    const other = intercept(bed.core, async () => {});
    while (await embedDue(other, 16));
    const rows = await bed.sql<{ vector: string | null }>(
      'select vector from knowledge_passage where project_id = $1 order by text',
      [await uuidOf(projectId)],
    );
    await bed.sql('drop function knowledge_nearest');
    await bed.sql('alter table knowledge_passage drop column vector');
    await bed.sql('drop domain vector');
    expect(rows.map(({ vector }) => vector?.slice(0, 1))).toEqual(['[', undefined]);
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
    let body: string | undefined;
    const server = createServer(async (request, response) => {
      const given = JSON.parse(Buffer.concat(await request.toArray()).toString());
      asked.push({ url: request.url, authorization: request.headers.authorization, ...given });
      response.statusCode = status;
      const data = given.input.map((text: string, index: number) => ({ index, embedding: [text.length, 3, 4] }));
      response.end(body ?? JSON.stringify({ data: data.reverse() }));
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
      status = 200;
      for (const wrong of [
        'no JSON',
        'null',
        '{"data":[null]}',
        '{"data":[{"index":0}]}',
        '{"data":[{"index":0,"embedding":"AAAA"}]}',
        '{"data":[{"index":1,"embedding":[1]}]}',
      ]) {
        body = wrong;
        const refusal = await embedTexts(remote.core, ['x']).catch((error: unknown) => error);
        expect(refusal).toBeInstanceOf(OutsideError);
        expect(refusal).toMatchObject({ message: expect.stringMatching(/one vector for each of 1 texts/) });
      }
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

describe('the vocabulary', () => {
  const read = async () =>
    bed.sql<{ word: string; passages: number }>(
      'select word, passages from knowledge_word where project_id = $1 order by word',
      [await uuidOf(projectId)],
    );
  /** Counted anew. */
  const expected = async () =>
    bed.sql<{ word: string; passages: number }>(
      `select word, count(*)::int as passages from knowledge_passage, unnest(tsvector_to_array(search)) as word
      where project_id = $1 and length(word) between 4 and 32 and word ~ '^[[:alpha:]]+$' group by word order by word`,
      [await uuidOf(projectId)],
    );
  const words = async () => (await read()).map(({ word }) => word);

  it('is that of the texts that are there', async () => {
    const { document } = await add({ title: 'Rock', text: 'Granite and quartz.' });
    const other = await add({ title: 'Rock', text: 'Granite and basalt.' });
    expect(await words()).toEqual(['basalt', 'granit', 'quartz', 'rock']);
    await update(document.id, { text: 'Granite and marble.' });
    expect(await words()).toEqual(['basalt', 'granit', 'marbl', 'rock']);
    expect((await found({ query: 'quarz' })).length).toBe(0);
    await remove(other.document.id);
    expect(await words()).toEqual(['granit', 'marbl', 'rock']);
    await bed.sql(
      `update knowledge_document set version = 0, staged_at = now() - interval '11 minutes' where project_id = $1`,
      [await uuidOf(projectId)],
    );
    await dropAbandoned(bed.core, 10);
    expect(await words()).toEqual([]);
  });

  it('is right when documents come, change and go at once', async () => {
    const some = (seed: number) =>
      Array.from(
        { length: 40 },
        (_, part) =>
          `# Part ${part}\n\n${Array.from({ length: 40 }, (_, index) => vocabulary[(seed * 7 + part * 13 + index * (seed + 3)) % vocabulary.length]).join(' ')}`,
      ).join('\n\n');
    const project = await uuidOf(projectId);
    await Promise.all(
      Array.from({ length: 8 }, async (_, seed) => {
        for (let round = 0; round < 4; round++) {
          const { document } = await add({ text: some(seed + round), category: `writer ${seed}` });
          const answers = await Promise.all([
            update(document.id, { text: some(seed + round + 1) }),
            update(document.id, { title: `title${'abcd'[round]}` }),
          ]);
          expect(answers.map(({ __typename }) => __typename)).toEqual(new Array(2).fill('KnowledgeDocumentSuccess'));
          if (round % 2 === 0) expect((await remove(document.id)).__typename).toBe('DeleteKnowledgeDocumentSuccess');
          // Several documents in one statement, as the sweeper removes them.
          if (round === 3 && seed < 4) {
            await bed.sql(
              `update knowledge_document set version = 0, staged_at = now() - interval '11 minutes'
              where project_id = $1 and category = $2`,
              [project, `writer ${seed}`],
            );
            await dropAbandoned(bed.core, 10);
          }
        }
      }),
    );
    const now = await read();
    expect(now.length).toBeGreaterThan(50);
    expect(now).toEqual(await expected());
    await bed.sql('delete from knowledge_document where project_id = $1', [project]);
    expect(await read()).toEqual([]);
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
  it('remembers no endless words', () => {
    setFlagsFromString('--expose-gc');
    const collect: () => void = runInNewContext('gc');
    const heap = () => {
      collect();
      return process.memoryUsage().heapUsed;
    };
    const words = Array.from({ length: 2_000 }, (_, index) =>
      Array.from({ length: 200 }, (_, at) => ((index + 1) * (at + 7) ** 2).toString(36).slice(-4).padEnd(4, 'x')).join(
        '',
      ),
    );
    const before = heap();
    const score = trigramScorer('granite');
    for (const word of words) score(word);
    expect(heap() - before).toBeLessThan(20_000_000);
  });

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

const vocabulary = Array.from({ length: 200 }, (_, index) =>
  [index % 20, Math.floor(index / 20), (index * 7) % 20]
    .map((at) => 'bcdfghklmnprstvwxyzj'[at] + 'aeiou'[at % 5]!)
    .join(''),
);

/** Hears of each named statement before it is sent, unprepared. As far as caches go it is another process. */
function intercept(core: Core, before: (name: string | undefined) => Promise<void>): Core {
  const sql: Core['db']['sql'] = async (text, values, name) => {
    await before(name);
    return core.db.sql(text, values);
  };
  return { ...core, db: { ...core.db, sql } };
}

/** While it runs no process can be started. */
async function withoutNode<Result>(run: () => Promise<Result>): Promise<Result> {
  const { execPath } = process;
  process.execPath = '/nowhere/node';
  try {
    return await run();
  } finally {
    process.execPath = execPath;
  }
}

/** The ids of the processes that this one started. */
async function childrenCalled(name: string): Promise<number[]> {
  const threads = await readdir('/proc/self/task');
  const lists = await Promise.all(threads.map((thread) => readFile(`/proc/self/task/${thread}/children`, 'utf8')));
  const pids = lists.join(' ').split(' ').filter(Boolean).map(Number);
  const commands = await Promise.all(pids.map((pid) => readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')));
  return pids.filter((_, index) => commands[index]!.includes(name));
}
