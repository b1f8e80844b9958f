import { createHmac, timingSafeEqual } from 'node:crypto';
import { readdirSync } from 'node:fs';
import { setTimeout as pause } from 'node:timers/promises';
import {
  type Adapter,
  type AdapterContext,
  AdapterFailure,
  type CallbackRequest,
  classifyExchange,
  defineAdapter,
  isHttpFailure,
  isNetworkFailure,
  type Usage,
  z,
} from 'atelier/adapter';
import {
  type Check,
  checkAdapter,
  type Fixture,
  printChecks,
  readFixtures,
  requirePassed,
} from 'atelier/adapter/testing';
import { describe, expect, it } from 'vitest';
import local from '../adapters/local/adapter.ts';
import { toCase } from '../src/sdk/conformance/fixture.ts';
import { builtInTaskTypes } from '../src/task-types/index.ts';

const baseUrl = 'https://api.acme.example';
const files = 'https://files.acme.example';
const webhookSecret = 'webhook-secret-of-acme';
const sign = (body: string, at: string): string =>
  createHmac('sha256', webhookSecret).update(`${at}.${body}`).digest('hex');

const job = { method: 'GET', url: `${baseUrl}/v1/jobs/job-1` };
const order = { method: 'POST', url: `${baseUrl}/v1/jobs`, json: { prompt: 'a boat', seed: 7 } };
const one = [{ unit: 'image', quantity: 1 }];
const done = { id: 'job-1', status: 'done', images: [{ url: `${files}/1.png` }] };
const callbackBody = JSON.stringify(done);
const calledAt = '2026-01-01T00:00:10Z';

const fixture: Fixture = {
  name: 'done',
  document: 'https://acme.example/docs',
  taskType: 'generate_image',
  model: 'acme-1',
  input: { prompt: 'a boat', width: 64, height: 64, count: 1, seed: 7 },
  secrets: { ACME_WEBHOOK_SECRET: webhookSecret },
  exchanges: [
    {
      request: order,
      response: { status: 202, json: { id: 'job-1', status: 'waiting' } },
    },
    { request: job, response: { json: { id: 'job-1', status: 'working', progress: 0.2 } } },
    { request: job, response: { json: { id: 'job-1', status: 'working', progress: 0.6 } } },
    { request: job, response: { json: done } },
  ],
  cancel: [
    { request: { method: 'DELETE', url: job.url }, response: { json: { status: 'stopped' } } },
    { request: { method: 'DELETE', url: job.url }, response: { status: 404, json: {} } },
  ],
  find: [{ request: { url: `${baseUrl}/v1/jobs` }, response: { json: { jobs: [{ id: 'job-1' }] } } }],
  callback: {
    at: calledAt,
    headers: { 'Acme-Signature': sign(callbackBody, calledAt), 'Acme-Time': calledAt },
    text: callbackBody,
  },
  expect: { outputs: 1, usage: one },
};

const jobs = `${baseUrl}/v1/jobs`;
const key = ({ secrets }: AdapterContext) => ({ authorization: `Bearer ${secrets.ACME_API_KEY}` });

/** Keeps every rule; each test takes one away. */
const good: Adapter<any> = {
  name: 'acme',
  contract: 1,
  version: '1.0.0',
  title: 'Acme',
  secrets: {
    ACME_API_KEY: { title: 'API key', required: true },
    ACME_WEBHOOK_SECRET: { title: 'Webhooks', required: true },
  },
  config: z.strictObject({ baseUrl: z.url().default(baseUrl) }),
  hosts: () => ['api.acme.example'],
  assetHosts: () => ['*.acme.example'],
  runs: 'vendor',
  resubmit: 'never',
  models: [
    {
      id: 'acme-1',
      taskTypes: ['generate_image'],
      options: z.strictObject({
        guidance: z.number().min(0).max(20).default(7).describe('0 to 20. Default: 7.'),
        upscale: z.boolean().default(true).describe('Default: true.'),
      }),
    },
  ],
  transformers: {
    generate_image: {
      toProvider: ({ negativePrompt, options, ...input }, _, { files, callbackUrl }) => ({
        request: { ...input, ...options, referenceImages: files.referenceImages, notify: callbackUrl },
        warnings: negativePrompt ? ['negativePrompt is not supported and was left out'] : [],
      }),
      fromProvider: ({ images }) => ({
        outputs: images.map(({ url }: any) => ({ kind: 'IMAGE', from: { url } })),
        result: { images: images.map((_: unknown, output: number) => ({ output })) },
        usage: [{ unit: 'image', quantity: images.length }],
      }),
      estimate: ({ count }) => [{ unit: 'image', quantity: count }],
    },
  },
  async start(request, context) {
    const answer = await (await context.fetch(jobs, { json: request, headers: key(context) })).json();
    if (typeof answer?.id !== 'string')
      throw new AdapterFailure({ class: 'ambiguous', code: 'ANSWER_LOST', message: 'no id' });
    return { handle: { v: 1, id: answer.id } };
  },
  async poll({ id }, context) {
    const answer = await (await context.fetch(`${jobs}/${id}`, { headers: key(context) })).json();
    if (answer?.status === 'done') {
      const images = (answer.images ?? []).filter((image: any) => image?.url);
      return { state: 'succeeded', answer: { ...answer, images } };
    }
    return { state: 'running', progress: answer?.progress };
  },
  async cancel({ id }, context) {
    try {
      await context.fetch(`${jobs}/${id}`, { method: 'DELETE', headers: key(context) });
      return 'cancelled';
    } catch (error) {
      if (classifyExchange(error, 'cancel')?.class === 'expired') return 'unknown';
      throw error;
    }
  },
  async find(_key, _since, context) {
    const { jobs: found } = await (await context.fetch(jobs, { headers: key(context) })).json();
    return found[0] ? { v: 1, id: found[0].id } : null;
  },
  async receive({ headers, body }, _handle, context) {
    const refuse = (message: string) => {
      throw new AdapterFailure({ class: 'authentication', code: 'FORGED', message });
    };
    const at = headers['acme-time'] ?? '';
    const wanted = createHmac('sha256', context.secrets.ACME_WEBHOOK_SECRET!).update(`${at}.`).update(body).digest();
    const given = Buffer.from(headers['acme-signature'] ?? '', 'hex');
    if (given.length !== wanted.length || !timingSafeEqual(given, wanted)) refuse('the signature does not fit');
    if (!(Math.abs(Date.parse(at) - context.now().getTime()) < 300_000)) refuse('it is stale');
    return { state: 'succeeded', answer: JSON.parse(Buffer.from(body).toString()) };
  },
  classify: (error, phase) => classifyExchange(error, phase),
};

