import { execFile, spawn } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, realpathSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { readConfig } from '../src/config.ts';
import { ConfigError } from '../src/errors.ts';
import { buildSchema } from '../src/graph/schema.ts';
import { projectPath } from '../src/project-path.ts';
import { loadRegistry } from '../src/registry.ts';
import { createTestBed, eventually, type TestBed } from './kit.ts';

const run = promisify(execFile);

/** Of a registry with these plugins, in a folder that holds these files. */
async function load(files: Record<string, string>, plugins: string, environment: NodeJS.ProcessEnv = {}) {
  const folder = folderWith(files);
  const paths = plugins.replaceAll('./', `${folder}/`);
  return loadRegistry(readConfig({ ATELIER_PLUGINS: paths }), { adapters: [], taskTypes: [] }, environment);
}

function folderWith(files: Record<string, string>): string {
  const folder = realpathSync(mkdtempSync(join(tmpdir(), 'atelier-plugins-')));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(dirname(join(folder, name)), { recursive: true });
    writeFileSync(join(folder, name), text);
  }
  return folder;
}

const adapter = (name: string, more = '', taskType = 'generate_text') => `
  import { defineAdapter, z } from 'atelier/adapter';
  export default defineAdapter({
    name: '${name}', contract: 1, version: '1.0.0', title: 'Acme', runs: 'here', resubmit: 'safe',
    models: [{ id: 'one', taskTypes: ['${taskType}'] }],
    transformers: { ${taskType}: { toProvider: () => ({ request: {}, warnings: [] }), fromProvider: () => ({ outputs: [], result: {} }) } },
    start: async () => ({ answer: {} }),
    ${more}
  });`;
const taskType = (name: string, input: string) => `
  import { defineTaskType, fields, z } from 'atelier/adapter';
  export const type = defineTaskType({
    name: '${name}', description: 'A test.', lane: 'acme', longestRunSeconds: 1,
    input: z.object({ ${input} }), result: z.object({ acmeOk: z.boolean().describe('Ok.') }), estimate: () => [],
  });`;
/** As another, newer or careless copy of the contract would make it. */
const marked = (members: string) =>
  `export default { [Symbol.for('atelier.adapter')]: true, name: 'acme', contract: 1, models: [], transformers: {}, start() {}, ${members} };`;
/** What tells zod 3 from zod 4. */
const zod3 = '{ _def: { typeName: "ZodObject" }, safeParse() {} }';

describe('a plugin', () => {
  it.each([
    ['a file', { 'acme.mjs': adapter('acme') }, './acme.mjs'],
    ['a folder with an index', { 'acme/index.mjs': adapter('acme') }, './acme'],
    ['a folder with an adapter in TypeScript', { 'acme/adapter.ts': adapter('acme') }, './acme'],
    [
      'what main names',
      { 'acme/package.json': '{ "main": "lib/a.mjs" }', 'acme/lib/a.mjs': adapter('acme') },
      './acme',
    ],
    [
      'what exports name',
      {
        'acme/package.json': '{ "name": "acme", "exports": { "import": "./lib/a.mjs", "require": "./lib/a.cjs" } }',
        'acme/lib/a.mjs': adapter('acme'),
      },
      './acme',
    ],
    [
      'a list of adapters in an object',
      {
        'acme.mjs': adapter('acme')
          .replace('export default', 'const one =')
          .concat('\nexport default { adapters: [one] };'),
      },
      './acme.mjs',
    ],
    [
      'the same adapter under two names',
      { 'acme.mjs': adapter('acme').replace('export default', 'export const one =').concat('\nexport default one;') },
      './acme.mjs',
    ],
  ])('may be %s', async (_name, files, plugin) => {
    const registry = await load(files, plugin);
    expect(registry.adapter('acme')?.adapter.title).toBe('Acme');
  });

  it('is there once when it is named twice', async () => {
    const registry = await load({ 'acme.mjs': adapter('acme') }, './acme.mjs,./acme.mjs');
    expect(registry.adapters.filter(({ adapter }) => adapter.name === 'acme')).toHaveLength(1);
  });
});

