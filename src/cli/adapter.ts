import { existsSync, statSync } from 'node:fs';
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { dirname, extname, join, relative, resolve } from 'node:path';
import { ConfigError } from '../errors.ts';
import { loadPlugin } from '../plugins.ts';
import { projectPath } from '../project-path.ts';
import { checkAdapter, type Fixture, printChecks, readFixtures } from '../sdk/conformance.ts';
import type { Adapter } from '../sdk/index.ts';
import { builtInTaskTypes } from '../task-types/index.ts';

const template = (...parts: string[]): string => projectPath('adapters', 'example', ...parts);
/** Where the author stands: npm runs the scripts of a checkout in the checkout, wherever it was called. */
const here = (): string => (process.cwd() === projectPath() && process.env.INIT_CWD) || process.cwd();
/** What a single call of an adapter under check may take: one that does the work itself needs a while. */
const checkTimeoutMs = 20_000;

/**
 * Makes a package of a new adapter from `adapters/example` and says what to do with it.
 * @param options.directory where its folder comes to stand. Default: the working directory.
 * @throws ConfigError for a name that is none or taken, and for a folder that exists.
 */
export async function newAdapter(name: string, options: { directory: string; version: string }): Promise<void> {
  if (!/^[a-z][a-z0-9]*(-[a-z0-9]+)*$/.test(name) || name.length > 50)
    throw new ConfigError(`"${name}" is no name of an adapter: lower-case letters, digits and dashes, as acme-images`);
  if (existsSync(projectPath('adapters', name)) || existsSync(projectPath('dist', 'adapters', name)))
    throw new ConfigError(`"${name}" is an adapter of Atelier's own; choose another name`);
  const folder = resolve(here(), options.directory, name);
  const shown = relative('', folder) || '.';
  if (existsSync(folder)) throw new ConfigError(`${shown} exists already; nothing was changed`);
  await mkdir(join(folder, 'fixtures'), { recursive: true });
  for (const file of await readdir(template(), { recursive: true })) {
    if (!extname(file)) continue;
    const text = renamed(await readFile(template(file), 'utf8'), name);
    await writeFile(join(folder, file), adapted(file, text), { flag: 'wx' });
  }
  await writeFile(join(folder, 'package.json'), packageJson(name, options.version), { flag: 'wx' });
  await writeFile(join(folder, 'tsconfig.json'), tsconfigJson(), { flag: 'wx' });
  const path = shown.startsWith('..') ? folder : `./${shown}`;
  process.stdout.write(
    [
      `${path} holds an adapter that works: a made-up vendor inside it answers. To make it yours, read its README.md.`,
      '',
      `  check it      atelier adapter check ${path}`,
      `  use it        ATELIER_PLUGINS=${path} atelier start`,
      '',
    ].join('\n'),
  );
}

/**
 * Runs the conformance suite on the adapters of a file, folder or package, with the fixtures in `fixtures/` beside it, and prints what it found.
 * @returns the exit code: 0 when nothing failed, else 1.
 * @throws ConfigError when there is no adapter, or a fixture is no JSON.
 */
export async function checkAdapters(path: string): Promise<number> {
  // A folder of this name is meant before a package is.
  const meant = resolve(here(), path);
  const plugin = await loadPlugin(existsSync(meant) || path.startsWith('.') ? meant : path);
  if (plugin.adapters.length === 0) throw new ConfigError(`${path} brings no adapter`);
  const folder = existsSync(meant) && statSync(meant).isDirectory() ? meant : dirname(plugin.path);
  let failed = 0;
  for (const adapter of plugin.adapters) {
    const fixtures = fixturesOf(adapter, folder);
    const taskTypes = [...builtInTaskTypes, ...plugin.taskTypes];
    const checks = await checkAdapter(adapter, { fixtures, taskTypes, timeoutMs: checkTimeoutMs });
    failed += checks.filter(({ outcome }) => outcome === 'failed').length;
    const count = `${fixtures.length} ${fixtures.length === 1 ? 'fixture' : 'fixtures'}`;
    process.stdout.write(`${adapter.name} ${adapter.version}, ${count}\n\n${printChecks(checks)}`);
  }
  return failed > 0 ? 1 : 0;
}

/** Of a package with several adapters, each has its own folder in `fixtures/`. */
function fixturesOf({ name }: Adapter, folder: string): Fixture[] {
  const own = join(folder, 'fixtures', name);
  try {
    return readFixtures(existsSync(own) ? own : join(folder, 'fixtures'));
  } catch (cause) {
    throw new ConfigError((cause as Error).message, { cause });
  }
}

/** The example's name in all its spellings; not that of the domain `.example`. */
function renamed(text: string, name: string): string {
  const words = name.split('-').map((word) => word[0]!.toUpperCase() + word.slice(1));
  const camel = words.join('');
  return text
    .replace(/(?<![.\w])example(?=[A-Z])/g, camel[0]!.toLowerCase() + camel.slice(1))
    .replace(/(?<![.\w])Example(?=[A-Z])/g, camel)
    .replace(/(?<!\w)EXAMPLE(?=_)/g, name.toUpperCase().replaceAll('-', '_'))
    .replace(/(?<![.\w])Example\b/g, words.join(' '))
    .replace(/(?<![.\w])example\b/g, name);
}

/** What only an adapter inside Atelier needs is left out: it is off until it is switched on, and tested with vitest. */
function adapted(file: string, text: string): string {
  if (file.endsWith('.json')) {
    const fixture = JSON.parse(text);
    delete fixture.config.enabled;
    return `${JSON.stringify(fixture, null, 2)}\n`;
  }
  if (file.endsWith('.md')) return text.replace(/Inside Atelier it is off[^\n]*\n\n/, '');
  return text.replace(/\n {2}enabled: z[^;]*?\.describe\('[^']*'\),/, '').replace("from 'vitest'", "from 'node:test'");
}

function packageJson(name: string, version: string): string {
  const manifest = {
    name: `atelier-adapter-${name}`,
    version: '1.0.0',
    description: `An Atelier adapter for ${name}.`,
    private: true,
    type: 'module',
    exports: './adapter.ts',
    scripts: { check: 'atelier adapter check .', test: 'node --import tsx --test adapter.test.ts' },
    peerDependencies: { atelier: `^${version}` },
    // Else npm would look for it in the registry when it is not installed beside.
    peerDependenciesMeta: { atelier: { optional: true } },
    devDependencies: { '@types/node': '^20.0.0', tsx: '^4.0.0' },
  };
  return `${JSON.stringify(manifest, null, 2)}\n`;
}

/** For editors; what runs is the TypeScript itself, its types taken away. */
function tsconfigJson(): string {
  const compilerOptions = {
    target: 'ES2023',
    module: 'NodeNext',
    types: ['node'],
    strict: true,
    noEmit: true,
    allowImportingTsExtensions: true,
    erasableSyntaxOnly: true,
    verbatimModuleSyntax: true,
    skipLibCheck: true,
  };
  return `${JSON.stringify({ compilerOptions }, null, 2)}\n`;
}
