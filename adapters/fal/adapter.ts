import {
  type AdapterContext,
  AdapterFailure,
  type Asked,
  defineAdapter,
  type Handle,
  isHttpFailure,
  type Observation,
} from 'atelier/adapter';
import { type Config, config, falUrls } from './config.ts';
import { modelOf, modelsOf } from './models.ts';
import { type Ending, endingOf, failureOf, isCancelled, refusalOf, succeeded } from './result.ts';
import { type Request, transformers } from './transformers.ts';
import { verify } from './webhook.ts';

const hostOf = (url: string): string => new URL(url).host;
const authorization = ({ secrets }: { secrets: Record<string, string> }) => ({
  authorization: `Key ${secrets.FAL_KEY}`,
});
const uploadTimeoutMs = 5 * 60_000;
/** What fal takes in one piece. */
const maxUploadBytes = 90 * 1024 * 1024;
const secondsLeft = ({ deadline, now }: AdapterContext<Config>): number =>
  Math.max(Math.floor((deadline.getTime() - now().getTime()) / 1000), 2);

/** Where a request is found again, as fal said; see {@link at}. */
type FalHandle = {
  v: 1;
  requestId: string;
  statusUrl: string;
  responseUrl: string;
  cancelUrl: string;
  /** What it was asked for: its result does not say that. */
  asked: Asked;
  /** How many lines of its log were told. */
  told?: number;
};

function readHandle(handle: Handle): FalHandle {
  if (handle.v === 1) return handle as FalHandle;
  throw new AdapterFailure({ class: 'bug', code: 'UNKNOWN_HANDLE', message: `a handle of version ${handle.v}` });
}

/**
 * The path that fal named, at the configured address: behind a proxy fal names another, and the key goes to no host but the operator's.
 */
function at(named: string, { config: { baseUrl } }: AdapterContext<Config>): string {
  const { pathname } = new URL(named);
  const prefix = new URL(baseUrl).pathname;
  return `${baseUrl}${prefix !== '/' && pathname.startsWith(`${prefix}/`) ? pathname.slice(prefix.length) : pathname}`;
}

/** Undefined: the operator's config names it no longer. */
const knownModel = ({ config, model }: AdapterContext<Config>) => modelsOf(config).find(({ id }) => id === model);

interface QueueStatus extends Ending {
  status: string;
  queue_position?: number;
  logs?: { message?: unknown }[] | null;
}

const linesOf = ({ logs }: QueueStatus): string[] => (logs ?? []).map(({ message }) => String(message ?? ''));

function observe({ status, queue_position: position }: QueueStatus, logs: string[], handle: FalHandle): Observation {
  if (status === 'IN_QUEUE') return { state: 'queued', position };
  if (logs.length === 0) return { state: 'running' };
  return { state: 'running', logs, handle: { ...handle, told: (handle.told ?? 0) + logs.length } };
}

/** A failure shows only here: the queue calls a job COMPLETED however it ended. */
async function fetchResult(
  { responseUrl, asked }: FalHandle,
  ending: Ending,
  context: AdapterContext<Config>,
): Promise<Observation> {
  try {
    const answer = await context.fetch(at(responseUrl, context), { headers: authorization(context) });
    const billableUnits = answer.headers.get('x-fal-billable-units') ?? undefined;
    return succeeded({ result: (await answer.json()) ?? {}, asked, billableUnits });
  } catch (error) {
    if (isHttpFailure(error) && isCancelled(error, ending)) return { state: 'cancelled' };
    const failure = failureOf(error, knownModel(context), ending);
    if (!failure) throw error;
    return { state: 'failed', failure };
  }
}

