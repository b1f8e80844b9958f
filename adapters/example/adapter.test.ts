import { isAdapter } from 'atelier/adapter';
import { checkAdapter, readFixtures, requirePassed } from 'atelier/adapter/testing';
import { describe, it } from 'vitest';
import * as exported from './adapter.ts';

for (const adapter of Object.values(exported).filter(isAdapter))
  describe(`${adapter.name}: the contract`, async () => {
    // Of several adapters, each has its own folder in fixtures/.
    const folders = [`./fixtures/${adapter.name}/`, './fixtures/'].map((folder) => new URL(folder, import.meta.url));
    const fixtures = folders.map(readFixtures).find((found) => found.length > 0) ?? [];
    for (const check of await checkAdapter(adapter, { fixtures })) it(check.name, () => requirePassed(check));
  });
