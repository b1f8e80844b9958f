import type { AdapterContext, FetchOptions } from 'atelier/adapter';
import { HttpFailure } from 'atelier/adapter';
import { checkAdapter, readFixtures, requirePassed } from 'atelier/adapter/testing';
import { describe, expect, it } from 'vitest';
import { builtInTaskTypes } from '../../src/task-types/index.ts';
import adapter from './adapter.ts';
import { config, hostsOf, privateHostsOf } from './config.ts';
import { modelsOf } from './models.ts';
import { text, video } from './transform.ts';
import { openWire } from './wire.ts';

const checks = await checkAdapter(adapter, {
  fixtures: readFixtures(new URL('./fixtures/', import.meta.url)),
  taskTypes: builtInTaskTypes,
});

describe('the contract', () => {
  it.each(checks)('$name', (check) => requirePassed(check));
});

const openai = { id: 'openai', package: '@ai-sdk/openai', hosts: ['api.openai.com'] };
const given = (provider: object, models: object[] = [{ id: 'openai/gpt-5-mini', taskTypes: ['generate_text'] }]) =>
  config.parse({ providers: [{ ...openai, ...provider }], models });

describe('the configuration', () => {
  it('is missing as a whole: the adapter is switched off', () => expect(config.safeParse({}).success).toBe(false));
  it('must say where a package may go', () => expect(() => given({ hosts: [] })).toThrow('name the hosts'));
  it('takes the host of a base URL, which alone may be private', () => {
    const read = given({ settings: { baseURL: 'http://gpu-1:8000/v1' } });
    expect([hostsOf(read), privateHostsOf(read)]).toEqual([['api.openai.com', 'gpu-1:8000'], ['gpu-1:8000']]);
  });
  it.each([
    { apiKey: 'sk-1' },
    { secretAccessKey: 'x' },
    { headers: { Authorization: 'Bearer x' } },
    { headers: { 'x-api-key': 'x' } },
  ])('holds no secret, as %j', (settings) => expect(() => given({ settings })).toThrow('name it in'));
  it('leaves other settings alone', () =>
    expect(() => given({ settings: { organization: 'x', headers: { 'x-team': 'y' } } })).not.toThrow());
  it('lets no client change what is fixed', () => {
    const [id, taskTypes] = ['openai/gpt-5-mini', ['generate_text']];
    const options = { effort: { description: 'How long.' } };
    expect(() => given({}, [{ id, taskTypes, options, fixed: { effort: 'low' } }])).toThrow('stands in fixed');
    const config = given({}, [{ id, taskTypes, fixed: { effort: 'low' } }]);
    const input = { prompt: 'x', options: { effort: 'high' } };
    const { request } = text.toProvider(input, id as string, { config, attemptKey: 'key', files: {} });
    expect(request.options).toEqual({ effort: 'low' });
  });
  it('names a model of no provider', () =>
    expect(() => given({}, [{ id: 'fal/flux', taskTypes: ['generate_image'] }])).toThrow('fal/flux'));
});

describe('models', () => {
  const models = (provider: object, list?: object[]) =>
    modelsOf({ config: given(provider, list), secrets: {} } as never);
  it('says what to install', () =>
    expect(models({ package: '@ai-sdk/nowhere' })).rejects.toThrow('npm install @ai-sdk/nowhere'));
  it('says which exports there are', () => expect(models({ export: 'createOther' })).rejects.toThrow('createOpenAI'));
  it('says that a package cannot start a video and look at it', () =>
    expect(models({ package: '@ai-sdk/fal' }, [{ id: 'openai/luma', taskTypes: ['generate_video'] }])).rejects.toThrow(
      'doStart and doStatus',
    ));
});