describe('the start is stopped, with the name of the plugin and what to mend, by', () => {
  const cases: [string, { [file: string]: string }, string, RegExp][] = [
    [
      'a path that is not there',
      { 'acme.mjs': '' },
      './acne.mjs',
      /"[^"]*acne\.mjs": there is no .*did you mean .*acme\.mjs\?/,
    ],
    [
      'a package that is not installed',
      {},
      'atelier-plugin-nobody',
      /"atelier-plugin-nobody": no such package is installed: looked for it in .*npm install/,
    ],
    ['a path without its ./', {}, 'adapters', /did you mean \.\/adapters\?/],
    [
      'a folder without a beginning',
      { 'acme/notes.txt': '' },
      './acme',
      /acme": .* has nothing to begin with; it needs a package\.json/,
    ],
    [
      'a package that is not built',
      { 'acme/package.json': '{ "main": "dist/index.js" }' },
      './acme',
      /names dist\/index\.js, which is not there; build/,
    ],
    ['a package.json that is broken', { 'acme/package.json': '{' }, './acme', /acme\/package\.json: .*JSON/],
    [
      'an error while it is loaded',
      { 'acme.mjs': '\nthrow new Error("no licence");' },
      './acme.mjs',
      /acme\.mjs\) fails while it is loaded: no licence \(at .*acme\.mjs:2\)/,
    ],
    [
      'a name that is taken in a manifest',
      { 'acme.mjs': adapter('Acme!') },
      './acme.mjs',
      /fails while it is loaded: adapter "Acme!": its name must be/,
    ],
    [
      'a contract that is newer',
      { 'acme.mjs': marked('contract: 2') },
      './acme.mjs',
      /its adapter "acme" speaks contract 2; this Atelier speaks 1: update Atelier/,
    ],
    [
      'a contract that is newer, of this copy',
      { 'acme.mjs': adapter('acme').replace('contract: 1', 'contract: 2') },
      './acme.mjs',
      /speaks contract 2; this Atelier speaks 1: update/,
    ],
    [
      'nothing that Atelier can use',
      { 'acme.mjs': 'export const answer = 42;' },
      './acme.mjs',
      /brings no adapter, task type, pipeline or transform: it exports only answer;/,
    ],
    ['nothing at all', { 'acme.mjs': 'export {};' }, './acme.mjs', /it exports nothing;/],
    [
      'an adapter that nobody defined',
      { 'acme.mjs': 'export default { name: "acme", transformers: {}, start() {} };' },
      './acme.mjs',
      /its export default looks like an adapter and was not made by defineAdapter/,
    ],
    [
      'a task type that nobody defined',
      { 'acme.mjs': 'export const type = { lane: "a", input: {}, result: {} };' },
      './acme.mjs',
      /its export type looks like a task type and was not made by defineTaskType/,
    ],
    [
      'a transform that nobody defined',
      { 'acme.mjs': 'export const shout = { name: "acme_shout", apply() {} };' },
      './acme.mjs',
      /its export shout looks like a transform and was not made by defineTransform/,
    ],
    [
      'a pipeline that nobody defined',
      { 'acme.mjs': 'export const mine = { name: "acme_mine", stages: [] };' },
      './acme.mjs',
      /its export mine looks like a pipeline and was not made by definePipeline/,
    ],
    [
      'a configuration of zod 3',
      { 'acme.mjs': adapter('acme', `config: ${zod3},`) },
      './acme.mjs',
      /its adapter "acme": config is a schema of zod 3; take `z` from 'atelier\/adapter'/,
    ],
    [
      'options of zod 3',
      { 'acme.mjs': marked(`models: [{ id: 'one', taskTypes: [], options: ${zod3} }]`) },
      './acme.mjs',
      /the options of model "one" is a schema of zod 3/,
    ],
    [
      'a task type of zod 3',
      {
        'acme.mjs': `export default { [Symbol.for('atelier.task-type')]: true, name: 'acme_x', input: ${zod3}, result: ${zod3} };`,
      },
      './acme.mjs',
      /its task type "acme_x": input is a schema of zod 3/,
    ],
    [
      'an adapter whose name another plugin has',
      { 'a.mjs': adapter('acme'), 'b.mjs': adapter('acme') },
      './a.mjs,./b.mjs',
      /two adapters are called "acme", of plugin "[^"]*a\.mjs" and of plugin "[^"]*b\.mjs"/,
    ],
    [
      'a task type whose name another plugin has',
      { 'a.mjs': taskType('acme_x', ''), 'b.mjs': taskType('acme_x', '') },
      './a.mjs,./b.mjs',
      /two task types are called "acme_x", of plugin ".*a\.mjs" and of plugin/,
    ],
    [
      'an adapter with the name of a built-in one',
      { 'a.mjs': adapter('local') },
      './a.mjs',
      /two adapters are called "local", of Atelier itself and of plugin/,
    ],
    [
      'a task type with the name of a built-in one',
      { 'a.mjs': taskType('generate_image', '') },
      './a.mjs',
      /two task types are called "generate_image", of Atelier itself and of plugin/,
    ],
    [
      'a task type that nothing defines',
      { 'a.mjs': adapter('acme', '', 'acme_nope') },
      './a.mjs',
      /plugin ".*a\.mjs": adapter "acme" names the task type acme_nope, which nothing here defines/,
    ],
  ];
  it.each(cases)('%s', async (_name, files, plugins, message) => {
    const refused = await load(files, plugins).catch((error) => error);
    expect(refused).toBeInstanceOf(ConfigError);
    expect(refused.message).toMatch(message);
    expect(refused.message).not.toContain('\n');
  });

  it.each([
    [
      'a field with another type than elsewhere',
      taskType('acme_x', "width: z.string().describe('Wide.')"),
      /AcmeXParameters\.width is String!, but GenerateImage/,
    ],
    ['a field that GraphQL cannot name', taskType('acme_x', "'x-y': z.string().describe('X.')"), /x-y/],
    [
      'a type that has the name of one of ours',
      taskType('acme_x', "x: fields.enumeration('TaskStatus', ['A']).describe('X.')"),
      /TaskStatus/,
    ],
  ])('%s', async (_name, text, message) => {
    const good = taskType('acme_good', "acmeGood: z.string().describe('Good.')");
    const registry = await load({ 'good.mjs': good, 'bad.mjs': text }, './good.mjs,./bad.mjs');
    expect(() => buildSchema(registry)).toThrow(ConfigError);
    expect(() => buildSchema(registry)).toThrow(/^plugin "[^"]*bad\.mjs": /);
    expect(() => buildSchema(registry)).toThrow(message);
  });

  it('settings of an adapter that is not there', async () => {
    const files = { 'acme.mjs': adapter('acme', 'config: z.object({ quality: z.int().default(1) }),') };
    const with_ = (environment: NodeJS.ProcessEnv) => load(files, './acme.mjs', environment);
    await expect(with_({ ATELIER_ADAPTER_ACME: '{"quality": 2}' })).resolves.toBeTruthy();
    await expect(with_({ ATELIER_ADAPTER_ACNE: '{}' })).rejects.toThrow(
      /ATELIER_ADAPTER_ACNE: no adapter here is called so; did you mean ATELIER_ADAPTER_ACME\?/,
    );
    expect(() => readConfig({ ATELIER_ADAPTOR_ACME: '{}' })).toThrow(
      'ATELIER_ADAPTOR_ACME: no such setting; did you mean ATELIER_ADAPTER_ACME?',
    );
    await expect(with_({ ATELIER_ADAPTER_SOMETHING: '{}' })).rejects.toThrow(/is its plugin in ATELIER_PLUGINS\?/);
  });
});