const image = good.transformers.generate_image!;
const withImage = (change: object): Partial<Adapter> => ({
  transformers: { generate_image: { ...image, ...change } as any },
});
/** What it asks of the vendor, changed. */
const withRequest = (change: (request: any, input: any) => object): Partial<Adapter> =>
  withImage({
    toProvider(input: any, ...rest: [any, any]) {
      const { request, warnings } = image.toProvider(input, ...rest);
      return { request: change(request, input), warnings };
    },
  });
const withUsage = (usage: Usage) =>
  withImage({ fromProvider: (...given: [any, any]) => ({ ...image.fromProvider(...given), usage: [usage] }) });
const withOptions = (options: z.ZodType): Partial<Adapter> => ({
  models: [{ id: 'acme-1', taskTypes: ['generate_image'], options }],
});

/** Not of defineAdapter's making where that would refuse it. */
async function failing(change: Partial<Adapter>, fixtures: Fixture[] = [fixture]): Promise<string[]> {
  const adapter = defineAdapter({ ...good, ...change });
  const checks = await checkAdapter(adapter, { fixtures, timeoutMs: 300, taskTypes: builtInTaskTypes });
  return checks.filter(({ outcome }) => outcome === 'failed').map(({ name }) => name);
}

const rule = {
  manifest: 'made by defineAdapter, with a version and a title',
  options: 'options are strict, and each is described',
  config: 'the configuration is strict',
  hosts: 'hosts are names of hosts',
  fixtures: 'fixtures fit, and every task type has one',
  frozen: 'the input and the answer are left as they are',
  pure: 'the same in gives the same out, without clock or chance',
  falsy: 'falsy values stay: seed 0, temperature 0, false',
  result: 'the result fits its task type and names outputs that exist',
  usage: 'usage is in units that are quoted, and not 0 for what was made',
  estimate: 'the estimate is pure, and no less than what was used',
  counts: 'a field that is given counts, or a warning says that it does not',
  reached: 'only declared hosts are reached',
  recorded: 'what is sent is what was recorded',
  expected: 'every recorded case ends as it says',
  closed: 'observations are of the closed set',
  unknown: 'a status that nobody knows is running',
  empty: 'success without an output is a failure',
  progress: 'progress does not fall',
  handle: 'a handle is small, versioned JSON',
  classify: 'classify judges every error, always alike, and never throws',
  refused: 'a refusal of the paid call is final: 400, 401, 402, 403, 404, 422',
  lost: 'a paid call whose answer is lost is ambiguous',
  unsent: 'a paid call that was never sent is retryable, and 429 is rate_limited',
  odd: 'an answer to the paid call in no known shape is not taken for a job',
  look: 'a look at the job that goes wrong can be repeated',
  once: 'one paid call, whatever goes wrong',
  loops: 'nothing waits or loops: poll looks once, a stream ends with its source',
  abort: 'an abort is heeded',
  cancel: 'cancel twice is harmless, and its failures are no disaster',
  find: 'find buys nothing, and says a handle, null, or that it could not look',
  told: 'the vendor is told where to call',
  callback: 'a signed callback is understood, also before start has returned',
  forged: 'a forged callback is refused',
  stale: 'a stale callback is refused',
  secrets: 'no secret in a log, a failure, a handle, a request, a URL or an output',
};

const post = (context: AdapterContext, request: unknown) =>
  context.fetch(jobs, { json: request, headers: key(context) }).then((answer) => answer.json());

/** An adapter that writes, and says NO_OUTPUT to an empty text. */
const writes = (answerOf: (answer: any) => object): Partial<Adapter> => ({
  transformers: {
    generate_text: {
      toProvider: (request) => ({ request, warnings: [] }),
      fromProvider: (answer) => ({
        outputs: [],
        result: answerOf(answer) as any,
        usage: [{ unit: 'token', quantity: 2 }],
      }),
    },
  },
});
const writer: Partial<Adapter> = {
  models: [{ id: 'acme-1', taskTypes: ['generate_text'] }],
  poll: undefined,
  cancel: undefined,
  find: undefined,
  receive: undefined,
  async start(request, context) {
    const answer = await post(context, request);
    if (typeof answer?.text === 'string') return { answer };
    throw new AdapterFailure({ class: 'ambiguous', code: 'ANSWER_LOST', message: 'no text' });
  },
};
const written: Fixture = {
  name: 'written',
  document: 'https://acme.example/docs',
  taskType: 'generate_text',
  model: 'acme-1',
  input: { prompt: 'Greet.' },
  exchanges: [{ request: { method: 'POST', url: jobs }, response: { json: { model: 'acme-1', text: 'Good day.' } } }],
  expect: { result: { text: 'Good day.' }, usage: [{ unit: 'token', quantity: 2 }] },
};

/** A fixture with an input file; `mark` stands beside the request that brings it to the vendor. */
const withUpload = (mark: { free?: true }): Fixture => ({
  ...fixture,
  input: { ...fixture.input, referenceImages: ['https://files.atelier.example/1.png'] },
  exchanges: [
    { ...mark, request: { method: 'POST', url: `${baseUrl}/v1/files` }, response: { json: { id: 'file-1' } } },
    ...fixture.exchanges!,
  ],
});

