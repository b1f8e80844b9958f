import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { text } from 'node:stream/consumers';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { freePort } from '../src/embedded/port.ts';
import { loadPlugin } from '../src/plugins.ts';
import { projectPath } from '../src/project-path.ts';
import { checkAdapter, type Fixture, readFixtures } from '../src/sdk/conformance.ts';
import { failureClasses } from '../src/sdk/failure.ts';
import { builtInTaskTypes } from '../src/task-types/index.ts';
import { createTestBed, eventually, type TestBed } from './kit.ts';

const document = readFileSync('docs/adapters.md', 'utf8');
const fences = [...document.matchAll(/([^\n]*)\n\n```(\w+)\n(.*?)^```$/gms)].map(([, above, language, content]) => ({
  above: above!,
  language: language!,
  text: content!,
}));
const fence = (begin: string): string => fences.find((each) => each.text.startsWith(begin))!.text;
const sums = [...document.matchAll(/\d+ passed, \d+ failed, \d+ not applicable/g)].map(([sum]) => sum);

/** Where an author stands: what the document says is done in here. */
let folder: string;
const inFolder = (...parts: string[]): string => join(folder, ...parts);
let vendor: ChildProcess | undefined;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'atelier-author-'));
});
afterAll(() => {
  vendor?.kill();
  rmSync(folder, { recursive: true });
});