describe('a text', () => {
  const chunk = (choice: object) =>
    `data: ${JSON.stringify({ id: '1', created: 1, model: 'm', choices: [choice] })}\n\n`;
  const begun = chunk({ index: 0, delta: { role: 'assistant', content: 'Once upon' }, finish_reason: null });
  const finish = (reason: string) => chunk({ index: 0, delta: {}, finish_reason: reason });
  /** Through the package's own reader of chat completions. */
  const outcome = async (sent: string) => {
    const config = given({ package: './test/fixtures/chat-provider.mjs', export: 'createChat' });
    const body = (async function* () {
      yield Buffer.from(sent);
    })();
    const headers = new Headers({ 'content-type': 'text/event-stream' });
    const fetch = async () => ({ status: 200, headers, url: 'https://api.openai.com/v1/x', body });
    const context = {
      config,
      model: 'openai/gpt-5-mini',
      secrets: {},
      fetch,
      log() {},
      signal: AbortSignal.timeout(5_000),
    };
    const input = { prompt: 'x' };
    const { request } = text.toProvider(input, context.model, { config, attemptKey: 'key', files: {} });
    const { observations } = (await adapter.start(request, context as never)) as any;
    let last: any;
    for await (const seen of observations) last = seen;
    return last;
  };
  it('that ends is taken', async () => {
    expect(await outcome(begun + finish('stop'))).toMatchObject({ state: 'succeeded', answer: { text: 'Once upon' } });
    expect(await outcome(begun + finish('a_new_word'))).toMatchObject({ state: 'succeeded' });
  });
  it('that only breaks off is an answer lost', () => expect(outcome(begun)).rejects.toMatchObject({ sent: 'maybe' }));
  it('beside which 0 tokens stand is charged by the quote', () => {
    const usage = (tokens: number) => text.fromProvider({ text: 'Hi', tokens }, {} as never).usage;
    expect([usage(0), usage(2)]).toEqual([undefined, [{ unit: 'token', quantity: 2 }]]);
  });
});

describe('a video', () => {
  it('whose length nobody told is charged by the quote', () =>
    expect(video.fromProvider({ files: [] }, {} as never)).toMatchObject({ usage: undefined }));
  it('has a handle whose version is read', async () => {
    const look = async () => adapter.poll!({ v: 2, operation: {}, told: {} }, {} as never);
    await expect(look()).rejects.toMatchObject({ facts: { code: 'UNKNOWN_HANDLE' } });
  });
});

describe('the wire', () => {
  const url = 'https://api.openai.com/v1/x';
  const wire = (answer: (options: FetchOptions) => unknown, paid = true) => {
    const calls: FetchOptions[] = [];
    const fetch = async (_: string, options: FetchOptions) => {
      calls.push(options);
      return answer(options);
    };
    return {
      calls,
      ...openWire({ fetch, signal: new AbortController().signal } as unknown as AdapterContext, { paid }),
    };
  };
  const ok = () => ({
    status: 200,
    headers: new Headers(),
    url,
    body: (async function* () {
      yield new Uint8Array([123, 125]);
    })(),
  });
  const refused = () => {
    throw new HttpFailure('POST', { status: 429, headers: new Headers({ 'retry-after': '3' }), body: '{"error":1}' });
  };
  it('gives a refusal as a response, and its meaning afterwards', async () => {
    const { fetch, meaning } = wire(refused);
    const response = await fetch(url, { method: 'POST', body: '{}' });
    expect([response.status, response.headers.get('retry-after'), await response.json()]).toEqual([
      429,
      '3',
      { error: 1 },
    ]);
    expect(meaning(new Error('wrapped'))).toMatchObject({ status: 429 });
  });
  it('sends one paid call, and refuses the second unsent', async () => {
    const { fetch, calls } = wire(ok);
    expect(await (await fetch(url, { method: 'POST', body: '{}' })).json()).toEqual({});
    await expect(fetch(url, { method: 'POST', body: '{}' })).rejects.toMatchObject({ facts: { code: 'SECOND_CALL' } });
    await fetch(url);
    expect(calls.map(({ method }) => method)).toEqual(['POST', 'GET']);
  });
  it('repeats a refusal in place of a hidden retry', async () => {
    const { fetch, calls } = wire(refused);
    await fetch(url, { method: 'POST', body: '{}' });
    await expect(fetch(url, { method: 'POST', body: '{}' })).rejects.toMatchObject({ status: 429 });
    expect(calls).toHaveLength(1);
  });
  it('takes what follows a paid answer for an answer lost', async () => {
    const { fetch, meaning } = wire(ok);
    await fetch(url, { method: 'POST', body: '{}' });
    expect(meaning(new Error('unreadable'))).toMatchObject({ sent: 'maybe' });
  });
  it('passes forms and headers on', async () => {
    const { fetch, calls } = wire(ok);
    const form = new FormData();
    form.set('a', 'b');
    await fetch(url, { method: 'POST', body: form, headers: { 'Content-Type': 'wrong', 'X-A': '1' } });
    expect(calls[0]).toMatchObject({ headers: { 'x-a': '1' }, body: form });
  });
});
