import { setTimeout as pause } from 'node:timers/promises';
import { type Adapter, type AdapterContext, AdapterFailure, defineAdapter, type Observation, z } from 'atelier/adapter';
import { checkAdapter, type Fixture, printChecks } from 'atelier/adapter/testing';
import { describe, expect, it } from 'vitest';

const baseUrl = 'https://api.acme.example';
const waits = 'nothing waits or loops: poll looks once, a stream ends with its source';
const abort = 'an abort is heeded';
const eventStream = { 'content-type': 'text/event-stream' };
const events = (...all: object[]): string => all.map((each) => `data: ${JSON.stringify(each)}\n\n`).join('');

type Source = (context: AdapterContext, url: string, json?: object) => AsyncIterable<any>;
type Stream = (source: () => AsyncIterable<any>, context: AdapterContext) => AsyncIterable<Observation>;

const read: Source = async function* (context, url, json) {
  for await (const { data } of (await context.fetch(url, { json })).events()) yield JSON.parse(data);
};

/** Yields what the source says, and ends with it. */
const good: Stream = async function* (source) {
  for await (const event of source()) {
    if (event.done) yield { state: 'succeeded', answer: event };
    else yield { state: 'running', progress: event.progress };
  }
};

const base: Pick<
  Adapter,
  'contract' | 'version' | 'title' | 'runs' | 'resubmit' | 'hosts' | 'models' | 'transformers'
> = {
  contract: 1,
  version: '1.0.0',
  title: 'Acme',
  runs: 'vendor',
  resubmit: 'never',
  hosts: () => ['api.acme.example'],
  models: [{ id: 'acme-1', taskTypes: ['write'] }],
  transformers: {
    write: {
      toProvider: () => ({ request: {}, warnings: [] }),
      fromProvider: ({ text }) => {
        if (!text) throw new AdapterFailure({ class: 'permanent', code: 'NO_OUTPUT', message: 'an empty text' });
        return { outputs: [], result: { text } };
      },
    },
  },
};
const told = [{ progress: 0.2 }, { progress: 0.5 }, { progress: 0.9 }, { done: true, text: 'Good day.' }];
const fixture = { document: 'made up', taskType: 'write', model: 'acme-1', input: {} };
const expected = { result: { text: 'Good day.' }, usage: null };

/** A stream of the paid call itself. */
const started = (stream: Stream): [Adapter, Fixture] => [
  defineAdapter({
    ...base,
    name: 'started',
    start: async (request, context) => ({
      observations: (async function* () {
        let isSeen = false;
        for await (const seen of stream(() => read(context, `${baseUrl}/jobs`, request), context)) {
          isSeen = true;
          yield seen;
        }
        if (!isSeen) throw new AdapterFailure({ class: 'ambiguous', code: 'ANSWER_LOST', message: 'no event came' });
      })(),
    }),
  }),
  {
    ...fixture,
    name: 'started',
    exchanges: [
      {
        request: { method: 'POST', url: `${baseUrl}/jobs` },
        response: { headers: eventStream, text: events(...told) },
      },
    ],
    expect: expected,
  },
];

/** A stream beside a job that can be polled. */
const followed = (stream: Stream, source: Source = read): [Adapter, Fixture] => [
  defineAdapter({
    ...base,
    name: 'followed',
    async start(request, { fetch }) {
      const parsed = z
        .object({ id: z.string() })
        .safeParse(await (await fetch(`${baseUrl}/jobs`, { json: request })).json());
      if (parsed.success) return { handle: { v: 1, id: parsed.data.id } };
      throw new AdapterFailure({ class: 'ambiguous', code: 'ANSWER_LOST', message: 'no id' });
    },
    async poll(_, { fetch }) {
      const job = await (await fetch(`${baseUrl}/jobs/1`)).json();
      return job?.status === 'done' ? { state: 'succeeded', answer: job } : { state: 'running' };
    },
    follow: (_, context) => stream(() => source(context, `${baseUrl}/jobs/1/events`), context),
  }),
  {
    ...fixture,
    name: 'followed',
    exchanges: [
      { request: { method: 'POST', url: `${baseUrl}/jobs` }, response: { json: { id: '1' } } },
      { request: { url: `${baseUrl}/jobs/1/events` }, response: { headers: eventStream, text: events(...told) } },
      { request: { url: `${baseUrl}/jobs/1` }, response: { json: { status: 'done', text: 'Good day.' } } },
    ],
    expect: expected,
  },
];

