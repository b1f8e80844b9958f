import {
  type AdapterContext,
  AdapterFailure,
  classifyExchange,
  defineAdapter,
  isHttpFailure,
  z,
} from 'atelier/adapter';
import { type ExampleRequest, exampleOptions, image, type Job } from './image.ts';
import { inProcessVendor, vendorUrl } from './vendor.ts';

const config = z.strictObject({
  enabled: z
    .literal(true)
    .describe('Switches the adapter on: a server without a vendor is for trying things out only.'),
  baseUrl: z
    .url()
    .default(vendorUrl)
    .describe("Where the vendor's API is. Default: the made-up vendor inside this process."),
});

type Context = AdapterContext<z.output<typeof config>>;

/** A job of the vendor. Versioned: a later release has to read what this one wrote. */
const handleSchema = z.object({ v: z.literal(1), id: z.string() });
/** Only the fields that are used, so that the vendor may add others. */
const jobSchema = z.object({ id: z.string(), status: z.string() });

export default defineAdapter({
  name: 'example',
  contract: 1,
  version: '1.0.0',
  title: 'Example (made up; plain colours)',
  website: 'https://vendor.example',
  secrets: { EXAMPLE_API_KEY: { title: 'API key of Example', required: false } },
  config,
  hosts: ({ baseUrl }) => [new URL(baseUrl).host],
  // A server of the operator's own may lie in his network; a public vendor may not pretend to.
  privateHosts: ({ baseUrl }) => (baseUrl === vendorUrl ? [] : [new URL(baseUrl).host]),
  runs: 'vendor',
  resubmit: 'never',
  limits: { concurrency: 20, requestsPerSecond: 10 },
  models: [{ id: 'plain-1', taskTypes: ['generate_image'], options: exampleOptions, typicalMs: 2_000 }],
  transformers: { generate_image: image },

  // The one call that costs something. It is never repeated: Atelier decides what follows when it fails.
  async start(request: ExampleRequest, context: Context) {
    const answer = await call(context, '/v1/jobs', { json: request });
    const job = jobSchema.safeParse(await answer.json());
    // The vendor said yes in words that nobody documents: a job may be running, and be paid for.
    if (!job.success)
      throw new AdapterFailure({ class: 'ambiguous', code: 'ANSWER_LOST', message: 'the answer names no job' });
    return { handle: { v: 1, id: job.data.id }, pollAfterMs: 1_000 };
  },

  // One look. What goes wrong with the request is thrown, and Atelier looks again; what is wrong with the job is an observation.
  async poll(handle, context: Context) {
    const { id } = handleSchema.parse(handle);
    const job: Job | null = await (await call(context, `/v1/jobs/${encodeURIComponent(id)}`)).json();
    switch (job?.status) {
      case 'waiting':
        return { state: 'queued', position: job.position };
      case 'done':
        return { state: 'succeeded', answer: job };
      case 'failed':
        return { state: 'failed', failure: failureOf(job) };
      case 'stopped':
        return { state: 'cancelled' };
      default:
        // `working`, and every word that the vendor will invent: the deadline ends what never ends.
        return { state: 'running', progress: job?.progress };
    }
  },

  async cancel(handle, context: Context) {
    const { id } = handleSchema.parse(handle);
    try {
      await call(context, `/v1/jobs/${encodeURIComponent(id)}`, { method: 'DELETE' });
      return 'cancelled';
    } catch (error) {
      if (!isHttpFailure(error)) throw error;
      if (error.status === 409) return 'too_late';
      if (error.status === 404) return 'unknown';
      throw error;
    }
  },

  // Only what the vendor documents; the rest is judged by the status.
  classify(error, phase) {
    const facts = classifyExchange(error, phase);
    if (!facts || !isHttpFailure(error)) return facts;
    const code = error.json()?.error?.code;
    if (code === 'prompt_refused') return { ...facts, class: 'content_policy', code: 'CONTENT_POLICY' };
    if (code === 'overloaded') return { ...facts, class: 'retryable', code: 'PROVIDER_OVERLOADED', billed: 'nothing' };
    return facts;
  },
});

/** To a vendor that is real, this is `context.fetch(…)` alone. */
function call(context: Context, path: string, options: { method?: 'DELETE'; json?: unknown } = {}) {
  const { baseUrl } = context.config;
  const fetch = baseUrl === vendorUrl ? inProcessVendor(context) : context.fetch;
  return fetch(`${baseUrl}${path}`, {
    ...options,
    headers: { authorization: `Bearer ${context.secrets.EXAMPLE_API_KEY ?? ''}` },
  });
}

function failureOf({ error }: Job) {
  const message = error?.message ?? 'the job failed';
  if (error?.code === 'prompt_refused')
    return { class: 'content_policy', code: 'CONTENT_POLICY', message, billed: 'nothing' } as const;
  return { class: 'permanent', code: 'PROVIDER_FAILED', message, billed: 'nothing' } as const;
}
