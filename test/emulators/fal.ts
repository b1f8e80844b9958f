import { createHash, generateKeyPairSync, randomBytes, randomUUID, sign as signBytes } from 'node:crypto';
import { setTimeout as pause } from 'node:timers/promises';
import { type Answer, type Emulator, type Seen, startEmulator } from './emulator.ts';
import { contentTypes, type SampleName, samples } from './samples.ts';

/** What becomes of the next request. */
export interface Script {
  /** Looks until it is done. Default 1; 3: in the queue, at work, done. */
  looks?: number;
  /** In the place of the model's own. */
  result?: unknown;
  /** What the result answers when the job has failed. */
  failure?: Answer;
}

interface Job {
  id: string;
  model: string;
  body: Record<string, any>;
  looks: number;
  done: boolean;
  cancelled: boolean;
  webhook: string | null;
  script: Script;
}

/**
 * fal's queue, storage and webhooks, from https://docs.fal.ai/documentation/model-apis/inference/queue, https://docs.fal.ai/model-endpoints/webhooks
 * and https://docs.fal.ai/errors.
 */
export interface FalEmulator extends Emulator {
  key: string;
  restUrl: string;
  jobs: Map<string, Job>;
  /** Bytes of uploaded files, by path. */
  files: Map<string, Buffer>;
  /** For the requests to come, one each. */
  scripts: Script[];
  /** Whether requests call their webhook when they end. Default: no. */
  callsBack: boolean;
  /** The request that a submit has made, ended, with a signed call about it. */
  callback(start: Seen): Promise<{ url: string; headers: Record<string, string>; body: string }>;
}

