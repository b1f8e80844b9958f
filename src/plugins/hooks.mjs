// Hooks of `module.register`. They run in the loader's own thread, which knows no TypeScript: plain JavaScript.
let copies;

/** @param data the module of this process that stands for each name. */
export function initialize(data) {
  copies = data;
}

export async function resolve(specifier, context, nextResolve) {
  const resolved = await nextResolve(Object.hasOwn(copies, specifier) ? copies[specifier] : specifier, context);
  // TypeScript that is imported is meant as an ES module, also where no package.json says so; as CommonJS it would escape these hooks.
  return /\.ts($|\?)/.test(resolved.url) ? { ...resolved, format: 'module' } : resolved;
}
