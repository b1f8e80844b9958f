import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { basename, dirname, isAbsolute, join, relative, resolve } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { closest, distance } from 'fastest-levenshtein';
import { resolve as resolveImport } from 'import-meta-resolve';
import { ConfigError } from '../errors.ts';
import { projectPath } from '../project-path.ts';

/** What a folder is entered by when its package.json does not say. */
const entryNames = ['index', 'adapter'].flatMap((name) => ['.js', '.mjs', '.ts', '.mts'].map((end) => name + end));

/**
 * Where a plugin begins.
 * @param name a path that begins with `.` or `/`, of a file or a folder, from the working directory; or the name of a package that is
 *   installed in the working directory, in one above it, or in Atelier's own.
 * @returns an absolute path of a file that exists.
 * @throws ConfigError that says where it was looked for, or what the folder lacks.
 */
export function locatePlugin(name: string): string {
  if (isPath(name)) {
    const path = resolve(name);
    if (!existsSync(path)) throw refusal(name, `there is no ${path}${suggestPath(name, path)}`);
    return statSync(path).isDirectory() ? entryOf(name, path) : path;
  }
  const [packageName, subpath] = splitName(name);
  const folders = [...new Set([process.cwd(), projectPath()])];
  const folder = folders.map((from) => findPackage(packageName, from)).find((found) => found !== undefined);
  if (!folder) {
    const where = `looked for it in ${folders.join(' and in ')}, and in node_modules above them`;
    // With a slash that is no scope's, it is as likely a path as a file of a package.
    if (subpath && !name.startsWith('@'))
      throw refusal(name, `there is no such file or package: ${where}${suggestFile(name)}`);
    throw refusal(name, `no such package is installed: ${where}${suggestName(packageName)}`);
  }
  return entryOf(name, folder, subpath);
}

const isPath = (name: string): boolean => /^\.{1,2}([/\\]|$)/.test(name) || isAbsolute(name);

function splitName(name: string): [packageName: string, subpath: string] {
  const parts = name.split('/');
  const own = parts.splice(0, name.startsWith('@') ? 2 : 1);
  return [own.join('/'), parts.join('/')];
}

function findPackage(name: string, from: string): string | undefined {
  const folder = join(from, 'node_modules', name);
  if (existsSync(folder)) return folder;
  return dirname(from) === from ? undefined : findPackage(name, dirname(from));
}

/** The file that a package's or folder's own package.json leads to, or the first of the usual ones. */
function entryOf(name: string, folder: string, subpath = ''): string {
  const file = join(folder, 'package.json');
  const manifest = existsSync(file) ? readManifest(name, file) : {};
  if (manifest.exports !== undefined) {
    if (!manifest.name) throw refusal(name, `${file} has exports and no name; add one`);
    const entry = fileURLToPath(resolveOwn(name, [manifest.name, subpath].filter(Boolean).join('/'), file));
    if (!existsSync(entry)) throw missing(name, file, entry);
    return entry;
  }
  const main = subpath || manifest.main;
  if (main !== undefined) {
    const path = join(folder, main);
    const entry = [path, `${path}.js`, join(path, 'index.js')].find(
      (each) => existsSync(each) && statSync(each).isFile(),
    );
    if (!entry) throw missing(name, file, path);
    return entry;
  }
  const entry = entryNames.find((each) => existsSync(join(folder, each)));
  if (!entry) {
    const wanted = 'a package.json with "exports" or "main", an index.js or an adapter.ts';
    throw refusal(name, `${folder} has nothing to begin with; it needs ${wanted}`);
  }
  return join(folder, entry);
}

/** A package may import itself by its name: so `exports` is read as Node reads it, with its conditions. */
function resolveOwn(name: string, specifier: string, manifest: string): string {
  try {
    return resolveImport(specifier, pathToFileURL(manifest).href);
  } catch (cause) {
    throw refusal(name, (cause as Error).message, cause);
  }
}

function readManifest(name: string, file: string): { name?: string; main?: string; exports?: unknown } {
  try {
    return JSON.parse(readFileSync(file, 'utf8'));
  } catch (cause) {
    throw refusal(name, `${file}: ${(cause as Error).message}`, cause);
  }
}

const refusal = (name: string, what: string, cause?: unknown): ConfigError =>
  new ConfigError(`plugin "${name}": ${what}`, { cause });

const missing = (name: string, manifest: string, path: string): ConfigError =>
  refusal(name, `${manifest} names ${relative(dirname(manifest), path)}, which is not there; build the plugin first`);

function suggestPath(name: string, path: string): string {
  const folder = dirname(path);
  if (!existsSync(folder)) return '';
  const nearest = suggest(basename(path), readdirSync(folder));
  return nearest ? `; did you mean ${name.slice(0, name.lastIndexOf(basename(path)))}${nearest}?` : '';
}

/** Somebody forgot the `./` of a path, and may have misspelt it. */
function suggestFile(name: string): string {
  return existsSync(resolve(name)) ? `; did you mean ./${name}?` : suggestPath(`./${name}`, resolve(name));
}

/** Somebody forgot the `./` of a path, or misspelt what he has installed, or has not installed it. */
function suggestName(name: string): string {
  if (existsSync(resolve(name))) return `; did you mean ./${name}?`;
  const nearest = suggest(name, installedNames());
  return nearest ? `; did you mean ${nearest}?` : `; npm install ${name}, or begin a path with ./`;
}

function installedNames(): string[] {
  const file = resolve('package.json');
  if (!existsSync(file)) return [];
  try {
    const { dependencies = {}, devDependencies = {} } = JSON.parse(readFileSync(file, 'utf8'));
    return Object.keys({ ...dependencies, ...devDependencies });
  } catch {
    // A broken package.json of the operator's is not what is wrong here.
    return [];
  }
}

function suggest(given: string, names: string[]): string | undefined {
  if (names.length === 0) return undefined;
  const nearest = closest(given, names);
  // Of a short name, everything is near.
  return distance(given, nearest) <= Math.min(3, given.length / 2) ? nearest : undefined;
}
