import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { appendFile, mkdir, mkdtemp, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { afterAll, afterEach, beforeEach, describe, expect, it } from 'vitest';
import { loadPlugin } from '../src/plugins.ts';
import { projectPath } from '../src/project-path.ts';
import { createTestBed, eventually, type TestBed } from './kit.ts';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'atelier-adapter-cli-'));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

const atelier = (...args: string[]) => atelierOf(folder, {}, ...args);

async function atelierOf(
  cwd: string,
  environment: Record<string, string>,
  ...args: string[]
): Promise<{ code: number; output: string; errors: string }> {
  const child = spawn(process.execPath, ['--import', import.meta.resolve('tsx'), projectPath('src/cli.ts'), ...args], {
    cwd,
    // The loader looks for it in the working directory only.
    env: { ...process.env, TSX_TSCONFIG_PATH: projectPath('tsconfig.json'), ...environment },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const code = new Promise<number>((resolve) => child.once('close', resolve));
  const [output, errors] = await Promise.all([text(child.stdout), text(child.stderr)]);
  return { code: await code, output, errors };
}

const inFolder = (...parts: string[]): string => join(folder, ...parts);

describe('atelier adapter new', () => {
  it('makes a package that passes the check at once, under its own name throughout', async () => {
    expect(await atelier('adapter', 'new', 'acme-images')).toMatchObject({ code: 0, errors: '' });
    expect((await readdir(inFolder('acme-images'))).sort()).toEqual([
      'README.md',
      'adapter.test.ts',
      'adapter.ts',
      'fixtures',
      'image.ts',
      'package.json',
      'tsconfig.json',
      'vendor.ts',
    ]);
    const checked = await atelier('adapter', 'check', 'acme-images');
    expect(checked).toMatchObject({ code: 0, errors: '' });
    expect(checked.output).toMatch(/^acme-images 1\.0\.0, 4 fixtures\n/);
    expect(checked.output).toMatch(/\d+ passed, 0 failed, \d+ not applicable\n$/);
    for (const file of await readdir(inFolder('acme-images'), { recursive: true })) {
      if (file === 'fixtures') continue;
      const written = (await readFile(inFolder('acme-images', file), 'utf8')).replaceAll('vendor.example', '');
      expect(written, file).not.toMatch(/example|enabled|vitest/i);
    }
    const manifest = JSON.parse(await readFile(inFolder('acme-images', 'package.json'), 'utf8'));
    expect(manifest).toMatchObject({ type: 'module', peerDependencies: { atelier: expect.any(String) } });
  });

  it('puts it where it is told to', async () => {
    await mkdir(inFolder('plugins'));
    expect(await atelier('adapter', 'new', 'acme', '--directory', 'plugins')).toMatchObject({ code: 0 });
    expect(existsSync(inFolder('plugins', 'acme', 'adapter.ts'))).toBe(true);
  });

  it('says where it is from where the author stands, whose npm runs it in the checkout', async () => {
    const { code, output } = await atelierOf(projectPath(), { INIT_CWD: folder }, 'adapter', 'new', 'acme');
    expect(code).toBe(0);
    expect(output).toMatch(/^\.\/acme holds an adapter that works/);
    expect(output).toContain('atelier adapter check ./acme\n');
    // The server is started in the checkout.
    expect(output).toContain(`ATELIER_PLUGINS=${inFolder('acme')} atelier start\n`);
    const again = await atelierOf(projectPath(), { INIT_CWD: folder }, 'adapter', 'new', 'acme');
    expect(again.errors).toBe('atelier: acme exists already; nothing was changed\n');
  });

  it('says how to name a folder to who gives a path for a name', async () => {
    const { errors } = await atelier('adapter', 'new', './plugins/acme');
    expect(errors).toMatch(/is no name of an adapter: .*; where it comes to stand is said by --directory\n$/);
  });

  it.each(['Acme', '../acme', 'acme-', 'local'])('refuses the name "%s"', async (name) => {
    const { code, errors } = await atelier('adapter', 'new', name);
    expect(code).toBe(2);
    expect(errors).toMatch(/^atelier: .*name/);
    expect(await readdir(folder)).toEqual([]);
  });

  it('writes a test that runs the contract for each adapter of the module, on the fixtures of its name', async () => {
    await atelier('adapter', 'new', 'acme');
    const run = async () => {
      const words = ['--import', import.meta.resolve('tsx'), '--test', '--test-reporter', 'tap', 'adapter.test.ts'];
      const env = { ...process.env, TSX_TSCONFIG_PATH: projectPath('tsconfig.json') };
      const child = spawn(process.execPath, words, {
        cwd: inFolder('acme'),
        env,
        stdio: ['ignore', 'pipe', 'inherit'],
      });
      return text(child.stdout);
    };
    const one = await run();
    expect(one).toContain('# suites 1\n');
    expect(one).toContain('# fail 0\n');
    const checks = Number(/^# pass (\d+)$/m.exec(one)![1]);
    await rename(inFolder('acme', 'adapter.ts'), inFolder('acme', 'stills.ts'));
    const several = `import { defineAdapter } from 'atelier/adapter';
      export { default as stills } from './stills.ts';
      import stills from './stills.ts';
      export const prints = defineAdapter({ ...stills, name: 'acme-prints' });
      export const vendorUrl = 'https://vendor.example';`;
    await writeFile(inFolder('acme', 'adapter.ts'), several);
    // Without its own, each has those of all.
    await mkdir(inFolder('acme', 'fixtures', 'acme-prints'));
    await writeFile(inFolder('acme', 'fixtures', 'acme-prints', 'broken.json'), '{ "document": 1 }');
    const two = await run();
    expect(two).toContain('# suites 2\n');
    expect(two).toMatch(/^ok \d+ - acme: the contract$/m);
    expect(two).toMatch(/^not ok \d+ - acme-prints: the contract$/m);
    expect(Number(/^# tests (\d+)$/m.exec(two)![1])).toBe(2 * checks);
  });

  it('overwrites nothing', async () => {
    await mkdir(inFolder('acme'));
    expect(await atelier('adapter', 'new', 'acme')).toMatchObject({
      code: 2,
      errors: 'atelier: acme exists already; nothing was changed\n',
    });
    expect(await readdir(inFolder('acme'))).toEqual([]);
  });
});

describe('atelier adapter check', () => {
  it('says what is wrong and what to do, with exit code 1', async () => {
    await atelier('adapter', 'new', 'acme');
    const file = inFolder('acme', 'adapter.ts');
    const source = await readFile(file, 'utf8');
    await writeFile(
      file,
      source.replace("return { state: 'running', progress: job?.progress };", "throw new Error('what?');"),
    );
    const { code, output } = await atelier('adapter', 'check', './acme/adapter.ts');
    expect(code).toBe(1);
    expect(output).toContain('✗ answers       a status that nobody knows is running');
    expect(output).toContain('    done: it becomes bug: Error: what?');
    expect(output).toContain('  → End your mapping of states with');
  });

  it('takes a module of plain JavaScript that works here and needs no fixtures', async () => {
    await writeFile(
      inFolder('echo.mjs'),
      `import { defineAdapter } from 'atelier/adapter';
      export const echo = defineAdapter({
        name: 'echo', contract: 1, version: '1.0.0', title: 'Echo', runs: 'here', resubmit: 'safe',
        models: [{ id: 'echo-1', taskTypes: ['generate_text'] }],
        transformers: { generate_text: {
          toProvider: ({ prompt }) => ({ request: prompt, warnings: [] }),
          fromProvider: (text) => ({ outputs: [], result: { text } }),
        } },
        start: async (prompt) => ({ answer: prompt }),
      });`,
    );
    const { code, output } = await atelier('adapter', 'check', 'echo.mjs');
    expect(output.split('\n')[0]).toBe(`echo 1.0.0, 0 fixtures: there is no *.json in ${inFolder('fixtures')}`);
    expect(code).toBe(0);
  });

  it.each([
    ['is not there', () => {}],
    ['brings no adapter', () => writeFile(inFolder('thing.mjs'), 'export const answer = 42;')],
    ['cannot be read', () => writeFile(inFolder('thing.mjs'), 'export const answer = ;')],
  ])('ends with exit code 2 when the module %s', async (_, write) => {
    await write();
    const { code, errors } = await atelier('adapter', 'check', './thing.mjs');
    expect(code).toBe(2);
    expect(errors).toMatch(/^atelier: .*thing\.mjs/);
  });

  it.each([
    ['node_modules/x', /^atelier: plugin "node_modules\/x": there is no such file or package: looked for it in [^;]*$/],
    ['acme.mjs/lib', /there is no such file or package/],
    ['acmes/adaptr.ts', /there is no such file or package: .*; did you mean \.\/acmes\/adapter\.ts\?\n$/],
    ['@acme/x', /no such package is installed: .*npm install @acme\/x, or begin a path with \.\/\n$/],
    ['acme', /no such package is installed: .*npm install acme, or begin a path with \.\/\n$/],
  ])('says what there is not for %s', async (path, message) => {
    await mkdir(inFolder('acmes'));
    await writeFile(inFolder('acmes', 'adapter.ts'), '');
    const { code, errors } = await atelier('adapter', 'check', path);
    expect(errors).toMatch(message);
    expect(code).toBe(2);
  });

  it('names the file of a fixture in which a field is misspelt', async () => {
    await atelier('adapter', 'new', 'acme');
    const file = inFolder('acme', 'fixtures', 'done.json');
    await writeFile(file, (await readFile(file, 'utf8')).replace('"expect"', '"expct"'));
    const { code, output } = await atelier('adapter', 'check', 'acme');
    expect(code).toBe(1);
    expect(output).toContain(`    ${file}: there is no field "expct"; did you mean "expect"?`);
  });

  it('prints each check as soon as it is done', async () => {
    await atelier('adapter', 'new', 'acme');
    const file = inFolder('acme', 'adapter.ts');
    // It stops the process where the first case is begun to be cancelled: what is printed then was not kept to the end.
    const source = (await readFile(file, 'utf8')).replace(
      'async cancel(handle, context: Context) {',
      'async cancel(handle, context: Context) {\n    process.exit(9);',
    );
    expect(source).toContain('process.exit(9)');
    await writeFile(file, source);
    const { code, output } = await atelier('adapter', 'check', 'acme');
    expect(code).toBe(9);
    expect(output).toContain('✓ purchases     one paid call, whatever goes wrong\n');
    expect(output).not.toContain(' passed, ');
  });

  it('finds the fixtures of a package that is built into dist/, and says where it looked when there are none', async () => {
    const home = inFolder('node_modules', 'atelier-adapter-acme');
    await atelier('adapter', 'new', 'acme', '--directory', 'node_modules');
    await rename(inFolder('node_modules', 'acme'), home);
    await mkdir(join(home, 'dist', 'esm'), { recursive: true });
    for (const name of ['adapter.ts', 'image.ts', 'vendor.ts'])
      await rename(join(home, name), join(home, 'dist', 'esm', name));
    await writeFile(join(home, 'dist', 'esm', 'package.json'), '{"type": "module"}');
    const manifest = JSON.parse(await readFile(join(home, 'package.json'), 'utf8'));
    await writeFile(join(home, 'package.json'), JSON.stringify({ ...manifest, exports: './dist/esm/adapter.ts' }));
    for (const path of ['atelier-adapter-acme', './node_modules/atelier-adapter-acme/dist/esm/adapter.ts']) {
      const { code, output } = await atelier('adapter', 'check', path);
      expect(output).toMatch(/^acme 1\.0\.0, 4 fixtures\n/);
      expect(code).toBe(0);
    }
    await rm(join(home, 'fixtures'), { recursive: true });
    const { output } = await atelier('adapter', 'check', 'atelier-adapter-acme');
    const places = ['dist/esm', 'dist', '.'].map((place) => join(home, place, 'fixtures'));
    expect(output.split('\n')[0]).toBe(`acme 1.0.0, 0 fixtures: there is no *.json in ${places.join(' and ')}`);
  });

  it('ends with exit code 2 for a fixture that is no JSON', async () => {
    await atelier('adapter', 'new', 'acme');
    await appendFile(inFolder('acme', 'fixtures', 'done.json'), '}');
    const { code, errors } = await atelier('adapter', 'check', 'acme');
    expect(errors).toMatch(/^atelier: .*done\.json: /);
    expect(code).toBe(2);
  });
});

describe('a new adapter', () => {
  let bed: TestBed;
  afterAll(() => bed?.close());

  it('makes a picture through Atelier, offline, at once', async () => {
    await atelier('adapter', 'new', 'acme');
    const { adapters } = await loadPlugin(inFolder('acme'));
    bed = await createTestBed({ adapters, storage: 'directory' });
    const { data } = await bed.graphql(
      `mutation { createTask(input: { provider: "acme", task: { generateImage: { prompt: "a boat", width: 64, height: 80, seed: 0 } } }) {
        ... on CreateTaskSuccess { task { ... on BaseTask { id } } } ... on UserError { code message } } }`,
    );
    const { id } = data.createTask.task;
    const task = await eventually(async () => {
      const { data: read } = await bed.graphql(
        `query ($id: ID!) { task(id: $id) { ... on BaseTask { status assets { kind contentType width height } } ... on GenerateImageTask { result { seed } } } }`,
        { id },
      );
      expect(read.task.status).toBe('COMPLETED');
      return read.task;
    }, 15_000);
    expect(task.result).toEqual({ seed: 0 });
    expect(task.assets).toEqual([{ kind: 'IMAGE', contentType: 'image/png', width: 64, height: 80 }]);
  });
});