/** The call with a signature for the time that it names, where its own was for the recorded one. */
function resigned(request: CallbackRequest): CallbackRequest {
  const { headers, body } = request;
  const text = Buffer.from(body).toString();
  if (headers['acme-signature'] !== sign(text, calledAt)) return request;
  return { ...request, headers: { ...headers, 'acme-signature': sign(text, headers['acme-time'] ?? '') } };
}

/** What is broken, the adapter with that broken, and the rules that must see it: all of them, and no others. */
const broken: [string, Partial<Adapter>, string[], Fixture[]?][] = [
  ['a version that is none', { version: 'latest' }, [rule.manifest]],
  [
    'a secret without a title',
    { secrets: { ...good.secrets, ACME_EXTRA: { title: '', required: false } } },
    [rule.manifest],
  ],
  [
    'options that take anything',
    withOptions(z.object({ guidance: z.number().default(7).describe('x') })),
    [rule.options],
  ],
  ['an option without a description', withOptions(z.strictObject({ guidance: z.number().default(7) })), [rule.options]],
  ['a configuration that takes anything', { config: z.object({ baseUrl: z.url().default(baseUrl) }) }, [rule.config]],
  ['a URL for a host', { hosts: () => ['api.acme.example', 'https://cdn.acme.example'] }, [rule.hosts]],
  ['a whole top-level domain', { hosts: () => ['api.acme.example', '*.example'] }, [rule.hosts]],
  ['a private host that is not declared', { privateHosts: () => ['10.0.0.1'] }, [rule.hosts]],
  [
    'a task type without a fixture',
    { transformers: { ...good.transformers, generate_text: image as any } },
    [rule.fixtures],
  ],
  [
    'a task type whose only fixture is a refusal',
    { receive: undefined },
    [rule.fixtures],
    [{ ...fixture, exchanges: [{ request: order, response: { status: 422 } }], expect: { failure: 'invalid_input' } }],
  ],
  ['a fixture that says nothing of what comes', {}, [rule.fixtures], [{ ...fixture, expect: { usage: one } }]],
  ['a fixture that says nothing of usage', {}, [rule.fixtures], [{ ...fixture, expect: { outputs: 1 } }]],
  [
    'a transformer that changes its input',
    withImage({
      toProvider(input: any, ...rest: [any, any]) {
        input.prompt = String(input.prompt).trim();
        return image.toProvider(input, ...rest);
      },
    }),
    [rule.frozen],
  ],
  [
    'a transformer that changes the answer',
    withImage({
      fromProvider(answer: any, context: any) {
        answer.images = [...answer.images];
        return image.fromProvider(answer, context);
      },
    }),
    [rule.frozen],
  ],
  ['a transformer that asks the clock', withRequest((request) => ({ ...request, at: Date.now() > 0 })), [rule.pure]],
  ['a transformer that throws dice', withRequest((request) => ({ ...request, nonce: Math.random() })), [rule.pure]],
  [
    'a seed of 0 that is dropped',
    withRequest(({ seed, ...request }) => ({ ...request, ...(seed && { seed }) })),
    [rule.falsy],
  ],
  ['a seed of 0 that becomes 42', withRequest((request) => ({ ...request, seed: request.seed || 42 })), [rule.falsy]],
  [
    'a guidance of 0 that becomes 7',
    withRequest((request) => ({ ...request, guidance: request.guidance || 7 })),
    [rule.falsy],
  ],
  [
    'a false that becomes true',
    withRequest((request) => ({ ...request, upscale: request.upscale || true })),
    [rule.falsy],
  ],
  [
    'a result that names an output too many',
    withImage({
      fromProvider: (answer: any, context: any) => ({
        ...image.fromProvider(answer, context),
        result: { images: [{ output: 0 }, { output: 1 }] },
      }),
    }),
    [rule.result],
  ],
  [
    'a result of another shape',
    withImage({
      fromProvider: (answer: any, context: any) => ({
        ...image.fromProvider(answer, context),
        result: { pictures: [] },
      }),
    }),
    [rule.result],
  ],
  [
    'a video in the place of an image',
    withImage({
      fromProvider(answer: any, context: any) {
        const { outputs, ...rest } = image.fromProvider(answer, context);
        return { ...rest, outputs: outputs.map((output) => ({ ...output, kind: 'VIDEO' })) };
      },
    }),
    [rule.result],
  ],
  ['a size that changes nothing', withRequest(({ width: _, ...request }) => request), [rule.counts]],
  ['a count that is always 1', withRequest((request) => ({ ...request, count: 1 })), [rule.counts]],
  [
    'reference images that are left out without a word',
    withRequest(({ referenceImages: _, ...request }) => request),
    [rule.counts],
  ],
  [
    'a text that is left out without a word',
    withImage({
      toProvider: (input: any, model: any, context: any) => ({
        ...image.toProvider(input, model, context),
        warnings: [],
      }),
    }),
    [rule.counts],
  ],
  [
    'a value that is taken for an impossible one',
    withRequest((request, { negativePrompt }) => {
      if (negativePrompt) throw new TypeError('no such thing');
      return request;
    }),
    [rule.counts],
  ],
  [
    'usage in a unit that nobody quoted',
    withUsage({ unit: 'pixel', quantity: 1 }),
    [rule.usage],
    [{ ...fixture, expect: { outputs: 1, usage: [{ unit: 'pixel', quantity: 1 }] } }],
  ],
  [
    'usage of 0 for what was made',
    withUsage({ unit: 'image', quantity: 0 }),
    [rule.usage],
    [{ ...fixture, expect: { outputs: 1, usage: [{ unit: 'image', quantity: 0 }] } }],
  ],
  ['an estimate that is too low', withImage({ estimate: () => [{ unit: 'image', quantity: 0 }] }), [rule.estimate]],
  [
    'usage in the wrong quantity',
    withImage({
      fromProvider: (answer: any, context: any) => ({
        ...image.fromProvider(answer, context),
        usage: [{ unit: 'image', quantity: 0.5 }],
      }),
    }),
    [rule.expected],
  ],
  ['a request that lacks what was recorded', withRequest(({ prompt: _, ...request }) => request), [rule.recorded]],
  [
    'a state of its own',
    {
      async poll(handle, context) {
        const answer = await (await context.fetch(`${jobs}/${handle.id}`)).json();
        return answer?.status === 'working' ? { state: 'queued', position: -1 } : good.poll!(handle, context);
      },
    },
    [rule.closed],
  ],
  [
    'an unknown status that is a failure',
    {
      async poll({ id }, context) {
        const answer = await (await context.fetch(`${jobs}/${id}`)).json();
        if (answer?.status === 'done' || answer?.status === 'working' || typeof answer?.status !== 'string')
          return good.poll!({ id }, context);
        return { state: 'failed', failure: { class: 'permanent', code: 'ODD', message: 'odd' } };
      },
    },
    [rule.unknown],
  ],
  [
    'an unknown status that is queued',
    {
      async poll({ id }, context) {
        const answer = await (await context.fetch(`${jobs}/${id}`)).json();
        const isKnown = ['done', 'working', undefined].includes(answer?.status);
        return isKnown ? good.poll!({ id }, context) : { state: 'queued' };
      },
    },
    [rule.unknown],
  ],
  [
    'an empty output that is taken for one',
    {
      async poll({ id }, context) {
        const answer = await (await context.fetch(`${jobs}/${id}`)).json();
        if (answer?.status !== 'done') return { state: 'running', progress: answer?.progress };
        return { state: 'succeeded', answer: { ...answer, images: [{ url: answer.images[0]?.url }] } };
      },
    },
    [rule.empty],
  ],
  ['an empty text that is taken for one', { ...writer, ...writes(({ text }) => ({ text })) }, [rule.empty], [written]],
  [
    'progress that falls',
    {
      async poll(handle, context) {
        const seen = await good.poll!(handle, context);
        return seen.state === 'running' && seen.progress !== undefined
          ? { ...seen, progress: 1 - seen.progress }
          : seen;
      },
    },
    [rule.progress],
  ],
  [
    'a handle that does not survive JSON',
    {
      start: async (request, context) => ({
        handle: { ...((await good.start(request, context)) as any).handle, at: new Date(0) },
      }),
    },
    [rule.handle],
  ],
  [
    'a handle without a version',
    {
      start: async (request, context) => ({ handle: { id: ((await good.start(request, context)) as any).handle.id } }),
    },
    [rule.handle],
  ],
  [
    'a handle that holds everything',
    {
      start: async (request, context) => ({
        handle: { ...((await good.start(request, context)) as any).handle, all: 'x'.repeat(5_000) },
      }),
    },
    [rule.handle],
  ],
  [
    'a host that is not declared',
    {
      async poll(handle, context) {
        await context.fetch('https://metrics.elsewhere.example/').catch(() => {});
        return good.poll!(handle, context);
      },
    },
    [rule.reached],
  ],
  [
    'a fetch of its own',
    {
      async start(request, context) {
        await globalThis.fetch('http://127.0.0.1:1/').catch(() => {});
        return good.start(request, context);
      },
    },
    [rule.reached],
  ],
  ['outputs on a host that is not declared', { assetHosts: () => ['cdn.acme.example'] }, [rule.reached]],
  [
    'a 400 that is tried again',
    {
      classify(error, phase) {
        const facts = classifyExchange(error, phase);
        return facts?.class === 'invalid_input' ? { ...facts, class: 'retryable' } : facts;
      },
    },
    [rule.refused],
  ],
  [
    'a lost answer that is tried again',
    {
      classify(error, phase) {
        const facts = classifyExchange(error, phase);
        return facts?.class === 'ambiguous' && isNetworkFailure(error) ? { ...facts, class: 'retryable' } : facts;
      },
    },
    [rule.lost, rule.odd],
  ],
  [
    "a framework's words that are taken for the vendor's",
    {
      classify(error, phase) {
        const facts = classifyExchange(error, phase);
        const isTold = isHttpFailure(error) && error.json()?.detail !== undefined;
        return facts?.class === 'ambiguous' && isTold ? { ...facts, class: 'retryable' } : facts;
      },
    },
    [rule.lost],
  ],
  [
    'a Retry-After that is forgotten',
    { classify: (error, phase) => ({ ...classifyExchange(error, phase), retryAfterMs: undefined }) as any },
    [rule.classify, rule.unsent],
  ],
  [
    'an answer that is not looked at',
    {
      async start(request, context) {
        return { handle: { v: 1, id: (await post(context, request)).id } };
      },
    },
    [rule.odd],
  ],
  [
    'a look that fails the task',
    {
      poll: (handle, context) =>
        good.poll!(handle, context).catch((error) => ({
          state: 'failed',
          failure: { class: 'permanent', code: 'POLL', message: String(error) },
        })),
    },
    [rule.look],
  ],
  [
    'a second request of a look whose failure fails the task',
    {
      async poll(handle, context) {
        const seen = await good.poll!(handle, context);
        if (seen.state !== 'succeeded') return seen;
        try {
          return { state: 'succeeded', answer: await (await context.fetch(`${job.url}/result`)).json() };
        } catch (error) {
          if (!isHttpFailure(error) || !error.json()) throw error;
          return { state: 'failed', failure: { class: 'permanent', code: 'BROKEN', message: 'broken' } };
        }
      },
    },
    [rule.look],
    [
      {
        ...fixture,
        exchanges: [...fixture.exchanges!, { request: { url: `${job.url}/result` }, response: { json: done } }],
      },
    ],
  ],
  [
    'a look that trips over null',
    {
      async poll(handle, context) {
        const answer = await (await context.fetch(`${jobs}/${handle.id}`)).json();
        return answer.status === 'done' ? good.poll!(handle, context) : { state: 'running', progress: answer.progress };
      },
    },
    [rule.look],
  ],
  [
    'a classify that throws',
    { classify: (error, phase) => ((error as any).name === 'x' ? undefined : classifyExchange(error, phase)) },
    [rule.classify],
  ],
  [
    'a bug that is tried again',
    {
      classify: (error, phase) =>
        classifyExchange(error, phase) ?? { class: 'retryable', code: 'HOPE', message: 'hope' },
    },
    [rule.classify],
  ],
  [
    'a second paid call after the first failed',
    { start: (request, context) => good.start(request, context).catch(() => good.start(request, context)) },
    [rule.once],
  ],
  [
    'an upload that may be paid for',
    {
      files: 'upload',
      upload: async (_, { fetch }) => (await (await fetch(`${baseUrl}/v1/files`, { json: {} })).json()).id,
    },
    [rule.once],
    [withUpload({})],
  ],
  [
    'a start that does not hear the abort',
    {
      async start(request, context) {
        const started = good.start(request, context);
        await new Promise<void>((resolve) => {
          started.then(
            () => resolve(),
            () => context.signal.aborted || resolve(),
          );
        });
        return started;
      },
    },
    [rule.abort],
  ],
  [
    'a poll that waits for the end',
    {
      async poll(handle, context) {
        for (let look = 0; look < 4; look++) {
          const seen = await good.poll!(handle, context);
          if (look > 2) return seen;
        }
        return { state: 'running' };
      },
    },
    [rule.loops],
  ],
  [
    'a poll that sleeps',
    { poll: (handle, context) => pause(120).then(() => good.poll!(handle, context)) },
    [rule.loops],
    // One look is enough for that.
    [{ ...fixture, exchanges: [fixture.exchanges![0]!, fixture.exchanges![3]!] }],
  ],
  [
    'a cancel that throws the second time',
    {
      async cancel(handle, context) {
        await context.fetch(`${jobs}/${handle.id}`, { method: 'DELETE' }).catch(() => {
          throw new Error('it was cancelled before');
        });
        return 'cancelled';
      },
    },
    [rule.cancel],
  ],
  ...(['cancelled', 'too_late'] as const).map((answer): (typeof broken)[number] => [
    `a cancel that says ${answer} when it has heard nothing`,
    { cancel: (...given) => good.cancel!(...given).catch(() => answer) },
    [rule.cancel],
  ]),
  ['a cancel with a word of its own', { cancel: async () => 'done' as any }, [rule.cancel]],
  [
    'a find that takes a failure for nothing',
    { find: (...given) => good.find!(...given).catch(() => null) },
    [rule.find],
  ],
  [
    'a find that buys',
    {
      async find(attemptKey, since, context) {
        await context.fetch(jobs, { method: 'POST', json: {} }).catch(() => {});
        return good.find!(attemptKey, since, context);
      },
    },
    [rule.find],
  ],
  ['a vendor who is not told where to call', withRequest(({ notify: _, ...request }) => request), [rule.told]],
  [
    'a callback that needs the handle',
    { receive: async (request, handle, context) => (handle!.id ? good.receive!(request, handle, context) : null) },
    [rule.callback],
  ],
  [
    'a callback that is not verified',
    {
      receive: async ({ body, headers }, _, { now }) => {
        if (Math.abs(Date.parse(headers['acme-time'] ?? '') - now().getTime()) > 300_000)
          throw new AdapterFailure({ class: 'authentication', code: 'STALE', message: 'stale' });
        return { state: 'succeeded', answer: Buffer.from(body).toString() };
      },
    },
    [rule.forged],
  ],
  ['a receive that nobody tries', {}, [rule.callback], [{ ...fixture, callback: undefined }]],
  [
    'a callback whose time nobody signs',
    { receive: (request, handle, context) => good.receive!(resigned(request), handle, context) },
    [rule.forged],
  ],
  [
    'a callback that is never too old',
    {
      receive: (request, handle, context) =>
        good.receive!(request, handle, { ...context, now: () => new Date(request.headers['acme-time'] ?? 0) }),
    },
    [rule.stale],
  ],
  [
    'a secret in the log',
    {
      async start(request, context) {
        context.log('DEBUG', `with the key ${context.secrets.ACME_API_KEY}`);
        return good.start(request, context);
      },
    },
    [rule.secrets],
  ],
  [
    'a secret in a URL',
    {
      async start(request, context) {
        const url = `${jobs}?key=${context.secrets.ACME_API_KEY}`;
        return good.start(request, { ...context, fetch: (_, options) => context.fetch(url, options) });
      },
    },
    [rule.secrets],
  ],
];

