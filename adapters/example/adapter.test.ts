import { checkAdapter, readFixtures, requirePassed } from 'atelier/adapter/testing';
import { describe, it } from 'vitest';
import adapter from './adapter.ts';

describe('the contract', async () => {
  const fixtures = readFixtures(new URL('./fixtures/', import.meta.url));
  for (const check of await checkAdapter(adapter, { fixtures })) it(check.name, () => requirePassed(check));
});