it('a plugin gets the copy of atelier/adapter that runs, wherever it lies, whatever lies beside it', async () => {
  const copy = 'export { defineAdapter } from "atelier/adapter";';
  const other = {
    'package.json': '{ "name": "atelier", "exports": { "./adapter": "./a.mjs" } }',
    'a.mjs': 'throw new Error("another copy");',
  };
  const inside = (folder: string, files: object) =>
    Object.fromEntries(Object.entries(files).map(([name, text]) => [`${folder}/${name}`, text]));
  const folder = folderWith({
    ...inside('node_modules/atelier', other),
    ...inside('node_modules/acme-package', {
      'package.json': '{ "exports": { "import": "./a.js" }, "name": "acme-package", "type": "module" }',
      'a.js': adapter('acme-package') + copy,
    }),
    ...inside('acme-linked', { 'index.mjs': adapter('acme-linked') + copy }),
    ...inside('acme-folder', {
      'adapter.ts': `${adapter('acme-folder')} ${copy} export type { Name } from './name.ts';`,
      'name.ts': 'export type Name = string;',
    }),
    'main.mts': `
      import { loadPlugin } from ${JSON.stringify(projectPath('src/plugins.ts'))};
      import { defineAdapter } from ${JSON.stringify(projectPath('src/sdk/index.ts'))};
      for (const name of ['acme-package', 'acme-linked', './acme-folder']) {
        const plugin = await loadPlugin(name);
        const module = await import(plugin.path);
        console.log(plugin.adapters[0].name, module.defineAdapter === defineAdapter);
      }`,
  });
  symlinkSync(join(folder, 'acme-linked'), join(folder, 'node_modules/acme-linked'));
  const { stdout } = await run(process.execPath, ['--import', import.meta.resolve('tsx'), 'main.mts'], { cwd: folder });
  expect(stdout).toBe('acme-package true\nacme-linked true\nacme-folder true\n');
});

