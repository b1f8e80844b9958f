import { dirname, relative } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { ConfigError } from './errors.ts';
import { type Exported, readExports } from './plugins/exported.ts';
import { locatePlugin } from './plugins/locate.ts';
import { enablePluginResolution, enableTypeScriptPlugins } from './plugins/resolution.ts';

export { enablePluginResolution, enableTypeScriptPlugins };

/** A plugin that has been loaded. */
export interface Plugin extends Exported {
  /** As it was given. */
  name: string;
  /** Absolute path of the file that it begins with. */
  path: string;
}

/**
 * Loads what a plugin exports; a module once, however often it is asked for.
 * @param name as it stands in ATELIER_PLUGINS: a path that begins with `.` or `/`, of a file or a folder, or the name of a package.
 * @throws ConfigError that names the plugin and what to mend.
 */
export async function loadPlugin(name: string): Promise<Plugin> {
  const path = locatePlugin(name);
  if (/\.m?ts$/.test(path)) await enableTypeScriptPlugins();
  else enablePluginResolution();
  const where = `plugin "${name}" (${nearby(path)})`;
  const module = await import(pathToFileURL(path).href).catch((cause) => {
    throw new ConfigError(`${where} fails while it is loaded: ${explain(cause, path)}`, { cause });
  });
  return { name, path, ...readExports(module, where) };
}

const esModule = 'an ES module: call it .mjs, or set "type": "module" in the package.json beside it';
/** What usually mends it, by the code of the error. */
const cures: Record<string, string> = {
  ERR_MODULE_NOT_FOUND: "install it beside the plugin (`z` comes from 'atelier/adapter')",
  MODULE_NOT_FOUND: `it was loaded as CommonJS, and must be ${esModule}`,
  ERR_REQUIRE_ESM: `it was loaded as CommonJS, and must be ${esModule}`,
};

/** What was thrown, where, and what usually mends it. */
function explain(cause: unknown, path: string): string {
  if (!(cause instanceof Error)) return String(cause);
  const [message] = cause.message.split('\n');
  const cure = cures[(cause as NodeJS.ErrnoException).code ?? ''];
  // A file of the plugin's own that is not there is nothing to install.
  if (cure && !/ module '[./]/.test(message!)) return `${message}; ${cure}`;
  const position = positionOf(cause);
  const hint = cause instanceof SyntaxError && path.endsWith('.js') ? `; it must be ${esModule}` : '';
  return `${message}${position ? ` (at ${position})` : ''}${hint}`;
}

/** The first place in the stack that is the plugin's own. */
function positionOf({ stack = '' }: Error): string | undefined {
  const ours = dirname(fileURLToPath(import.meta.url));
  for (const [, path, line] of stack.matchAll(/(?:^|\(|at |file:\/\/)(\/[^\s():]+):(\d+)/gm))
    if (!path!.startsWith(`${ours}/`)) return `${nearby(path!)}:${line}`;
  return undefined;
}

function nearby(path: string): string {
  const short = relative('', path);
  return short.startsWith('..') ? path : short;
}
