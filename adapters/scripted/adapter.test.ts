import { checkAdapter, readFixtures, requirePassed } from 'atelier/adapter/testing';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { builtInTaskTypes } from '../../src/task-types/index.ts';
import { createTestBed, eventually, type TestBed } from '../../test/kit.ts';
import adapter from './adapter.ts';
import { transformers } from './transformers.ts';

describe('the contract', async () => {
  const fixtures = readFixtures(new URL('./fixtures/', import.meta.url));
  const checks = await checkAdapter(adapter, { fixtures, taskTypes: builtInTaskTypes });
  for (const check of checks) it(check.name, () => requirePassed(check));
});

describe('a job that is too long for its handle', () => {
  const long = 'x'.repeat(70_000);
  it.each([
    ['options', { prompt: 'Greet.', options: { durationMs: 1, json: long } }, 'generate_text'],
    ['options', { template: '{{name}}', variables: { name: long }, options: { durationMs: 1 } }, 'test_prompt'],
    ['variables', { template: '{{name}}'.repeat(10_000), variables: { name: long } }, 'test_prompt'],
  ] as const)('is refused, in %s', (field, input, type) => {
    const refused = expect.objectContaining({
      class: 'invalid_input',
      issues: [expect.objectContaining({ path: [field] })],
    });
    const send = () => transformers[type].toProvider(input, 'script-1', {} as never);
    expect(send).toThrow(expect.objectContaining({ facts: refused }));
  });

  it('is taken where the answer comes at once', () => {
    const { request } = transformers.generate_text.toProvider({ options: { json: long } }, 'script-1', {} as never);
    expect(request.script.json).toBe(long);
  });
});

describe('through Atelier', () => {
  let bed: TestBed;
  beforeAll(async () => {
    bed = await createTestBed({
      // Under a name of its own, beside the one that is built in.
      adapters: [{ ...adapter, name: 'script' }],
      environment: { ATELIER_ADAPTER_SCRIPT: '{"enabled":true}' },
      storage: 'directory',
    });
  });
  afterAll(() => bed.close());

  async function create(task: object): Promise<string> {
    const { data } = await bed.graphql(
      `mutation ($input: CreateTaskInput!) { createTask(input: $input) {
        ... on CreateTaskSuccess { task { ... on BaseTask { id } } } ... on UserError { code message } } }`,
      { input: { provider: 'script', task } },
    );
    expect(data.createTask.task, JSON.stringify(data)).toBeDefined();
    return data.createTask.task.id;
  }

  async function ended(id: string, status: string) {
    return eventually(async () => {
      const { data } = await bed.graphql(
        `query ($id: ID!) { task(id: $id) { ... on BaseTask { status progress currentStep needsReview error { code message }
          assets { kind contentType width height durationMs } attempts { number } cost { charged quoted }
          events { ... on TaskLogged { message } ... on TaskOutputAdded { text } } } ... on GenerateTextTask { textResult: result { text json } } } }`,
        { id },
      );
      expect(data.task.status).toBe(status);
      return data.task;
    }, 15_000);
  }

  const image = (options: object) => ({
    generateImage: { prompt: 'a boat', width: 80, height: 64, count: 2, options },
  });

  it('makes true files of every kind', async () => {
    const tasks: [object, object][] = [
      [image({}), { kind: 'IMAGE', contentType: 'image/png', width: 80, height: 64 }],
      [
        { generateVideo: { sceneDescription: 'a boat' } },
        { kind: 'VIDEO', contentType: 'video/mp4', width: 64, durationMs: 1_000 },
      ],
      [{ generateCharacterVoice: { text: 'Hello.' } }, { kind: 'AUDIO', contentType: 'audio/wav', durationMs: 1_000 }],
    ];
    for (const [task, facts] of tasks) {
      const { assets } = await ended(await create(task), 'COMPLETED');
      expect(assets[0]).toMatchObject(facts);
    }
  });

  it('streams text in pieces, logs, and charges what it says', async () => {
    const options = {
      deltas: ['Hel', 'lo'],
      logs: ['thinking'],
      json: { a: 1 },
      usage: [{ unit: 'token', quantity: 200 }],
    };
    const task = await ended(await create({ generateText: { prompt: 'Greet.', options } }), 'COMPLETED');
    expect(task.textResult).toEqual({ text: 'Hello', json: { a: 1 } });
    expect(task.events.map(({ text = '' }) => text).join('')).toBe('Hello');
    expect(task.events).toContainEqual({ message: 'thinking' });
    expect(task.cost.charged).toBe(2);
  });

  it('takes its time, and can be cancelled meanwhile', async () => {
    const id = await create(image({ durationMs: 600_000, steps: ['drawing', 'painting'] }));
    await eventually(
      async () => expect(await ended(id, 'PROCESSING')).toMatchObject({ currentStep: 'drawing' }) ?? true,
    );
    await bed.graphql('mutation ($id: ID!) { cancelTask(id: $id) { __typename } }', { id });
    expect(await ended(id, 'CANCELLED')).toMatchObject({ cost: { charged: 0 } });
  });

  it('fails as it is told to: once and then no more, for good, without an output, in doubt', async () => {
    const once = await ended(await create(image({ fail: { class: 'retryable', times: 1 } })), 'COMPLETED');
    expect(once.attempts).toHaveLength(2);
    const refused = { class: 'content_policy', code: 'REFUSED', publicMessage: 'No.' };
    const { error } = await ended(await create(image({ fail: refused })), 'FAILED');
    expect(error).toEqual({ code: 'REFUSED', message: 'No.' });
    const late = { durationMs: 100, fail: { when: 'end', code: 'LATE' } };
    expect(await ended(await create(image(late)), 'FAILED')).toMatchObject({ error: { code: 'LATE' } });
    expect(await ended(await create(image({ outputs: 0 })), 'FAILED')).toMatchObject({ error: { code: 'NO_OUTPUT' } });
    const doubtful = await create(image({ fail: { class: 'ambiguous' } }));
    await eventually(async () => expect((await ended(doubtful, 'PROCESSING')).needsReview).toBe(true) ?? true);
  });
});