/** fal: https://docs.fal.ai/documentation/model-apis/inference/queue */
export default defineAdapter<Config>({
  name: 'fal',
  contract: 1,
  version: '1.0.0',
  title: 'fal',
  website: 'https://fal.ai',
  secrets: { FAL_KEY: { title: 'API key, from fal.ai/dashboard/keys', required: true } },
  config,
  hosts: ({ baseUrl, restUrl, assetHosts }) => [
    hostOf(baseUrl),
    hostOf(restUrl),
    'fal.media',
    '*.fal.media',
    ...assetHosts,
  ],
  assetHosts: ({ baseUrl, assetHosts }) => [hostOf(baseUrl), 'fal.media', '*.fal.media', ...assetHosts],
  privateHosts: ({ baseUrl, restUrl, assetHosts }) => [
    ...(baseUrl === falUrls.baseUrl ? [] : [hostOf(baseUrl)]),
    ...(restUrl === falUrls.restUrl ? [] : [hostOf(restUrl)]),
    ...assetHosts,
  ],
  runs: 'vendor',
  resubmit: 'never',
  // The queue takes a request in at once; nothing in this call waits for the model.
  startTimeoutMs: 60_000,
  files: 'upload',
  models: (context) => modelsOf(context.config),
  transformers,

  async start({ model, body, asked }: Request, context) {
    const url = new URL(`${context.config.baseUrl}/${model}`);
    if (context.callbackUrl) url.searchParams.set('fal_webhook', context.callbackUrl);
    const answer = await context
      .fetch(url.href, {
        headers: {
          ...authorization(context),
          // From here to the start of the work; fal tries ten times unless it is told not to.
          'x-fal-request-timeout': String(secondsLeft(context)),
          'x-fal-no-retry': '1',
          'x-fal-object-lifecycle-preference': JSON.stringify({
            expiration_duration_seconds: context.config.keepSeconds,
          }),
        },
        json: body,
      })
      .catch((error) => {
        throw refusalOf(error, modelOf(context.config, model)) ?? error;
      });
    const { request_id, status_url, response_url, cancel_url } = (await answer.json()) ?? {};
    const urls = [status_url, response_url, cancel_url];
    if (typeof request_id !== 'string' || !urls.every((each) => typeof each === 'string' && URL.canParse(each)))
      throw new AdapterFailure({ class: 'ambiguous', code: 'ANSWER_LOST', message: 'the answer names no request' });
    const handle: FalHandle = {
      v: 1,
      requestId: request_id,
      statusUrl: status_url,
      responseUrl: response_url,
      cancelUrl: cancel_url,
      asked,
    };
    return { handle };
  },

  async poll(handle, context) {
    const known = readHandle(handle);
    const url = new URL(at(known.statusUrl, context));
    url.searchParams.set('logs', '1');
    const answer = await context.fetch(url.href, { headers: authorization(context) });
    const status: QueueStatus = (await answer.json()) ?? {};
    const logs = linesOf(status).slice(known.told ?? 0);
    if (status.status !== 'COMPLETED') return observe(status, logs, known);
    const seen = await fetchResult(known, status, context);
    for (const line of logs) context.log('INFO', line);
    return seen;
  },

  async *follow(handle, context) {
    let known = readHandle(handle);
    const url = new URL(`${at(known.statusUrl, context)}/stream`);
    url.searchParams.set('logs', '1');
    const answer = await context.fetch(url.href, {
      headers: { ...authorization(context), accept: 'text/event-stream' },
      timeoutMs: secondsLeft(context) * 1000,
    });
    for await (const { data } of answer.events()) {
      const status: QueueStatus = JSON.parse(data);
      // Here, other than at a look, each message brings new lines only.
      const seen = observe(status, linesOf(status), known);
      if (seen.state === 'running' && seen.handle) known = seen.handle as FalHandle;
      yield seen;
      // The result is not in the stream: a look fetches it.
      if (status.status === 'COMPLETED') return;
    }
  },

  async receive(request, handle, context) {
    await verify(request, context);
    // A look tells what the webhook leaves out: what is charged, and the kind of an error.
    if (handle) return null;
    return endingOf(JSON.parse(Buffer.from(request.body).toString('utf8')) ?? {}, knownModel(context));
  },

  async cancel(handle, context) {
    try {
      const { cancelUrl } = readHandle(handle);
      await context.fetch(at(cancelUrl, context), { method: 'PUT', headers: authorization(context) });
      return 'requested';
    } catch (error) {
      if (!isHttpFailure(error)) throw error;
      const { status } = error.json() ?? {};
      if (status === 'ALREADY_COMPLETED') return 'too_late';
      if (status === 'NOT_FOUND' || error.status === 404) return 'unknown';
      throw error;
    }
  },

  async upload(file, context) {
    if (file.sizeBytes > maxUploadBytes)
      throw new AdapterFailure({
        class: 'invalid_input',
        code: 'INPUT_TOO_LARGE',
        message: `${file.name} has ${file.sizeBytes} bytes; at most ${maxUploadBytes} go to fal`,
      });
    const lifecycle = JSON.stringify({ expiration_duration_seconds: context.config.keepSeconds });
    const answer = await context.fetch(`${context.config.restUrl}/storage/upload/initiate?storage_type=fal-cdn-v3`, {
      headers: { ...authorization(context), 'x-fal-object-lifecycle': lifecycle },
      json: { content_type: file.contentType, file_name: file.name },
    });
    const { upload_url, file_url } = await answer.json();
    await context.fetch(upload_url, {
      method: 'PUT',
      headers: { 'content-type': file.contentType },
      body: await file.bytes(),
      timeoutMs: uploadTimeoutMs,
    });
    return file_url;
  },
});
