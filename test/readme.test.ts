import { type ChildProcess, spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { dirname, join, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { buildSchema, type GraphQLInterfaceType } from 'graphql';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { settings } from '../src/config.ts';
import { builtInTaskTypes } from '../src/task-types/index.ts';
import { createTestBed, eventually, type TestBed } from './kit.ts';

const documents = ['README.md', 'docs/clients.md', 'docs/task-types.md', 'docs/operations.md'];
// docs-adapters.test.ts and docs-pipelines.test.ts do what the other two say.
const texts = new Map(
  [...documents, 'docs/adapters.md', 'docs/pipelines.md'].map((document) => [document, readFileSync(document, 'utf8')]),
);
const fences = documents.flatMap((document) =>
  [...texts.get(document)!.matchAll(/^```(\w+)\n(.*?)^```$/gms)].map(([, language, text]) => ({
    document,
    language: language!,
    text: text!,
  })),
);
const plugin = 'test/fixtures/acme.mjs';

describe('what the documents say', () => {
  it('lists every setting with its default and meaning', () => {
    const told = rowsOf('README.md', /^\| `(DATABASE_URL|REDIS_URL|LOG_LEVEL|S3_\w+|ATELIER_[A-Z_]+)` /).map(cellsOf);
    expect(told).toEqual(settings.map((setting) => [setting.name, setting.default, setting.description]));
  });

  it('lists every built-in task type with its lane, longest run and first price', () => {
    const table = rowsOf('docs/task-types.md', /^\| `\w+` +\| [^|]* \| `\w+` +\| \d+ min/).map((row) => cellsOf(row));
    const types = builtInTaskTypes.map((type) => {
      const { unit, creditsPerUnit } = type.prices![0]!;
      return [type.name, type.lane, `${type.longestRunSeconds / 60} min`, unit, creditsPerUnit];
    });
    const told = table.map(([name, , lane, run, unit, price]) => [name, lane, run, unit, price]);
    expect(told.sort()).toEqual(types.sort());
  });

  it('lists every field of every task type', () => {
    const rows = rowsOf('docs/task-types.md', /^\| `\w+` +\| \*\*/);
    for (const type of builtInTaskTypes) {
      const [, input, result] = cellsOf(rows.find((row) => row.startsWith(`| \`${type.name}\``))!);
      for (const name of Object.keys(type.input.shape)) expect(input).toContain(name);
      for (const name of Object.keys(type.result.shape)) expect(result).toContain(name);
    }
  });

  it('lists every expected failure with its fields', () => {
    const schema = buildSchema(readFileSync('schema.graphql', 'utf8'));
    for (const member of schema.getPossibleTypes(schema.getType('UserError') as GraphQLInterfaceType)) {
      const [row] = rowsOf('docs/clients.md', new RegExp(`^\\| \`${member.name}\``));
      for (const name of Object.keys(member.getFields()))
        if (name !== 'message' && name !== 'code') expect(row).toContain(name);
    }
  });

  it('names only npm scripts that there are', () => {
    const { scripts } = JSON.parse(readFileSync('package.json', 'utf8'));
    for (const text of texts.values())
      for (const [, name] of text.matchAll(/npm run (?:--silent )?([a-z]+)/g)) expect(scripts).toHaveProperty(name!);
  });

  it('links to files and headings that there are', () => {
    for (const [document, text] of texts) {
      for (const [, link] of text.matchAll(/\]\((?!https?:)([^)]+)\)/g)) {
        const [path, anchor] = link!.split('#');
        const file = path ? resolve(dirname(document), path) : resolve(document);
        const target = readFileSync(file, 'utf8');
        if (anchor) expect(anchorsOf(target), `${document}: ${link}`).toContain(anchor);
      }
    }
  });

  it('shows the plugin that the tests load', () => {
    expect(fences.find(({ text }) => text.startsWith('// acme.mjs'))!.text).toBe(
      `// acme.mjs\n${readFileSync(plugin, 'utf8')}`,
    );
  });
});