export async function startFal(): Promise<FalEmulator> {
  const key = `${randomUUID()}:${randomBytes(16).toString('hex')}`;
  const { privateKey, publicKey } = generateKeyPairSync('ed25519');
  const jobs = new Map<string, Job>();
  const files = new Map<string, Buffer>();
  const scripts: Script[] = [];
  const startedBy = new Map<Seen, string>();

  /** Status, result and cancel know only the owner and the app of a model's id. As behind a proxy, fal names its own host. */
  const urlOf = ({ id, model }: Job) =>
    `https://queue.fal.run/${model.split('/').slice(0, 2).join('/')}/requests/${id}`;

  function submit(request: Seen, model: string): Answer {
    const body = request.json;
    const needed = model.includes('speech') ? 'text' : model.includes('ffmpeg') ? undefined : 'prompt';
    if (needed && typeof body[needed] !== 'string') return refusal('missing', 'Field required', ['body', needed]);
    const id = randomUUID();
    const script = scripts.shift() ?? {};
    const webhook = request.query.get('fal_webhook');
    const job: Job = { id, model, body, looks: script.looks ?? 1, done: false, cancelled: false, webhook, script };
    jobs.set(id, job);
    startedBy.set(request, id);
    if (emulator.callsBack && webhook) void pause(200).then(() => callBack(job));
    const url = urlOf(job);
    return {
      json: {
        status: 'IN_QUEUE',
        request_id: id,
        response_url: url,
        status_url: `${url}/status`,
        cancel_url: `${url}/cancel`,
        queue_position: 1,
      },
    };
  }

  const refusal = (type: string, msg: string, loc: string[]): Answer => ({
    status: 422,
    headers: { 'x-fal-retryable': 'false' },
    json: { detail: [{ loc, msg, type, url: `https://docs.fal.ai/errors/#${type}` }] },
  });

  const logs = [
    { message: 'loading', level: 'INFO', source: 'USER', timestamp: '2026-01-01T00:00:00.000Z' },
    { message: 'denoising', level: 'INFO', source: 'USER', timestamp: '2026-01-01T00:00:01.000Z' },
  ];

  function statusOf(job: Job, withLogs: boolean): { status: string; [field: string]: unknown } {
    const url = urlOf(job);
    const at = {
      request_id: job.id,
      response_url: url,
      status_url: `${url}/status`,
      cancel_url: `${url}/cancel`,
    };
    if (job.done)
      return {
        status: 'COMPLETED',
        ...at,
        ...endingOf(job),
        logs: withLogs ? logs : null,
        metrics: { inference_time: 0.4 },
      };
    if (job.looks > 1) return { status: 'IN_QUEUE', queue_position: job.looks - 2, ...at };
    return { status: 'IN_PROGRESS', ...at, logs: withLogs ? logs.slice(0, 1) : null };
  }

  /** Only a failed request has these. */
  function endingOf(job: Job): { error?: string; error_type?: string } {
    const { status = 200, json } = resultOf(job);
    if (status < 400) return {};
    const { detail, error_type } = json as { detail?: unknown; error_type?: string };
    return {
      error: typeof detail === 'string' ? detail : `Invalid status code: ${status}`,
      ...(error_type && { error_type }),
    };
  }

  function look(job: Job): void {
    job.looks--;
    if (job.looks <= 0) job.done = true;
  }

  function resultOf(job: Job): Answer {
    if (!job.done) return { status: 400, json: { detail: 'Request is still in progress' } };
    const headers = { 'x-fal-request-id': job.id };
    if (job.cancelled)
      return {
        status: 499,
        headers: { ...headers, 'x-fal-error-type': 'client_cancelled' },
        json: { detail: 'Request was cancelled', error_type: 'client_cancelled' },
      };
    if (job.script.failure) return job.script.failure;
    return { headers: { ...headers, 'x-fal-billable-units': '1.05' }, json: job.script.result ?? made(job) };
  }

  function made({ model, body }: Job): unknown {
    const file = (name: string) => ({
      url: `${emulator.url}/media/${name}`,
      content_type: contentTypes[name.split('.')[1] as SampleName],
      file_name: name,
      file_size: 1743,
    });
    if (model.includes('video')) return { video: file('film.mp4') };
    if (model.includes('speech')) return { audio: file('speech.wav'), duration_ms: 1000 };
    if (model.includes('ffmpeg')) return { audio: file('sound.wav') };
    const count = body.num_images ?? 1;
    return {
      images: Array.from({ length: count }, (_, index) => ({ ...file(`out-${index}.png`), width: 1, height: 1 })),
      timings: { inference: 0.4 },
      seed: body.seed,
      has_nsfw_concepts: Array(count).fill(false),
      prompt: body.prompt,
    };
  }

  function bodyOf(job: Job): string {
    job.done = true;
    const { status = 200, json } = resultOf(job);
    const failed = status >= 400;
    return JSON.stringify({
      request_id: job.id,
      gateway_request_id: job.id,
      status: failed ? 'ERROR' : 'OK',
      ...(failed && { error: `Invalid status code: ${status}` }),
      payload: json,
    });
  }

  function sign(id: string, body: string): Record<string, string> {
    const userId = 'github|1234567';
    const timestamp = String(Math.floor(Date.now() / 1000));
    const hash = createHash('sha256').update(body).digest('hex');
    const signature = signBytes(null, Buffer.from([id, userId, timestamp, hash].join('\n')), privateKey);
    return {
      'content-type': 'application/json',
      'x-fal-webhook-request-id': id,
      'x-fal-webhook-user-id': userId,
      'x-fal-webhook-timestamp': timestamp,
      'x-fal-webhook-signature': signature.toString('hex'),
    };
  }

  async function callBack(job: Job): Promise<void> {
    const body = bodyOf(job);
    await fetch(job.webhook!, { method: 'POST', headers: sign(job.id, body), body }).catch(() => {});
  }

  async function* stream(job: Job): AsyncGenerator<string> {
    while (!job.done) {
      yield `data: ${JSON.stringify(statusOf(job, true))}\n\n`;
      await pause(50);
      look(job);
    }
    yield `data: ${JSON.stringify({ ...statusOf(job, true), logs: logs.slice(1) })}\n\n`;
  }

  function answer(request: Seen): Answer {
    const { method, path } = request;
    const sample = /^\/media\/[^.]+\.(\w+)$/.exec(path)?.[1] as SampleName | undefined;
    if (sample) return { headers: { 'content-type': contentTypes[sample] }, body: samples[sample] };
    if (path === '/rest/.well-known/jwks.json') return { json: { keys: [publicKey.export({ format: 'jwk' })] } };
    if (method === 'PUT' && path.startsWith('/upload/')) {
      files.set(path.replace('/upload', '/uploaded'), request.body);
      return { json: {} };
    }
    if (request.headers.authorization !== `Key ${key}`)
      return { status: 401, json: { detail: 'Cannot access application. Authentication is required' } };
    if (path === '/rest/storage/upload/initiate') {
      const name = `${randomUUID()}/${request.json.file_name}`;
      return {
        json: {
          upload_url: `${emulator.url}/upload/${name}?signature=x`,
          file_url: `${emulator.url}/uploaded/${name}`,
        },
      };
    }
    const [, id, verb] = /^\/[^/]+\/[^/]+\/requests\/([^/]+)(\/.+)?$/.exec(path) ?? [];
    if (!id) return method === 'POST' ? submit(request, path.slice(1)) : { status: 404, json: { detail: 'Not found' } };
    const job = jobs.get(id);
    if (method === 'PUT' && verb === '/cancel') {
      if (!job) return { status: 404, json: { status: 'NOT_FOUND' } };
      if (job.done) return { status: 400, json: { status: 'ALREADY_COMPLETED' } };
      job.done = true;
      job.cancelled = true;
      return { status: 202, json: { status: 'CANCELLATION_REQUESTED' } };
    }
    if (!job) return { status: 404, json: { detail: 'Request not found' } };
    if (verb === '/status/stream') return { headers: { 'content-type': 'text/event-stream' }, body: stream(job) };
    if (verb === '/status') {
      look(job);
      return { status: job.done ? 200 : 202, json: statusOf(job, request.query.get('logs') === '1') };
    }
    return resultOf(job);
  }

  const base = await startEmulator(answer);
  const emulator: FalEmulator = Object.assign(base, {
    key,
    restUrl: `${base.url}/rest`,
    jobs,
    files,
    scripts,
    callsBack: false,
    async callback(start: Seen) {
      while (!startedBy.has(start)) await pause(10);
      const job = jobs.get(startedBy.get(start)!)!;
      const body = bodyOf(job);
      return { url: job.webhook!, headers: sign(job.id, body), body };
    },
  });
  return emulator;
}
