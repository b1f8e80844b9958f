import { type Adapter, AdapterFailure, type CallbackRequest, defineAdapter, NetworkFailure, z } from 'atelier/adapter';

/** A job at the vendor. */
interface Job {
  key: string;
  secret: string;
  done: boolean;
  polls: number;
}

/** A vendor in this process, and the adapter for it: what it does is the test's to say. */
export interface Vendor {
  adapter: Adapter;
  /** Keys of the paid calls that reached it, in order, with the secret that each used. */
  starts: { key: string; secret: string }[];
  /** The most jobs that it had at once. */
  mostAtOnce(): number;
  /** Jobs are done at this look; Infinity: not before {@link Vendor.finishAll}. Default 1. */
  doneAtPoll: number;
  /** What becomes of the next paid calls, in order: the answer is lost after the job was taken in, or before, or something is thrown. */
  next: ('lost' | 'never arrived' | Error)[];
  finishAll(): void;
  /** Lets paid calls wait until the function that it gives is called. */
  hold(): () => void;
  jobs: Job[];
  cancels: string[];
}

const options = z.strictObject({
  usage: z.boolean().default(true).describe('Whether the vendor tells what was used.'),
});

export function vendorAdapter(manifest: Partial<Adapter> = {}): Vendor {
  let gate: Promise<void> | undefined;
  let most = 0;
  const vendor: Vendor = {
    starts: [],
    doneAtPoll: 1,
    next: [],
    jobs: [],
    cancels: [],
    mostAtOnce: () => most,
    finishAll: () => {
      vendor.doneAtPoll = 0;
    },
    hold() {
      let release = () => {};
      gate = new Promise((resolve) => {
        release = () => {
          gate = undefined;
          resolve();
        };
      });
      return () => release();
    },
    adapter: defineAdapter({
      name: 'vendor',
      contract: 1,
      version: '1.0.0',
      title: 'A vendor in the tests',
      runs: 'vendor',
      resubmit: 'never',
      secrets: { VENDOR_KEY: { title: 'its key', required: false } },
      visibleAfterMs: 300,
      startTimeoutMs: 1_000,
      models: [{ id: 'one', taskTypes: ['generate_text'], options }],
      transformers: {
        generate_text: {
          toProvider: (input: any) => ({ request: { prompt: input.prompt, ...input.options }, warnings: [] }),
          fromProvider: (answer: { text: string; usage: boolean }) => ({
            outputs: [{ kind: 'TEXT', from: { text: answer.text } }],
            result: { text: answer.text },
            usage: answer.usage ? [{ unit: 'token', quantity: 100 }] : undefined,
            cost: { amount: '0.0032', currency: 'USD' },
          }),
        },
      },
      async start(_request, context) {
        const outcome = vendor.next.shift();
        if (outcome instanceof Error) throw outcome;
        const job = { key: context.attemptKey, secret: context.secrets.VENDOR_KEY ?? '', done: false, polls: 0 };
        vendor.starts.push({ key: job.key, secret: job.secret });
        const known = vendor.jobs.find(({ key }) => key === job.key);
        if (!known && outcome !== 'never arrived') vendor.jobs.push(job);
        most = Math.max(most, vendor.jobs.filter(({ done }) => !done).length);
        if (outcome) throw new NetworkFailure('the connection broke', { sent: 'maybe' });
        if (gate) await gate;
        context.signal.throwIfAborted();
        return { handle: { v: 1, key: job.key }, pollAfterMs: 10 };
      },
      async poll({ key }, context) {
        const job = vendor.jobs.find((each) => each.key === key);
        if (!job) throw new AdapterFailure({ class: 'expired', code: 'JOB_GONE', message: 'no such job' });
        if (job.secret !== (context.secrets.VENDOR_KEY ?? '')) throw new Error('another account asks for this job');
        if (++job.polls < vendor.doneAtPoll) return { state: 'running', progress: 0.5 };
        job.done = true;
        return { state: 'succeeded', answer: { text: `made for ${job.key}`, usage: true } };
      },
      async cancel({ key }) {
        vendor.cancels.push(key as string);
        return 'cancelled';
      },
      ...manifest,
    }),
  };
  return vendor;
}

/** `receive` of a vendor that signs with the word "true" in a header. A body of `null` says nothing about the outcome. */
export async function receive(request: CallbackRequest) {
  if (request.headers['x-signature'] !== 'true')
    throw new AdapterFailure({ class: 'authentication', code: 'FORGED', message: 'the signature does not fit' });
  const answer = JSON.parse(Buffer.from(request.body).toString('utf8'));
  return answer && { state: 'succeeded' as const, answer };
}