describe('packed, and installed beside a packed Atelier', () => {
  const fixture = projectPath('test/fixtures/plugin-acme');
  /** What npm and the test runner leave to the processes that they run is not for the npm that we run; but where packages come from is. */
  const strange = /^(npm_(?!config_(registry|cache|userconfig)$)|NODE_ENV$|VITEST)/i;
  const environment = Object.fromEntries(Object.entries(process.env).filter(([name]) => !strange.test(name)));
  let bed: TestBed;
  let root: string;
  let settings: NodeJS.ProcessEnv;

  beforeAll(async () => {
    bed = await createTestBed({ worker: false, storage: 'directory' });
    root = realpathSync(mkdtempSync(join(tmpdir(), 'atelier-packed-')));
    for (const folder of ['user', 'author', 'packages']) mkdirSync(join(root, folder));
    const { DATABASE_URL, REDIS_URL, ATELIER_SECRET } = bed.config;
    settings = {
      ...environment,
      DATABASE_URL,
      REDIS_URL,
      ATELIER_SECRET,
      ATELIER_REDIS_PREFIX: `${bed.config.ATELIER_REDIS_PREFIX}-packed`,
      ATELIER_PORT: '0',
      ATELIER_STORAGE_DIRECTORY: join(root, 'assets'),
      ATELIER_PLUGINS: 'atelier-plugin-acme',
      ATELIER_ADAPTER_ACME_MAZE: '{"signature": "drawn by a test"}',
    };
    writeFileSync(join(root, 'user/package.json'), '{ "private": true }');
    await npm(projectPath(), 'pack', '--pack-destination', join(root, 'packages'));
    await install('atelier-0.1.0.tgz');
    // As its author would: against the Atelier that is installed, with every declaration checked.
    cpSync(fixture, join(root, 'author'), { recursive: true });
    symlinkSync(join(root, 'user/node_modules'), join(root, 'author/node_modules'));
    await run(process.execPath, [projectPath('node_modules/typescript/bin/tsc'), '-p', join(root, 'author')]);
    await npm(join(root, 'author'), 'pack', '--pack-destination', join(root, 'packages'));
    await install('atelier-plugin-acme-1.0.0.tgz');
  }, 300_000);
  afterAll(async () => {
    await bed?.close();
    if (root) rmSync(root, { recursive: true });
  });

  const npm = (cwd: string, ...args: string[]) => run('npm', args, { cwd, env: environment, maxBuffer: 1e8 });
  const install = (file: string) =>
    npm(
      join(root, 'user'),
      'install',
      '--prefer-offline',
      '--ignore-scripts',
      '--no-audit',
      '--no-fund',
      join(root, 'packages', file),
    );
  const command = () => join(root, 'user/node_modules/.bin/atelier');
  const atelier = (args: string[], more: NodeJS.ProcessEnv = {}) =>
    run(command(), args, { cwd: join(root, 'user'), env: { ...settings, ...more } }).catch((error) => error);

  it('brings its task type into the schema, and runs it', async () => {
    const child = spawn(command(), ['start'], {
      cwd: join(root, 'user'),
      env: settings,
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const ended = new Promise((done) => child.once('close', done));
    onTestFinished(async () => {
      child.kill();
      await ended;
    });
    let url = '';
    for await (const line of createInterface({ input: child.stdout })) {
      url = /http:\S+\/graphql/.exec(line)?.[0] ?? '';
      if (url) break;
    }
    const ask = async (query: string) => {
      const headers = { 'content-type': 'application/json', authorization: `Bearer ${bed.tasksKey}` };
      return ((await (await fetch(url, { method: 'POST', headers, body: JSON.stringify({ query }) })).json()) as any)
        .data;
    };
    const { input, task, providers } = await ask(
      '{ input: __type(name: "TaskInput") { inputFields { name } } task: __type(name: "Task") { possibleTypes { name } } providers { name models { id } } }',
    );
    expect(input.inputFields).toContainEqual({ name: 'acmeDrawMaze' });
    expect(task.possibleTypes).toContainEqual({ name: 'AcmeDrawMazeTask' });
    expect(providers).toContainEqual({ name: 'acme-maze', models: [{ id: 'maze-1' }] });

    const { createTask } = await ask(
      'mutation { createTask(input: { task: { acmeDrawMaze: { columns: 10, rows: 5, seed: 0 } } }) { __typename ... on CreateTaskSuccess { task { ... on BaseTask { id } } } ... on UserError { code message } } }',
    );
    expect(createTask.__typename).toBe('CreateTaskSuccess');
    const done = await eventually(async () => {
      const { task } = await ask(
        `{ task(id: "${createTask.task.id}") { ... on AcmeDrawMazeTask { status error { message } cost { charged } result { deadEnds maze { url contentType } } } } }`,
      );
      return ['COMPLETED', 'FAILED'].includes(task.status) && task;
    });
    expect(done).toMatchObject({
      status: 'COMPLETED',
      cost: { charged: 5 },
      result: { maze: { contentType: 'text/plain' } },
    });
    const maze = await (await fetch(done.result.maze.url)).text();
    expect(maze.split('\n')).toHaveLength(12);
    expect(maze).toMatch(/^#{21}\n# .*\ndrawn by a test$/s);
  }, 60_000);

  it('lets an author begin with TypeScript of his own, checks it and takes it', async () => {
    const env = { ATELIER_PLUGINS: './mine', ATELIER_ADAPTER_ACME_MAZE: '' };
    expect(await atelier(['adapter', 'new', 'mine'])).toMatchObject({ stdout: expect.stringContaining('./mine') });
    expect(await atelier(['adapter', 'check', './mine'])).toMatchObject({
      stdout: expect.stringContaining('mine 1.0.0'),
    });
    expect(await atelier(['migrate'], env)).toMatchObject({ stdout: 'the database is up to date\n' });
  }, 60_000);

  it('stops the start by its name where it is not there', async () => {
    const refused = await atelier(['api'], { ATELIER_PLUGINS: 'atelier-plugin-acne' });
    const stderr = expect.stringMatching(/plugin "atelier-plugin-acne": .*did you mean atelier-plugin-acme\?/);
    expect(refused).toMatchObject({ code: 2, stderr });
  });
});
