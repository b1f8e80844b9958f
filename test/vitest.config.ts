import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vitest/config';

export default defineConfig({
  root: fileURLToPath(new URL('..', import.meta.url)),
  resolve: {
    alias: [
      // Without it the package's own name leads to `dist`: another, older copy.
      {
        find: /^atelier\/adapter\/testing$/,
        replacement: fileURLToPath(new URL('../src/sdk/conformance.ts', import.meta.url)),
      },
      { find: /^atelier\/adapter$/, replacement: fileURLToPath(new URL('../src/sdk/index.ts', import.meta.url)) },
      // Vite takes a package's `module`, Node its `main`: graphql would be there twice and refuse itself.
      { find: /^graphql$/, replacement: createRequire(import.meta.url).resolve('graphql') },
    ],
  },
  test: {
    include: ['test/**/*.test.ts', 'adapters/**/*.test.ts', 'src/**/*.test.ts'],
    globalSetup: ['test/services.ts'],
    reporters: ['default', './test/count-reporter.ts'],
    env: { AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED: 'true' },
    pool: 'forks',
    maxWorkers: 2,
    testTimeout: 20_000,
    hookTimeout: 60_000,
  },
});