async function run(program: string, words: string[]): Promise<{ code: number; output: string }> {
  const child = spawn(program, words, {
    cwd: folder,
    env: { ...process.env, TSX_TSCONFIG_PATH: projectPath('tsconfig.json') },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const code = once(child, 'close').then(([status]) => status as number);
  const [output, errors] = await Promise.all([text(child.stdout), text(child.stderr)]);
  return { code: await code, output: output + errors };
}

const cli = ['--import', import.meta.resolve('tsx'), projectPath('src/cli.ts')];

/** A line of the document's shell, as the author's shell would run it. */
async function type(line: string): Promise<string> {
  expect(document).toMatch(new RegExp(`^${line.replace(/[.*+?^$()|[\]\\]/g, '\\$&')}$`, 'm'));
  const [command, ...words] = line.split(' ');
  const { code, output } =
    command === 'atelier' ? await run(process.execPath, [...cli, ...words]) : await run('sh', ['-c', line]);
  expect(code, output).toBe(0);
  return output;
}

/** The files of an adapter that the document shows, under its folder. */
function write(names: string[]): void {
  for (const name of names) {
    const file = name.startsWith('fixtures/')
      ? fences.find(({ above, language }) => language === 'json' && above.endsWith(`\`${name}\`:`))!.text
      : fence(`// ${name}\n`);
    writeFileSync(inFolder('lumen', name), file);
  }
}

describe('a quarter of an hour', () => {
  it('begins with an adapter that works', async () => {
    await type('atelier adapter new lumen');
    expect(await type('atelier adapter check ./lumen')).toContain(`\n${sums[0]}\n`);
    await type('rm lumen/vendor.ts lumen/fixtures/*');
    expect(existsSync(inFolder('lumen', 'adapter.ts'))).toBe(true);
  });

  it('ends with one that passes the check, which prints what is shown', async () => {
    write(['adapter.ts', 'image.ts', 'render.ts', 'failure.ts', 'fixtures/done.json', 'fixtures/refused.json']);
    const printed = (await type('atelier adapter check ./lumen')).split('\n');
    for (const line of fence('lumen 1.0.0').split('\n')) if (line !== '  …') expect(printed).toContain(line);
  });

  it('shows TypeScript whose types fit', async () => {
    write(['callback.ts', 'models.ts', 'films.ts', 'prompt.ts', 'stream.ts', 'sketch.ts']);
    const compilerOptions = {
      typeRoots: [projectPath('node_modules/@types')],
      paths: {
        'atelier/adapter': [projectPath('src/plugins/adapter.ts')],
        'atelier/adapter/testing': [projectPath('src/sdk/conformance.ts')],
      },
    };
    const config = { extends: projectPath('tsconfig.json'), compilerOptions, include: ['lumen'] };
    writeFileSync(inFolder('tsconfig.json'), JSON.stringify(config));
    const tsc = await run(process.execPath, [projectPath('node_modules/typescript/bin/tsc'), '-p', folder]);
    expect(tsc).toEqual({ code: 0, output: '' });
  }, 30_000);
});

describe('other kinds of vendors', () => {
  const sse = (...events: [string, string][]) => ({
    headers: { 'content-type': 'text/event-stream' },
    text: events.map(([event, data]) => `event: ${event}\ndata: ${data}\n\n`).join(''),
  });
  const exchanged = (path: string, response: object) => [
    { request: { method: 'POST', url: `https://api.lumen.example/v1/${path}` }, response },
  ];
  const written = { document: 'https://lumen.example/docs/texts', taskType: 'generate_text', input: { prompt: 'x' } };
  const drawn = {
    document: 'https://lumen.example/docs/sketches',
    taskType: 'generate_image',
    input: { prompt: 'a boat', count: 2, seed: 0 },
  };

  it.each<[string, string, string, object[]]>([
    [
      'stream.ts',
      'text',
      'streams: true',
      [
        {
          ...written,
          exchanges: exchanged('texts', sse(['piece', 'Hel'], ['news', 'x'], ['piece', 'lo'], ['done', '2'])),
          expect: { result: { text: 'Hello' }, text: 'Hello', usage: [{ unit: 'token', quantity: 2 }] },
        },
        {
          ...written,
          exchanges: exchanged('texts', sse(['piece', 'Hel'], ['broken', 'content_refused'])),
          expect: { failure: { class: 'content_policy' } },
        },
        {
          ...written,
          exchanges: exchanged('texts', sse(['piece', 'Hel'])),
          expect: { failure: { class: 'ambiguous', code: 'ANSWER_LOST' } },
        },
      ],
    ],
    [
      'sketch.ts',
      'sketch',
      'startTimeoutMs: 180_000',
      [
        {
          ...drawn,
          exchanges: exchanged('sketches', { json: { pictures: [{ base64: 'iVBORw0=' }, { base64: 'iVBORw0=' }] } }),
          expect: { outputs: 2, usage: [{ unit: 'image', quantity: 2 }] },
        },
        {
          ...drawn,
          exchanges: exchanged('sketches', { json: { pictures: null } }),
          expect: { failure: { class: 'ambiguous', code: 'ANSWER_LOST' } },
        },
      ],
    ],
  ])('are shown in %s, which passes the check', async (name, transformer, settings, cases) => {
    const [{ taskType }] = cases as [{ taskType: string }];
    const source = `
      import { defineAdapter } from 'atelier/adapter';
      import lumen from './adapter.ts';
      import { ${transformer}, start } from './${name}';
      const models = [{ id: 'lumen-2', taskTypes: ['${taskType}'] }];
      const others = { poll: undefined, cancel: undefined, ${settings} };
      export default defineAdapter({ ...lumen, models, transformers: { ${taskType}: ${transformer} }, start, ...others });
    `;
    writeFileSync(inFolder('lumen', `with-${name}`), source);
    const { adapters } = await loadPlugin(inFolder('lumen', `with-${name}`));
    const fixtures = cases.map((each) => ({ model: 'lumen-2', ...each })) as Fixture[];
    const checks = await checkAdapter(adapters[0]!, { fixtures, taskTypes: builtInTaskTypes });
    expect(checks.filter(({ outcome }) => outcome === 'failed').map(({ name, detail }) => [name, detail])).toEqual([]);
  });
});

describe('many models', () => {
  it('make what they make, which is quoted, kept in the handle and charged', async () => {
    const source = `
      import { defineAdapter, z } from 'atelier/adapter';
      import lumen from './adapter.ts';
      import { film, poll, start } from './films.ts';
      import { config as models, modelsOf } from './models.ts';
      const config = z.strictObject({ ...models.shape, baseUrl: z.url().default('https://api.lumen.example') });
      const transformers = { generate_video: film };
      export default defineAdapter({ ...lumen, config, models: modelsOf, transformers, start, poll, cancel: undefined });
    `;
    writeFileSync(inFolder('lumen', 'with-films.ts'), source);
    const { adapters } = await loadPlugin(inFolder('lumen', 'with-films.ts'));
    const url = 'https://api.lumen.example/v1/renders';
    const input = { text: 'a lamp', frames: 120, format: 'mp4', steps: 20, seed: 0 };
    const fixture = {
      document: 'https://lumen.example/docs/renders',
      taskType: 'generate_video',
      model: 'acme/film-1',
      input: { sceneDescription: 'a lamp', durationSeconds: 4.5, seed: 0 },
      exchanges: [
        { request: { method: 'POST', url, json: { model: 'acme/film-1', input } }, response: { json: { id: 'r-82' } } },
        {
          request: { url: `${url}/r-82` },
          response: { json: { state: 'done', files: ['https://files.lumen.example/r-82/0.mp4'] } },
        },
      ],
      expect: { outputs: 1, result: { durationSeconds: 5 }, usage: [{ unit: 'second', quantity: 5 }] },
    } as Fixture;
    const checks = await checkAdapter(adapters[0]!, { fixtures: [fixture], taskTypes: builtInTaskTypes });
    expect(checks.filter(({ outcome }) => outcome === 'failed').map(({ name, detail }) => [name, detail])).toEqual([]);
    const estimated = checks.find(({ name }) => name.includes('estimate'));
    expect(estimated).toMatchObject({ outcome: 'passed' });
  });
});

describe('with callbacks', () => {
  let bed: TestBed;
  afterAll(() => bed?.close());

  it('every check that has something to check passes', async () => {
    const source = readFileSync(inFolder('lumen', 'adapter.ts'), 'utf8');
    const edited = source
      .replace('import { classify }', "import { receive } from './callback.ts';\nimport { classify }")
      .replace(/secrets: \{ (.*) \},/, "secrets: { $1, LUMEN_CALLBACK_KEY: { title: 'Callbacks', required: true } },")
      .replace('  classify,\n', '  classify,\n  receive,\n');
    // Another name: a module is loaded once.
    writeFileSync(inFolder('lumen', 'called.ts'), edited);
    const file = inFolder('lumen', 'fixtures', 'done.json');
    const fixture = { ...JSON.parse(readFileSync(file, 'utf8')), ...JSON.parse(fence('{\n  "secrets"')) };
    writeFileSync(file, JSON.stringify(fixture));
    const { adapters } = await loadPlugin(inFolder('lumen', 'called.ts'));
    const fixtures = readFixtures(inFolder('lumen', 'fixtures'));
    const checks = await checkAdapter(adapters[0]!, { fixtures, taskTypes: builtInTaskTypes });
    expect(checks.filter(({ outcome }) => outcome !== 'passed').map(({ name, detail }) => [name, detail])).toEqual([
      [expect.stringContaining('estimate'), 'no transformer has an estimate of its own'],
      [expect.stringContaining('find'), 'the adapter has no find'],
    ]);
    expect(document).toContain(`Always the same ${checks.length}`);
    for (const { group } of checks) expect(document).toMatch(new RegExp(`^\\| \`${group}\` +\\|`, 'm'));
  });

  it('runs from GraphQL to COMPLETED, on the vendor’s word', async () => {
    vendor = spawn(process.execPath, [projectPath('test/fixtures/lumen-server.mjs'), '0'], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const lines = createInterface({ input: vendor.stdout! });
    const [port] = await once(lines, 'line');
    const calledBack = once(lines, 'line');
    const { adapters } = await loadPlugin(inFolder('lumen', 'called.ts'));
    const own = String(await freePort());
    bed = await createTestBed({
      adapters,
      storage: 'directory',
      environment: {
        ATELIER_PORT: own,
        ATELIER_PUBLIC_URL: `http://127.0.0.1:${own}`,
        LUMEN_API_KEY: 'secret',
        LUMEN_CALLBACK_KEY: 'whispered',
        ATELIER_ADAPTER_LUMEN: JSON.stringify({ baseUrl: `http://127.0.0.1:${port}` }),
      },
    });
    const { data } = await bed.graphql(fence('mutation Picture'));
    const { id } = data.createTask.task;
    await eventually(async () => {
      const { data: read } = await bed.graphql('query ($id: ID!) { task(id: $id) { ... on BaseTask { status } } }', {
        id,
      });
      return read.task.status === 'COMPLETED';
    });
    const { data: read } = await bed.graphql(
      'query ($id: ID!) { task(id: $id) { ... on BaseTask { assets { contentType } } ... on GenerateImageTask { result { seed } } } }',
      { id },
    );
    expect(read.task).toEqual({ assets: [{ contentType: 'image/png' }], result: { seed: 0 } });
    const [attempt] = await bed.sql('select cost from attempt');
    expect(attempt).toEqual({ cost: { amount: '0.031', currency: 'EUR' } });
    expect(await calledBack).toEqual(['callback: 202']);
  }, 20_000);
});

it('shows the test that the example has', () => {
  expect(fence('// adapter.test.ts\n')).toBe(
    `// adapter.test.ts\n${readFileSync('adapters/example/adapter.test.ts', 'utf8')}`,
  );
});

it('is packed with all that it and the other packed documents link to', async () => {
  const { output } = await run('npm', ['pack', projectPath(), '--dry-run', '--json', '--ignore-scripts', '--silent']);
  const [{ files }] = JSON.parse(output);
  const packed = new Set<string>(files.map(({ path }: { path: string }) => path));
  for (const file of packed) {
    if (!file.endsWith('.md')) continue;
    for (const [, path] of readFileSync(projectPath(file), 'utf8').matchAll(/\]\((?!https?:)([^)#]+)/g))
      expect(packed, `${file} links to ${path}`).toContain(join(dirname(file), path!));
  }
  const outside = document.matchAll(/~\/atelier\/([\w./-]+)/g);
  for (const [, path] of outside) expect(packed).toContain(path);
}, 30_000);

it('lists every class of failure and every field of a fixture', () => {
  for (const name of failureClasses) expect(document).toMatch(new RegExp(`^\\|.*\`${name}\`.*\\|`, 'm'));
  const fixture = readFileSync('src/sdk/conformance/fixture.ts', 'utf8');
  const schema = /^const schema = [\w.]+\(\{\n(.*?)^\}\);/ms.exec(fixture)![1]!;
  const [, table = ''] = document.split('## Fixtures');
  for (const [, name] of schema.matchAll(/^ {2}(\w+):/gm)) expect(table).toContain(`\`${name}`);
});
