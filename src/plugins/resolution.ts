import { register } from 'node:module';

/** From source, a loader that knows TypeScript runs already. */
const fromSource = /\.ts(\?|$)/.test(import.meta.url);
let isEnabled = false;
let isTypeScriptEnabled = fromSource;

/**
 * From now on `atelier/adapter` and `atelier/adapter/testing` are this process's own copy, whoever imports them: a folder without node_modules, a
 * package that has another Atelier beside it, a linked one. Holds for ES modules; `require` is not led. Again and again is harmless.
 */
export function enablePluginResolution(): void {
  if (!isEnabled) registerHooks();
  isEnabled = true;
}

/** From now on plugins may be TypeScript too. Includes {@link enablePluginResolution}. */
export async function enableTypeScriptPlugins(): Promise<void> {
  if (!isTypeScriptEnabled) {
    isTypeScriptEnabled = true;
    (await import('tsx/esm/api')).register();
    // Hooks that are registered later are asked first, and ours must be.
    isEnabled = false;
  }
  enablePluginResolution();
}

function registerHooks(): void {
  const own = (module: string) => new URL(`../sdk/${module}${fromSource ? '.ts' : '.js'}`, import.meta.url).href;
  const data = { 'atelier/adapter': own('index'), 'atelier/adapter/testing': own('conformance') };
  register('./hooks.mjs', import.meta.url, { data });
}