describe('the conformance suite', () => {
  it('finds nothing wrong with an adapter that keeps every rule, and skips nothing', async () => {
    const checks = await checkAdapter(defineAdapter(good), { fixtures: [fixture], taskTypes: builtInTaskTypes });
    expect(checks.filter(({ outcome }) => outcome !== 'passed')).toEqual([]);
    expect(checks.map(({ name }) => name)).toEqual(Object.values(rule));
  });

  it.each(broken)('sees %s', async (_, change, names, fixtures) => {
    expect(await failing(change, fixtures)).toEqual(names);
  });

  it('takes a lost answer for retryable where starting again buys nothing', async () => {
    const classify: Adapter['classify'] = (error, phase) => {
      const facts = classifyExchange(error, phase);
      return facts?.class === 'ambiguous' ? { ...facts, class: 'retryable' } : facts;
    };
    expect(await failing({ resubmit: 'safe', classify })).toEqual([]);
    expect(await failing({ classify })).toEqual([rule.lost, rule.odd]);
  });

  it('hears requested, unknown and a throw from a cancel that has heard nothing', async () => {
    for (const answer of ['requested', 'unknown'] as const)
      expect(await failing({ cancel: (...given) => good.cancel!(...given).catch(() => answer) })).toEqual([]);
    // Nothing was asked of the vendor.
    expect(await failing({ cancel: async () => 'too_late' })).toEqual([]);
  });

  it.each<[string, (url: string) => [string, object]]>([
    ['the URL', (url) => [`${jobs}?notify=${encodeURIComponent(url)}`, {}]],
    ['a header', (url) => [jobs, { headers: { 'acme-notify': url } }]],
    [
      'a form',
      (url) => {
        const body = new FormData();
        body.set('notify', url);
        return [jobs, { body, json: undefined, method: 'POST' }];
      },
    ],
    ['a body of its own kind', (url) => [jobs, { body: Buffer.from(`notify: ${url}`), json: undefined }]],
  ])('sees where the vendor is told to call in %s', async (_, told) => {
    const start: Adapter['start'] = ({ notify, ...request }, context) => {
      const [url, options] = told(notify);
      return good.start(request, {
        ...context,
        fetch: (_url, given) =>
          context.fetch(url, { ...given, ...options, headers: { ...given?.headers, ...(options as any).headers } }),
      });
    };
    const { json: _json, ...request } = order;
    const [, ...looks] = fixture.exchanges!;
    const fixtures = [{ ...fixture, exchanges: [{ ...fixture.exchanges![0]!, request }, ...looks] }];
    expect(await failing({ start }, fixtures)).toEqual([]);
  });

  it('takes a field for one that counts when it does so in one of the cases, is refused, or has no second value', async () => {
    const onlyAlone = withRequest(({ negativePrompt: _, width, ...request }, { count }) => ({
      ...request,
      ...(count === 2 && { width }),
    }));
    expect(await failing(onlyAlone)).toEqual([rule.counts]);
    const two = {
      ...fixture,
      name: 'two',
      input: { ...fixture.input, count: 2 },
      expect: { outputs: 1, usage: one },
    };
    expect(await failing(onlyAlone, [fixture, two])).toEqual([]);
    const refusing = withRequest(({ height, ...request }) => {
      if (height !== 64)
        throw new AdapterFailure({ class: 'invalid_input', code: 'HEIGHT', message: 'it is 64 pixels high' });
      return request;
    });
    expect(await failing(refusing)).toEqual([]);
  });

  it('has a job that stands in a list wait, whatever its status is', async () => {
    const poll: Adapter['poll'] = async (handle, context) => {
      const queue = await (await context.fetch(`${baseUrl}/v1/queue`)).json();
      return queue?.waiting?.includes(handle.id) ? { state: 'queued' } : good.poll!(handle, context);
    };
    const list = { request: { url: `${baseUrl}/v1/queue` } };
    const [start, ...looks] = fixture.exchanges!;
    const exchanges = [
      start!,
      { ...list, response: { json: { waiting: ['job-1'] } } },
      { ...list, response: { json: { waiting: [] } } },
      ...looks,
    ];
    expect(await failing({ poll }, [{ ...fixture, exchanges }])).toEqual([]);
  });

  it('can check several adapters at once, tells whose fetch it was, and gives fetch back', async () => {
    const { fetch } = globalThis;
    const start: Adapter['start'] = async (request, context) => {
      await globalThis.fetch('http://127.0.0.1:1/').catch(() => {});
      return good.start(request, context);
    };
    expect(await Promise.all([failing({}), failing({ start }), failing({})])).toEqual([[], [rule.reached], []]);
    expect(globalThis.fetch).toBe(fetch);
  });

  it('takes what the fixture calls free for no purchase, and a text that may be empty for a failure', async () => {
    const upload: Adapter['upload'] = async (_, { fetch }) =>
      (await (await fetch(`${baseUrl}/v1/files`, { json: {} })).json()).id;
    expect(await failing({ files: 'upload', upload }, [withUpload({ free: true })])).toEqual([]);
    const answerOf = ({ text }: any) => {
      if (text) return { text };
      throw new AdapterFailure({ class: 'permanent', code: 'NO_OUTPUT', message: 'an empty text' });
    };
    expect(await failing({ ...writer, ...writes(answerOf) }, [written])).toEqual([]);
  });

  it('takes [] for a gift, and null for a vendor who does not say what was used', async () => {
    const given = (usage?: []) =>
      withImage({ fromProvider: (...answered: [any, any]) => ({ ...image.fromProvider(...answered), usage }) });
    const expecting = (usage: [] | null) => [{ ...fixture, expect: { outputs: 1, usage } }];
    expect(await failing(given([]), expecting([]))).toEqual([]);
    expect(await failing(given(), expecting(null))).toEqual([]);
    expect(await failing({}, expecting(null))).toEqual([rule.expected]);
  });

  it('gives the configuration to an estimate', async () => {
    const estimate = (_: unknown, __: string, config: any) => [{ unit: 'image', quantity: config.baseUrl ? 1 : 0 }];
    expect(await failing(withImage({ estimate }))).toEqual([]);
  });

  it('looks at the options of models that a function gives, too', async () => {
    const models = () => [
      { id: 'acme-1', taskTypes: ['generate_image'], options: z.object({ size: z.number() }).partial() },
    ];
    expect(await failing({ models })).toEqual([rule.options]);
    const asked: Adapter['models'] = async ({ fetch }) => (await fetch(`${baseUrl}/v1/models`)).json();
    expect(await failing({ models: asked })).toEqual([]);
  });

  it('sees fixtures that are none, and answers that no fixture holds', async () => {
    const { document: _, ...incomplete } = fixture;
    const missing = { ...fixture, name: 'missing', exchanges: fixture.exchanges!.slice(0, 1) };
    const checks = await checkAdapter(defineAdapter(good), {
      fixtures: [
        fixture,
        missing,
        { ...incomplete, name: 'incomplete' } as Fixture,
        { ...fixture, name: 'foreign', model: 'acme-9' },
      ],
    });
    const detail = (name: string) => checks.find((check) => check.name === name)?.detail;
    expect(detail(rule.fixtures)).toContain('incomplete: document: ');
    expect(detail(rule.fixtures)).toContain('foreign: no model "acme-9"');
    expect(detail(rule.recorded)).toContain(`missing: no exchange is recorded for GET ${job.url} (in poll)`);
  });

  it('plays event streams, WebSockets, bytes, redirects and synchronous answers', async () => {
    const text = (delta: string) => `data: ${JSON.stringify({ delta })}\n\n`;
    const wav = Buffer.from('RIFF').toString('base64');
    const manner = z.strictObject({
      manner: z.enum(['stream', 'bytes', 'socket']).default('stream').describe('How. Default: stream.'),
    });
    const speaker = defineAdapter({
      ...good,
      models: [{ id: 'acme-1', taskTypes: ['speak'], options: manner }],
      hosts: () => ['api.acme.example', 'files.acme.example'],
      receive: undefined,
      cancel: undefined,
      find: undefined,
      transformers: {
        speak: {
          toProvider: ({ options }) => ({ request: options, warnings: [] }),
          fromProvider: (answer) => ({
            outputs: [{ kind: 'AUDIO', from: { bytes: answer } }],
            result: { audio: { output: 0 } },
          }),
        },
      },
      async start(request, context) {
        if (request.manner === 'bytes')
          return { answer: await (await context.fetch(`${baseUrl}/speak`, { json: request })).bytes() };
        if (request.manner === 'socket') {
          const { id } =
            z
              .object({ id: z.string() })
              .safeParse(await (await context.fetch(`${baseUrl}/speak`, { json: request })).json()).data ?? {};
          if (!id) throw new AdapterFailure({ class: 'ambiguous', code: 'ANSWER_LOST', message: 'no id' });
          return { handle: { v: 1, id } };
        }
        return {
          observations: (async function* () {
            let whole = '';
            for await (const { data } of (await context.fetch(`${baseUrl}/speak`, { json: request })).events()) {
              const { delta } = JSON.parse(data);
              whole += delta;
              yield { state: 'running', text: delta };
            }
            if (!whole) throw new AdapterFailure({ class: 'ambiguous', code: 'ANSWER_LOST', message: 'no event came' });
            yield { state: 'succeeded', answer: Buffer.from(whole) };
          })(),
        };
      },
      async *follow(_handle, context) {
        for await (const message of context.socket('wss://api.acme.example/ws')) {
          if (typeof message === 'string') yield { state: 'running', progress: JSON.parse(message).progress };
          else yield { state: 'succeeded', answer: message };
        }
      },
      poll: async (_handle, context) => {
        const answer = await context.fetch(`${baseUrl}/file`);
        if (answer.headers.get('content-type') !== 'audio/wav') return { state: 'running' };
        const bytes = await answer.bytes();
        return bytes.length > 0 ? { state: 'succeeded', answer: bytes } : { state: 'running' };
      },
    });
    const speak = { method: 'POST', url: `${baseUrl}/speak` };
    const base = { document: 'made up', taskType: 'speak', model: 'acme-1', expect: { outputs: 1, usage: null } };
    const audio = { headers: { 'content-type': 'audio/wav' }, base64: wav };
    const fixtures: Fixture[] = [
      {
        ...base,
        name: 'stream',
        input: { options: { manner: 'stream' } },
        exchanges: [
          {
            request: speak,
            response: {
              headers: { 'content-type': 'text/event-stream' },
              text: `: hi\n\n${text('Grüße, ')}${text('Welt, und alles, was sonst noch darin ist')}`,
            },
          },
        ],
        expect: { outputs: 1, usage: null, text: 'Grüße, Welt, und alles, was sonst noch darin ist' },
      },
      {
        ...base,
        name: 'bytes',
        input: { options: { manner: 'bytes' } },
        exchanges: [{ request: speak, response: audio }],
      },
      {
        ...base,
        name: 'socket',
        input: { options: { manner: 'socket' } },
        exchanges: [
          { request: speak, response: { json: { id: 'job-1' } } },
          { request: { url: `${baseUrl}/file` }, response: { status: 302, headers: { location: `${files}/1.wav` } } },
          { request: { url: `${files}/1.wav` }, response: audio },
        ],
        sockets: [
          {
            url: 'wss://api.acme.example/ws',
            messages: ['{"progress":0.5}', { json: { progress: 0.7 } }, { base64: wav }],
          },
        ],
      },
    ];
    const checks = await checkAdapter(speaker, { fixtures });
    expect(checks.filter(({ outcome }) => outcome === 'failed')).toEqual([]);
  });

  it('finds nothing wrong with the local engine', { timeout: 60_000 }, async () => {
    const input = { prompt: 'a boat', width: 64, height: 64, count: 1, seed: 0 };
    const fixtures = [
      {
        name: 'picture',
        document: 'adapters/local/README.md',
        taskType: 'generate_image',
        model: 'compose-1',
        input,
        expect: { outputs: 1, usage: one },
      },
      {
        name: 'text',
        document: 'adapters/local/README.md',
        taskType: 'generate_text',
        model: 'template-1',
        input: { prompt: 'a boat' },
        expect: { result: { text: '*' }, usage: [{ unit: 'token', quantity: 97 }] },
      },
    ];
    const checks = await checkAdapter(local, { fixtures, taskTypes: builtInTaskTypes, timeoutMs: 20_000 });
    expect(checks.filter(({ outcome }) => outcome === 'failed')).toEqual([]);
  });

  it('prints a table, and below it what is wrong and what to do', async () => {
    const adapter = defineAdapter({ ...good, version: 'latest', find: undefined });
    const checks = await checkAdapter(adapter, { fixtures: [fixture] });
    const text = printChecks(checks);
    expect(text).toMatch(/✗ manifest +made by defineAdapter/);
    expect(text).toMatch(/– calls +find buys nothing.*\(the adapter has no find\)/);
    expect(text).toContain('    the version "latest" is not as 1.0.0\n  → Default-export defineAdapter');
    expect(text).toContain(`${checks.length - 3} passed, 1 failed, 2 not applicable\n`);
    expect(() => checks.forEach(requirePassed)).toThrow('is not as 1.0.0');
  });

  it.each<[string, object, string]>([
    ['a field at the top', { expct: fixture.expect }, 'there is no field "expct"; did you mean "expect"?'],
    ['the list of exchanges', { exchange: [] }, 'there is no field "exchange"; did you mean "exchanges"?'],
    [
      'a field of a request',
      { exchanges: [{ request: { url: jobs, metod: 'POST' }, response: {} }] },
      'exchanges[0].request: there is no field "metod"; did you mean "method"?',
    ],
    [
      'a field of an answer that resembles none',
      { exchanges: [{ request: { url: jobs }, response: { body: {} } }] },
      'exchanges[0].response: there is no field "body"; there are status, headers, json, text, base64',
    ],
    [
      'what is expected',
      { expect: { output: 1, usage: one } },
      'expect: there is no field "output"; did you mean "outputs"?',
    ],
    [
      'a field of a failure, which may be a word',
      { expect: { failure: { clas: 'quota' } } },
      'expect.failure: there is no field "clas"; did you mean "class"?',
    ],
    [
      'a message of a WebSocket, which may be a text',
      { sockets: [{ url: 'wss://api.acme.example', messages: [{ jsn: 1 }] }] },
      'sockets[0].messages[0]: there is no field "jsn"; did you mean "json"?',
    ],
    [
      'a field of a callback',
      { callback: { at: calledAt, header: {}, headers: {}, text: '' } },
      'callback: there is no field "header"; did you mean "headers"?',
    ],
  ])('refuses a fixture in which %s is misspelt, and says first where and what', async (_, change, message) => {
    const checks = await checkAdapter(defineAdapter(good), {
      fixtures: [{ ...fixture, file: 'fixtures/done.json', ...change }],
    });
    const failed = checks.filter(({ outcome }) => outcome === 'failed');
    expect(failed.map(({ name }) => name)).toEqual([rule.fixtures]);
    expect(failed[0]!.detail!.split('\n')).toEqual([`fixtures/done.json: ${message}`]);
  });

  it('knows every field of the fixtures that come with Atelier', () => {
    const folders = readdirSync('adapters').map((name) => `adapters/${name}/fixtures`);
    const fixtures = folders.flatMap((folder) => readFixtures(folder));
    expect(fixtures.length).toBeGreaterThan(70);
    for (const [index, each] of fixtures.entries()) expect(() => toCase(each, index), each.file).not.toThrow();
  });

  it.each<[string, Partial<Adapter>, string, string]>([
    [
      'a start that throws by mistake',
      { start: async () => (undefined as any).id },
      rule.expected,
      "done: it ends failed, not succeeded (bug ADAPTER_ERROR: TypeError: Cannot read properties of undefined (reading 'id'))",
    ],
    [
      'a look that throws by mistake',
      { poll: async () => (undefined as any).state },
      rule.expected,
      "done: it ends running, not succeeded (bug ADAPTER_ERROR: TypeError: Cannot read properties of undefined (reading 'state'))",
    ],
    [
      'a classify that throws',
      { classify: (error) => (error as any).no.such },
      rule.classify,
      "undefined in start: classify throws TypeError: Cannot read properties of undefined (reading 'no')",
    ],
    [
      'a host that is not declared',
      { hosts: () => ['other.example'], assetHosts: () => ['*.acme.example'] },
      rule.reached,
      'done: POST https://api.acme.example/v1/jobs goes to api.acme.example, which the adapter does not declare in hosts',
    ],
    [
      'a request that was not recorded',
      { poll: async (_, context) => (await context.fetch(`${jobs}/job-2`)).json() },
      rule.recorded,
      'done: no exchange is recorded for GET https://api.acme.example/v1/jobs/job-2 (in poll)',
    ],
    ['hosts that throw', { hosts: ({ base }: any) => [new URL(base).host] }, rule.hosts, 'TypeError: Invalid URL'],
  ])('tells the cause first, and once: %s', async (_, change, name, line) => {
    const told: Check[] = [];
    const checks = await checkAdapter(defineAdapter({ ...good, ...change }), {
      fixtures: [fixture],
      timeoutMs: 300,
      onCheck: (check) => told.push(check),
    });
    expect(told).toEqual(checks);
    const failed = checks.filter(({ outcome }) => outcome === 'failed');
    const others = failed.filter(({ follows }) => follows === name).length;
    expect(failed[0]!.name).toBe(name);
    expect(others, printChecks(checks)).toBeGreaterThan(0);
    const below = printChecks(checks).split('\n').slice(checks.length);
    expect(below.slice(0, 3)).toEqual(['', `✗ ${name}`, `    ${line}`]);
    expect(below).toContain(`  and ${others} more ${others === 1 ? 'check fails' : 'checks fail'} for the same reason`);
    expect(below.filter((each) => each.startsWith('✗ '))).toHaveLength(failed.length - others);
  });

  it('tells a check with a finding of its own by itself', async () => {
    const adapter = defineAdapter({ ...good, version: 'latest', poll: async () => (undefined as any).state });
    const checks = await checkAdapter(adapter, { fixtures: [fixture], timeoutMs: 300 });
    const failed = checks.filter(({ outcome, follows }) => outcome === 'failed' && !follows);
    expect(failed.map(({ name }) => name)).toEqual([rule.manifest, rule.expected]);
  });

  it('has a broken adapter for each of its rules', () => {
    const seen = new Set(broken.flatMap(([, , names]) => names));
    expect(Object.values(rule).filter((name) => !seen.has(name))).toEqual([]);
  });
});