describe('the examples', () => {
  let bed: TestBed;
  let directory: string;
  /** Of a completed generate_image. */
  let taskId: string;
  const children: ChildProcess[] = [];
  beforeAll(async () => {
    bed = await createTestBed({
      storage: 'directory',
      environment: { ATELIER_PLUGINS: `./${plugin}`, ATELIER_ALLOWED_HOSTS: '127.0.0.1' },
    });
    // Inside of the project, so that an example finds its packages.
    mkdirSync('.atelier', { recursive: true });
    directory = mkdtempSync('.atelier/readme-');
    taskId = await printedBy('first-task.mjs');
    await completed(taskId);
  });
  afterAll(async () => {
    for (const child of children) child.kill();
    if (directory) rmSync(directory, { recursive: true });
    await bed?.close();
  });

  it('create a first task', () => expect(taskId).toMatch(/^task_/));

  it('watch over SSE, and see each event once when the connection is cut', async () => {
    expect(await watchedBy('watch.mjs')).toEqual(await seqsOf(taskId));
  });

  it('watch over WebSocket, and see each event once when the connection is cut', async () => {
    expect(await watchedBy('watch-websocket.mjs')).toEqual(await seqsOf(taskId));
  });

  it('follow everything from a list on', async () => {
    const lines = linesOf(runExample('feed.mjs'));
    await eventually(() => lines.includes(`${taskId} COMPLETED`));
    const id = await createText();
    await eventually(() => lines.includes(`${id} COMPLETED`));
  });

  it('upload a file that a task then takes in', async () => {
    const { data } = await bed.graphql(
      'query ($id: ID!) { task(id: $id) { ... on BaseTask { assets { url width height } } } }',
      { id: taskId },
    );
    const [asset] = data.task.assets;
    const file = join(directory, 'picture.png');
    writeFileSync(file, Buffer.from(await (await fetch(asset.url)).arrayBuffer()));
    const uploaded = JSON.parse(await printedBy('upload.mjs', [file]));
    expect(uploaded).toMatchObject({ kind: 'IMAGE', width: asset.width, height: asset.height });
    const created = await bed.graphql(
      `mutation ($ids: [ID!]) { createTask(input: { task: { generateImage: { prompt: "the same at dusk", width: 64, height: 64, referenceAssetIds: $ids } } }) {
        ... on CreateTaskSuccess { task { ... on BaseTask { id } } } ... on UserError { message } } }`,
      { ids: [uploaded.id] },
    );
    expect(await completed(created.data.createTask.task.id)).toBe('COMPLETED');
  });

  it('take webhooks, and refuse what is not signed', async () => {
    const { data } = await bed.graphql(
      'mutation { rotateWebhookSecret { ... on RotateWebhookSecretSuccess { secret } } }',
      {},
      { key: bed.operatorKey },
    );
    const lines = linesOf(
      runExample('webhooks.mjs', [], { WEBHOOK_SECRET: data.rotateWebhookSecret.secret, PORT: '0' }),
    );
    const port = (await eventually(() => lines[0])).replace('listening on ', '');
    const id = await createText(`http://127.0.0.1:${port}/`);
    await eventually(() => lines.some((line) => line.startsWith(`task.completed ${id}`)));
    const forged = await fetch(`http://127.0.0.1:${port}/`, { method: 'POST', body: '{}' });
    expect(forged.status).toBe(401);
  });

  it('in GraphQL are answered, and none is refused', async () => {
    const { account } = (await bed.graphql('{ account { projects { id } } }', {}, { key: bed.operatorKey })).data;
    const cancelled = await createScheduled();
    await bed.graphql('mutation ($id: ID!) { cancelTask(id: $id) { __typename } }', { id: cancelled });
    const variables = {
      taskId,
      projectId: account.projects[0].id,
      accountId: (await bed.createAccount()).id,
      runningId: await createScheduled(),
      cancelledId: cancelled,
      endedId: await createText().then(async (id) => (await completed(id)) && id),
    };
    for (const { document, text } of fences.filter(({ language }) => language === 'graphql')) {
      const { data, errors } = await bed.graphql(text, variables, { key: bed.operatorKey });
      expect(errors, `${document}: ${text}`).toBeUndefined();
      // Nothing here can lose the answer to a paid call.
      for (const [field, answer] of Object.entries<any>(data))
        expect(answer.code, `${document}: ${text}`).toBe(field === 'reviewTask' ? 'NOT_IN_REVIEW' : undefined);
    }
  });

  it('with curl are answered', async () => {
    for (const { headers, body } of commands('curl').map(readCurl)) {
      const response = await fetch(`${bed.url}/graphql`, { method: 'POST', headers, body });
      const answer = await response.text();
      expect(response.status, answer).toBe(200);
      expect(answer).toMatch(headers.accept ? /event: complete/ : /"task_\w+"/);
    }
  });

  it('of the command line end with 0', async () => {
    const { DATABASE_URL, REDIS_URL, ATELIER_SECRET } = bed.config;
    const environment = { ATELIER_URL: bed.url, DATABASE_URL, REDIS_URL, ATELIER_SECRET, LOG_LEVEL: 'silent' };
    const endless = ['api', 'worker'];
    const given = commands('npm run atelier -- ').filter(([name]) => !endless.includes(name!));
    expect(given.length).toBeGreaterThan(3);
    // Those that name an account come after the one that makes it.
    const needsAccount = (words: string[]) => words.includes('--account');
    for (const batch of [given.filter((words) => !needsAccount(words)), given.filter(needsAccount)])
      await Promise.all(
        batch.map(async (words) => {
          const child = run(['--import', 'tsx', 'src/cli.ts', ...words], environment);
          const lines = linesOf(child, 'stderr');
          expect(await exitOf(child), `${words.join(' ')}\n${lines.join('\n')}`).toBe(0);
        }),
      );
  }, 60_000);

  it('of a plugin bring its task type into the schema, and run it', async () => {
    const { data } = await bed.graphql(
      `mutation { createTask(input: { task: { acmeMakeSubtitles: { text: "The lamp is lit. The sea is calm.", wordsPerMinute: 120 } } }) {
        ... on CreateTaskSuccess { task { ... on BaseTask { id type cost { quoted } } } } } }`,
    );
    const { id, ...task } = data.createTask.task;
    expect(task).toEqual({ type: 'ACME_MAKE_SUBTITLES', cost: { quoted: 1 } });
    expect(await completed(id)).toBe('COMPLETED');
    const read = await bed.graphql(
      'query ($id: ID!) { task(id: $id) { ... on AcmeMakeSubtitlesTask { result { cueCount subtitles { url contentType } } } } }',
      { id },
    );
    const { cueCount, subtitles } = read.data.task.result;
    expect(cueCount).toBe(2);
    expect(subtitles.contentType).toBe('application/x-subrip');
    expect(await (await fetch(subtitles.url)).text()).toContain('1\n00:00:00,000 --> 00:00:02,000\nThe lamp is lit.');
  });

  it('name the metrics that there are', async () => {
    const text = await (await fetch(`${bed.url}/metrics`)).text();
    const there = [...text.matchAll(/^# TYPE (atelier_\w+)/gm)].map(([, name]) => name!);
    const told = rowsOf('docs/operations.md', /^\| `atelier_/).map((row) => cellsOf(row)[0]!);
    expect(told.sort()).toEqual(there.sort());
  });

  async function createText(callbackUrl?: string): Promise<string> {
    const { data } = await bed.graphql(
      'mutation ($callbackUrl: URL) { createTask(input: { task: { generateText: { prompt: "a lighthouse" } }, callbackUrl: $callbackUrl }) { ... on CreateTaskSuccess { task { ... on BaseTask { id } } } } }',
      { callbackUrl },
    );
    return data.createTask.task.id;
  }

  async function createScheduled(): Promise<string> {
    const { data } = await bed.graphql(
      'mutation ($runAt: DateTime) { createTask(input: { task: { generateText: { prompt: "later" } }, runAt: $runAt }) { ... on CreateTaskSuccess { task { ... on BaseTask { id } } } } }',
      { runAt: new Date(Date.now() + 3_600_000).toISOString() },
    );
    return data.createTask.task.id;
  }

  /** Its status in the end. */
  async function completed(id: string): Promise<string> {
    let status = '';
    const query = 'subscription ($id: ID!) { taskEvents(id: $id) { ... on TaskStatusChanged { status } } }';
    for await (const { data } of bed.subscribe(query, { id })) status = data.taskEvents.status ?? status;
    return status;
  }

  async function seqsOf(id: string): Promise<number[]> {
    const { data } = await bed.graphql('query ($id: ID!) { task(id: $id) { ... on BaseTask { lastSeq } } }', { id });
    return Array.from({ length: data.task.lastSeq }, (_, index) => index + 1);
  }

  /** The seqs that an example prints, one JSON line each, over a line that is cut twice. */
  async function watchedBy(name: string): Promise<number[]> {
    const proxy = await cuttingProxy(Number(new URL(bed.url).port));
    const child = runExample(name, [taskId], {}, `127.0.0.1:${proxy.port}`);
    const lines = linesOf(child);
    const complaint = linesOf(child, 'stderr');
    expect(await exitOf(child), complaint.join('\n')).toBe(0);
    expect(proxy.cuts()).toBe(2);
    return lines.map((line) => JSON.parse(line).seq);
  }

  async function printedBy(name: string, words: string[] = []): Promise<string> {
    const child = runExample(name, words);
    const lines = linesOf(child);
    const complaint = linesOf(child, 'stderr');
    expect(await exitOf(child), complaint.join('\n')).toBe(0);
    return lines.join('\n');
  }

  /** Runs the example that begins with its file name, as a reader would. */
  function runExample(
    name: string,
    words: string[] = [],
    environment: NodeJS.ProcessEnv = {},
    host = new URL(bed.url).host,
  ): ChildProcess {
    const example = fences.find(({ text }) => text.startsWith(`// ${name}\n`));
    const file = join(directory, name);
    writeFileSync(file, example!.text.replaceAll('127.0.0.1:4000', host));
    return run([file, ...words], environment);
  }

  function run(words: string[], environment: NodeJS.ProcessEnv): ChildProcess {
    const child = spawn(process.execPath, words, {
      env: { PATH: process.env.PATH, ATELIER_API_KEY: bed.tasksKey, ...environment },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    children.push(child);
    return child;
  }

  /** The commands in shell fences that begin so, as words; what a reader fills in is filled in. */
  function commands(begin: string): string[][] {
    return fences
      .filter(({ language }) => language === 'sh')
      .flatMap(({ text }) => text.replaceAll('\\\n', ' ').split('\n'))
      .filter((line) => line.startsWith(begin))
      .map((line) => line.slice(begin.length).replaceAll('$ATELIER_API_KEY', bed.tasksKey).replaceAll('task_…', taskId))
      .map((line) =>
        [...line.matchAll(/'([^']*)'|"([^"]*)"|(\S+)/g)].map(([, single, double, bare]) => single ?? double ?? bare!),
      );
  }
});

function readCurl(words: string[]): { headers: Record<string, string>; body: string } {
  const after = (flag: string) => words.filter((_, index) => words[index - 1] === flag);
  expect(words).toContain('http://127.0.0.1:4000/graphql');
  const headers = after('-H').map((header) => header.split(/: (.*)/).slice(0, 2) as [string, string]);
  return { headers: Object.fromEntries(headers), body: after('-d')[0]! };
}

/** Passes TCP on, and cuts the first two connections that carry events before their third one. */
async function cuttingProxy(port: number): Promise<{ port: number; cuts(): number }> {
  let cuts = 0;
  const server = createServer((client) => {
    const upstream = connect(port, '127.0.0.1');
    let events = 0;
    upstream.on('data', (chunk) => {
      for (const { index } of chunk.toString('latin1').matchAll(/event: next|"type":"next"/g)) {
        if (++events < 3 || cuts >= 2) continue;
        cuts++;
        client.end(chunk.subarray(0, index));
        upstream.destroy();
        return;
      }
      client.write(chunk);
    });
    client.pipe(upstream);
    client.on('error', () => {}).on('close', () => upstream.destroy());
    upstream.on('error', () => {}).on('close', () => client.end());
  });
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  onTestFinished(() => void server.close());
  return { port: (server.address() as { port: number }).port, cuts: () => cuts };
}

/** Fills as the process prints. */
function linesOf(child: ChildProcess, stream: 'stdout' | 'stderr' = 'stdout'): string[] {
  const lines: string[] = [];
  createInterface({ input: child[stream]! }).on('line', (line) => lines.push(line));
  return lines;
}

const exitOf = (child: ChildProcess): Promise<number | null> => new Promise((done) => child.once('close', done));

const rowsOf = (document: string, begin: RegExp): string[] =>
  texts
    .get(document)!
    .split('\n')
    .filter((line) => begin.test(line));

const cellsOf = (row: string): string[] =>
  row
    .split('|')
    .slice(1, -1)
    .map((cell) => cell.trim().replace(/^`(.*)`$/, '$1'));

/** As GitHub makes them. */
function anchorsOf(markdown: string): string[] {
  return [...markdown.matchAll(/^#+ (.*)$/gm)].map(([, heading]) =>
    heading!
      .toLowerCase()
      .replaceAll(/[^\w\s-]/g, '')
      .replaceAll(' ', '-'),
  );
}
