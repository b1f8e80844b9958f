import { defineAdapter, z } from 'atelier/adapter';

const config = z.object({ baseUrl: z.url().describe('Where test/bench/vendor-server.ts listens.') });

const manifest = {
  contract: 1,
  version: '1.0.0',
  runs: 'vendor',
  resubmit: 'never',
  config,
  hosts: ({ baseUrl }: z.output<typeof config>) => [new URL(baseUrl).host],
  privateHosts: ({ baseUrl }: z.output<typeof config>) => [new URL(baseUrl).host],
  models: [{ id: 'bench', taskTypes: ['generate_text'] }],
  transformers: {
    generate_text: {
      toProvider: (input: { prompt: string }) => ({ request: { prompt: input.prompt }, warnings: [] }),
      fromProvider: ({ text }: { text: string }) => ({ outputs: [], result: { text } }),
    },
  },
} as const;

/** A vendor that answers at once, over HTTP. */
export const instant = defineAdapter({
  ...manifest,
  name: 'instant',
  title: 'Bench: answers at once',
  models: [...manifest.models.map((model) => ({ ...model, taskTypes: [...model.taskTypes] }))],
  start: async (request, { fetch, config }) => ({
    answer: await (await fetch(`${config.baseUrl}/instant`, { json: request })).json(),
  }),
});

/** A vendor that keeps jobs until it is told to finish them. */
export const slow = defineAdapter({
  ...manifest,
  name: 'slow',
  title: 'Bench: keeps jobs',
  models: [...manifest.models.map((model) => ({ ...model, taskTypes: [...model.taskTypes] }))],
  async start(request, { fetch, config, callbackUrl }) {
    const { id } = await (await fetch(`${config.baseUrl}/jobs`, { json: { ...request, callbackUrl } })).json();
    return { handle: { v: 1, id } };
  },
  async poll({ id }, { fetch, config }) {
    const job = await (await fetch(`${config.baseUrl}/jobs/${id}`)).json();
    return job.done ? { state: 'succeeded', answer: { text: job.id } } : { state: 'running' };
  },
  async receive({ body }) {
    return { state: 'succeeded', answer: { text: JSON.parse(Buffer.from(body).toString()).id } };
  },
});

/** The same vendor, which nobody listens at. */
export const dead = defineAdapter({
  ...manifest,
  name: 'dead',
  title: 'Bench: is dead',
  models: [...manifest.models.map((model) => ({ ...model, taskTypes: [...model.taskTypes] }))],
  start: async (request, { fetch, config }) => ({
    answer: await (await fetch(`${config.baseUrl}/dead`, { json: request })).json(),
  }),
  // Its errors are documented as "not accepted", so that they are retried.
  classify: (_error, phase) =>
    phase === 'start' ? { class: 'retryable', code: 'DOWN', message: 'the vendor is down' } : undefined,
});