/** The same over a WebSocket. */
const heard = (stream: Stream): [Adapter, Fixture] => {
  const socket: Source = async function* (context) {
    for await (const message of context.socket('wss://api.acme.example/ws')) yield JSON.parse(String(message));
  };
  const [adapter, { exchanges, name: _, ...rest }] = followed(stream, socket);
  const sockets = [{ url: 'wss://api.acme.example/ws', messages: told.map((json) => ({ json })) }];
  return [
    adapter,
    { ...rest, name: 'heard', sockets, exchanges: exchanges!.filter(({ request }) => !/events/.test(request.url)) },
  ];
};

const ways = { started, followed, heard };

async function check([adapter, one]: [Adapter, Fixture], timeoutMs = 1_500) {
  return checkAdapter(adapter, { fixtures: [one], timeoutMs });
}

const broken: [string, string, Stream][] = [
  [
    'sleeps a moment at each event',
    waits,
    async function* (source, context) {
      for await (const seen of good(source, context)) {
        await pause(15);
        yield seen;
      }
    },
  ],
  [
    'waits for a timer of its own before it yields',
    waits,
    async function* (source, context) {
      await new Promise((resolve) => setTimeout(resolve, 20));
      yield* good(source, context);
    },
  ],
  [
    'yields on and on when its source has ended',
    waits,
    async function* (source, context) {
      yield* good(source, context);
      for (;;) yield { state: 'running' };
    },
  ],
  [
    'connects again when its source has ended',
    waits,
    async function* (source, context) {
      for (;;) yield* good(source, context);
    },
  ],
  [
    'connects again and again, whatever comes',
    waits,
    async function* (source, context) {
      for (;;)
        try {
          yield* good(source, context);
        } catch {
          // Hopes that it passes.
        }
    },
  ],
  [
    'sleeps on when its source has ended',
    waits,
    async function* (source, context) {
      yield* good(source, context);
      for (;;) await pause(50);
    },
  ],
  [
    'goes on after an abort',
    abort,
    async function* (source, context) {
      try {
        yield* good(source, context);
      } catch (error) {
        if (!context.signal.aborted) throw error;
        await pause(1_200);
      }
    },
  ],
];

describe.each(Object.entries(ways))('a stream that is %s', (name, made) => {
  it('passes when it ends with its source, and heeds the signal', async () => {
    const checks = await check(made(good));
    expect(checks.filter(({ outcome }) => outcome === 'failed')).toEqual([]);
  });

  it('may guard itself with a timer that does not go off', async () => {
    const checks = await check(
      made(async function* (source, context) {
        const timer = setTimeout(() => {}, 60_000);
        try {
          yield* good(source, context);
        } finally {
          clearTimeout(timer);
        }
      }),
    );
    expect(checks.filter(({ outcome }) => outcome === 'failed')).toEqual([]);
  });

  it.each(broken)('is found out when it %s', { timeout: 60_000 }, async (_, rule, stream) => {
    const checks = await check(made(stream));
    const found = checks.find((each) => each.name === rule)!;
    expect(found.outcome, printChecks(checks)).toBe('failed');
    expect(found.detail).toMatch(new RegExp(`^${name}: `));
  });
});

describe('a case that never ends', () => {
  it.each<[string, Stream]>([
    [
      'yields without end',
      async function* () {
        for (;;) yield { state: 'running' };
      },
    ],
    [
      'sleeps between two looks without end',
      async function* () {
        for (;;) {
          await pause(30);
          yield { state: 'running' };
        }
      },
    ],
  ])('is rehearsed no more when its stream %s, and is told once', { timeout: 30_000 }, async (_, stream) => {
    const checks = await check(started(stream), 500);
    const failed = checks.filter(({ outcome }) => outcome === 'failed');
    expect(failed.map(({ name }) => name)).toEqual([waits]);
    expect(failed[0]!.detail).toBe('started: start does not end');
    const skipped = checks.filter(({ detail }) => detail === 'the adapter waits or loops');
    expect(skipped.length).toBeGreaterThan(15);
  });
});
