import { afterAll, beforeAll, expect, it } from 'vitest';
import { createTestBed, type TestBed } from './kit.ts';

let bed: TestBed;
beforeAll(async () => {
  const t = Date.now();
  bed = await createTestBed();
  console.log('bed', Date.now() - t);
});
afterAll(async () => {
  const t = Date.now();
  await bed.close();
  console.log('close', Date.now() - t);
});
it('health', async () => {
  console.log(
    JSON.stringify(
      await bed.graphql(
        '{ health { status postgres redis storage workers { id } lanes { name concurrency } } account { available } }',
        {},
        { key: bed.operatorKey },
      ),
    ),
  );
  console.log(JSON.stringify(await bed.graphql('{ account { available } }', {}, { key: null })));
  const a = await bed.graphql(
    'mutation($i: CreateTaskInput!) { createTask(input: $i) { __typename ... on UserError { code message } ... on CreateTaskSuccess { task { ... on BaseTask { id status cost { quoted } } } } } }',
    { i: { task: { generateImage: { prompt: 'a boat', width: 256, height: 256 } } } },
  );
  console.log(JSON.stringify(a));
  for await (const e of bed.subscribe(
    'subscription($id: ID!) { taskEvents(id: $id) { seq __typename task { ... on BaseTask { status progress error { code message } assets { url width } } } } }',
    { id: a.data.createTask.task.id },
  ))
    console.log(JSON.stringify(e));
  expect(1).toBe(1);
});
