import { existsSync, readFileSync, statSync } from 'node:fs';
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { dirname, extname, join, relative, resolve } from 'node:path';
import { ConfigError } from '../errors.ts';
import { loadPlugin } from '../plugins.ts';
import { projectPath } from '../project-path.ts';
import { checkAdapter, type Fixture, printCheck, printFindings, readFixtures } from '../sdk/conformance.ts';
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
    throw new ConfigError(
      `"${name}" is no name of an adapter: lower-case letters, digits and dashes, as acme-images${name.includes('/') ? '; where it comes to stand is said by --directory' : ''}`,
    );
  if (existsSync(projectPath('adapters', name)) || existsSync(projectPath('dist', 'adapters', name)))
    throw new ConfigError(`"${name}" is an adapter of Atelier's own; choose another name`);
  const folder = resolve(here(), options.directory, name);
  const shown = relative(here(), folder);
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
  // The start of a checkout happens in the checkout, not where the author stands.
  const plugin = here() === process.cwd() ? path : folder;
  process.stdout.write(
    [
      `${path} holds an adapter that works: a made-up vendor inside it answers. To make it yours, read its README.md.`,
      '',
      `  check it      atelier adapter check ${path}`,
      `  use it        ATELIER_PLUGINS=${plugin} atelier start`,
      '',
    ].join('\n'),
  );
}

/**
 * Runs the conformance suite on the adapters of a file, folder or package, and prints each check as it is done, then what is wrong. The fixtures are in
 * `fixtures/`, beside what was named or up to the root of its package.
 * @returns the exit code: 0 when nothing failed, else 1.
 * @throws ConfigError when there is no adapter, or a fixture is no JSON.
 */
export async function checkAdapters(path: string): Promise<number> {
  // A folder of this name is meant before a package is.
  const meant = resolve(here(), path);
  const plugin = await loadPlugin(existsSync(meant) || path.startsWith('.') ? meant : path);
  if (plugin.adapters.length === 0) throw new ConfigError(`${path} brings no adapter`);
  const beside = existsSync(meant) && statSync(meant).isDirectory() ? [meant] : [];
  const folders = [...new Set([...beside, ...upToPackage(dirname(plugin.path))])];
  let failed = 0;
  for (const adapter of plugin.adapters) {
    const fixtures = fixturesOf(adapter, folders);
    const count = `${fixtures.length} ${fixtures.length === 1 ? 'fixture' : 'fixtures'}`;
    const places = folders.map((folder) => join(folder, 'fixtures')).join(' and ');
    const none = fixtures.length === 0 ? `: there is no *.json in ${places}` : '';
    process.stdout.write(`${adapter.name} ${adapter.version}, ${count}${none}\n\n`);
    const checks = await checkAdapter(adapter, {
      fixtures,
      taskTypes: [...builtInTaskTypes, ...plugin.taskTypes],
      timeoutMs: checkTimeoutMs,
      onCheck: (check) => process.stdout.write(`${printCheck(check)}\n`),
    });
    failed += checks.filter(({ outcome }) => outcome === 'failed').length;
    process.stdout.write(printFindings(checks));
  }
  return failed > 0 ? 1 : 0;
}

/** The folder, and those above it to the root of its package: what is built stands in `dist/`, what was recorded does not. */
function upToPackage(folder: string): string[] {
  const folders = [folder];
  // A package.json without a name says what the modules below it are, and not where a package begins.
  while (!nameIn(folders.at(-1)!)) {
    const above = dirname(folders.at(-1)!);
    if (above === folders.at(-1)) return [folder];
    folders.push(above);
  }
  return folders;
}

function nameIn(folder: string): string | undefined {
  const file = join(folder, 'package.json');
  return existsSync(file) ? JSON.parse(readFileSync(file, 'utf8')).name : undefined;
}

/** Of a package with several adapters, each has its own folder in `fixtures/`. */
function fixturesOf({ name }: Adapter, folders: string[]): Fixture[] {
  const places = folders.flatMap((folder) => [join(folder, 'fixtures', name), join(folder, 'fixtures')]);
  try {
    return places.map(readFixtures).find((fixtures) => fixtures.length > 0) ?? [];
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
