import { expect, it } from 'vitest';
import { createTestBed } from './kit.ts';

it('x', async () => {
  const bed = await createTestBed({ environment: { LOG_LEVEL: 'error' }, worker: false, storage: 'directory' });
  const r = await bed.graphql(
    `mutation { createTask(input: { task: { generateText: { prompt: "x" } } }) { ... on CreateTaskSuccess { task { ... on BaseTask { id } } } ... on UserError { message } } }`,
  );
  console.log(JSON.stringify(r));
  const id = r.data.createTask.task.id;
  console.log(
    JSON.stringify(await bed.graphql('query ($id: ID!) { task(id: $id) { ... on BaseTask { status } } }', { id })),
  );
  await bed.close();
});
