import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { schemaText } from '../src/graph/print.ts';
import { projectPath } from '../src/project-path.ts';

test('schema.graphql is what the code says; `npx tsx src/graph/print.ts` prints it anew', () => {
  expect(readFileSync(projectPath('schema.graphql'), 'utf8')).toBe(schemaText());
});
