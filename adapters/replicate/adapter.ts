import {
  type AdapterContext,
  AdapterFailure,
  type Asked,
  classifyExchange,
  defineAdapter,
  type Handle,
  isHttpFailure,
} from 'atelier/adapter';
import { type Config, config, replicateUrl } from './config.ts';
import { modelOf, modelsOf } from './models.ts';
import { newLines, observe, type Prediction, refusalOf } from './prediction.ts';
import { type Request, transformers } from './transformers.ts';
import { verify } from './webhook.ts';

const hostOf = (url: string): string => new URL(url).host;
const authorization = ({ secrets }: { secrets: Record<string, string> }) => ({
  authorization: `Bearer ${secrets.REPLICATE_API_TOKEN}`,
});
/** Replicate advises data URIs up to here; it does not store them. */
const maxDataUriBytes = 256 * 1024;
const uploadTimeoutMs = 5 * 60_000;
const shortestDeadlineSeconds = 5;

/** Enough to find a prediction again; what it was asked for, which its answer does not say; how much of its log was told, in characters. */
type ReplicateHandle = { v: 1; id: string; asked: Asked; told?: number };

function readHandle(handle: Handle): ReplicateHandle {
  if (handle.v === 1) return handle as ReplicateHandle;
  throw new AdapterFailure({ class: 'bug', code: 'UNKNOWN_HANDLE', message: `a handle of version ${handle.v}` });
}

/** `deployments/owner/name`, `owner/name:version` and `owner/name` are three doors to the same. */
function doorOf(model: string): { path: string; version?: string } {
  const [name = '', version] = model.split(':');
  if (name.startsWith('deployments/')) return { path: `${name}/predictions` };
  return version ? { path: 'predictions', version } : { path: `models/${name}/predictions` };
}

const predictionUrl = ({ config: { baseUrl } }: AdapterContext<Config>, id: string) =>
  `${baseUrl}/predictions/${encodeURIComponent(id)}`;

/** Replicate: https://replicate.com/docs/reference/http */
export default defineAdapter<Config>({
  name: 'replicate',
  contract: 1,
  version: '1.0.0',
  title: 'Replicate',
  website: 'https://replicate.com',
  secrets: {
    REPLICATE_API_TOKEN: { title: 'API token, from replicate.com/account/api-tokens', required: true },
    REPLICATE_WEBHOOK_SECRET: {
      title: 'Signing secret of webhooks. Default: the API is asked for it',
      required: false,
    },
  },
  config,
  hosts: ({ baseUrl }) => [hostOf(baseUrl)],
  assetHosts: ({ baseUrl, assetHosts }) => [
    hostOf(baseUrl),
    'replicate.delivery',
    '*.replicate.delivery',
    ...assetHosts,
  ],
  privateHosts: ({ baseUrl, assetHosts }) => [...(baseUrl === replicateUrl ? [] : [hostOf(baseUrl)]), ...assetHosts],
  runs: 'vendor',
  resubmit: 'never',
  // A prediction is taken in at once: without `Prefer: wait` nothing in this call waits for the model.
  startTimeoutMs: 60_000,
  limits: { requestsPerSecond: 50 },
  files: 'upload',
  models: (context) => modelsOf(context.config),
  transformers,

  async start({ model, input, asked }: Request, context) {
    const { path, version } = doorOf(model);
    const secondsLeft = Math.floor((context.deadline.getTime() - context.now().getTime()) / 1000);
    const answer = await context
      .fetch(`${context.config.baseUrl}/${path}`, {
        headers: {
          ...authorization(context),
          'cancel-after': `${Math.max(secondsLeft, shortestDeadlineSeconds)}s`,
        },
        json: {
          ...(version && { version }),
          input,
          ...(context.callbackUrl && { webhook: context.callbackUrl, webhook_events_filter: ['completed'] }),
        },
      })
      .catch((error) => {
        throw refusalOf(error, modelOf(context.config, model)) ?? error;
      });
    const id = (await answer.json<Prediction | null>())?.id;
    if (typeof id !== 'string' || id === '')
      throw new AdapterFailure({ class: 'ambiguous', code: 'ANSWER_LOST', message: 'the answer names no prediction' });
    const handle: ReplicateHandle = { v: 1, id, asked };
    return { handle };
  },

  async poll(handle, context) {
    const { id, asked, told: before = 0 } = readHandle(handle);
    const answer = await context.fetch(predictionUrl(context, id), { headers: authorization(context) });
    const prediction: Partial<Prediction> = (await answer.json()) ?? {};
    const { lines: logs, told } = newLines(prediction, before);
    const seen = observe(prediction, asked);
    if (seen.state === 'running' && told > before) return { ...seen, logs, handle: { ...handle, told } };
    if (seen.state !== 'running') for (const line of logs) context.log('INFO', line);
    return seen;
  },

  async receive(request, handle, context) {
    await verify(request, context);
    const prediction: Prediction = JSON.parse(Buffer.from(request.body).toString('utf8'));
    const known = handle && readHandle(handle);
    // Signed, and about another prediction of the same account: it says nothing about this one.
    if (known && known.id !== prediction.id) return null;
    return observe(prediction, known?.asked ?? {});
  },

  async cancel(handle, context) {
    const { id } = readHandle(handle);
    try {
      const answer = await context.fetch(`${predictionUrl(context, id)}/cancel`, {
        method: 'POST',
        headers: authorization(context),
      });
      const status = (await answer.json<Prediction | null>())?.status;
      if (status === 'canceled' || status === 'aborted') return 'cancelled';
      return status === 'succeeded' || status === 'failed' ? 'too_late' : 'requested';
    } catch (error) {
      if (isHttpFailure(error) && error.status === 404) return 'unknown';
      throw error;
    }
  },

  async upload(file, context) {
    const bytes = await file.bytes();
    if (file.sizeBytes <= maxDataUriBytes)
      return `data:${file.contentType};base64,${Buffer.from(bytes).toString('base64')}`;
    const body = new FormData();
    body.set('content', new Blob([new Uint8Array(bytes)], { type: file.contentType }), file.name);
    const answer = await context.fetch(`${context.config.baseUrl}/files`, {
      headers: authorization(context),
      body,
      timeoutMs: uploadTimeoutMs,
    });
    // The prediction reads it with the account's own rights; it is gone after a day.
    return (await answer.json()).urls.get;
  },

  classify(error, phase) {
    const facts = classifyExchange(error, phase);
    if (facts?.class !== 'rate_limited' || facts.retryAfterMs !== undefined) return facts;
    // A throttled answer tells the seconds in its body too.
    const seconds = isHttpFailure(error) ? error.json()?.retry_after : undefined;
    return typeof seconds === 'number' && seconds >= 0 ? { ...facts, retryAfterMs: seconds * 1000 } : facts;
  },
});
