import { createHmac, randomBytes } from 'node:crypto';
import { setTimeout as pause } from 'node:timers/promises';
import { type Answer, type Emulator, type Seen, startEmulator } from './emulator.ts';
import { contentTypes, type SampleName, samples } from './samples.ts';

interface Prediction {
  id: string;
  model: string;
  version: string;
  status: string;
  input: Record<string, any>;
  output: unknown;
  error: string | null;
  logs: string;
  metrics: Record<string, number>;
  started_at: string | null;
  webhook?: string;
  [field: string]: unknown;
}

/** What becomes of the next prediction. */
export interface Script {
  /** Looks until it is done. Default 1. */
  looks?: number;
  /** Default `succeeded`. */
  status?: string;
  output?: unknown;
  error?: string;
  started?: boolean;
}

/** Replicate's HTTP API, from https://replicate.com/docs/reference/http and https://replicate.com/docs/topics/webhooks. */
export interface ReplicateEmulator extends Emulator {
  /** What the client gives as its base URL. */
  baseUrl: string;
  token: string;
  webhookSecret: string;
  predictions: Map<string, Prediction>;
  /** Bytes of uploaded files, by id. */
  files: Map<string, Buffer>;
  /** For the predictions to come, one each. */
  scripts: Script[];
  /** Whether predictions call their webhook when they end. Default: no. */
  callsBack: boolean;
  /** The prediction that a request has started, ended, with a signed call about it. */
  callback(start: Seen): Promise<{ url: string; headers: Record<string, string>; body: string }>;
}

const ended = ['succeeded', 'failed', 'canceled', 'aborted'];

export async function startReplicate(): Promise<ReplicateEmulator> {
  const token = `r8_${randomBytes(18).toString('hex')}`;
  const webhookSecret = `whsec_${randomBytes(24).toString('base64')}`;
  const predictions = new Map<string, Prediction>();
  const scriptOf = new Map<string, Script>();
  const files = new Map<string, Buffer>();
  const startedBy = new Map<Seen, string>();
  const scripts: Script[] = [];

  const problem = (status: number, title: string, detail: string, more: object = {}): Answer => ({
    status,
    headers: { 'content-type': 'application/problem+json' },
    json: { title, detail, status, ...more },
  });

  function create(request: Seen, model: string, version: string): Answer {
    const { input, webhook, webhook_events_filter } = request.json;
    const needed = model.includes('speech') ? 'text' : 'prompt';
    if (typeof input?.[needed] !== 'string')
      return problem(422, 'Input validation failed', `- input: ${needed} is required\n`, {
        invalid_fields: [{ type: 'required', field: `input.${needed}`, description: `${needed} is required` }],
      });
    const id = randomBytes(13).toString('hex');
    const url = `${emulator.baseUrl}/predictions/${id}`;
    const prediction: Prediction = {
      id,
      model,
      version,
      input,
      logs: '',
      output: null,
      data_removed: false,
      error: null,
      source: 'api',
      status: 'starting',
      metrics: {},
      created_at: new Date().toISOString(),
      started_at: null,
      completed_at: null,
      ...(webhook && { webhook, webhook_events_filter }),
      urls: { web: `https://replicate.com/p/${id}`, get: url, cancel: `${url}/cancel` },
    };
    predictions.set(id, prediction);
    scriptOf.set(id, { ...scripts.shift() });
    startedBy.set(request, id);
    if (emulator.callsBack && webhook) void pause(200).then(() => callBack(prediction));
    return { status: 201, json: prediction };
  }

  /** One step nearer to its end, as time passes. */
  function look(prediction: Prediction): void {
    if (ended.includes(prediction.status)) return;
    const script = scriptOf.get(prediction.id)!;
    script.looks = (script.looks ?? 1) - 1;
    if (script.looks <= 0) {
      end(prediction);
      return;
    }
    prediction.status = 'processing';
    prediction.started_at = new Date().toISOString();
    prediction.logs = 'Using seed: 7\n 50%|█████     | 2/4 [00:00<00:00]';
  }

  function end(prediction: Prediction): void {
    if (ended.includes(prediction.status)) return;
    const { status = 'succeeded', output = outputOf(prediction), error, started = true } = scriptOf.get(prediction.id)!;
    Object.assign(prediction, {
      status,
      logs: 'Using seed: 7\n 50%|█████     | 2/4 [00:00<00:00]\n100%|██████████| 4/4 [00:00<00:00]\nTotal safe images: 1 out of 1\n',
      started_at: started ? new Date().toISOString() : null,
      completed_at: new Date().toISOString(),
      metrics: {
        predict_time: 0.41,
        total_time: 0.52,
        ...(Array.isArray(output) && { output_token_count: output.length }),
      },
    });
    if (status === 'succeeded') prediction.output = output;
    if (error) prediction.error = error;
  }

  function outputOf({ model, input }: Prediction): unknown {
    const file = (name: string) => `${emulator.url}/delivery/${name}`;
    if (model.includes('llama')) return ['The', ' sea', ' is', ' calm', '.'];
    if (model.includes('speech')) return file('speech.wav');
    if (model.includes('wan') || model.includes('kling')) return file('film.mp4');
    return Array.from({ length: input.num_outputs ?? 1 }, (_, index) => file(`out-${index}.png`));
  }

  function sign(body: string): Record<string, string> {
    const id = `msg_${randomBytes(12).toString('hex')}`;
    const timestamp = String(Math.floor(Date.now() / 1000));
    const key = Buffer.from(webhookSecret.slice('whsec_'.length), 'base64');
    const signature = createHmac('sha256', key).update(`${id}.${timestamp}.${body}`).digest('base64');
    return {
      'content-type': 'application/json',
      'webhook-id': id,
      'webhook-timestamp': timestamp,
      'webhook-signature': `v1,${signature}`,
    };
  }

  async function callBack(prediction: Prediction): Promise<void> {
    end(prediction);
    const body = JSON.stringify(prediction);
    await fetch(prediction.webhook!, { method: 'POST', headers: sign(body), body }).catch(() => {});
  }

  function answer(request: Seen): Answer {
    const { method, path } = request;
    const delivered = /^\/delivery\/[^.]+\.(\w+)$/.exec(path)?.[1] as SampleName | undefined;
    if (delivered) return { headers: { 'content-type': contentTypes[delivered] }, body: samples[delivered] };
    if (request.headers.authorization !== `Bearer ${token}`)
      return problem(401, 'Unauthenticated', 'You did not pass a valid authentication token');
    const [, , noun, ...rest] = path.split('/');
    if (method === 'POST' && noun === 'models' && rest[2] === 'predictions')
      return create(request, `${rest[0]}/${rest[1]}`, 'hidden');
    if (method === 'POST' && noun === 'deployments' && rest[2] === 'predictions')
      return create(request, `${rest[0]}/${rest[1]}`, 'a'.repeat(64));
    if (noun === 'predictions') {
      const [id, verb] = rest;
      if (!id && method === 'POST') {
        const [model = '', version = 'hidden'] = String(request.json.version).split(':');
        return create(request, model, version);
      }
      if (!id) return { json: { next: null, previous: null, results: [...predictions.values()].reverse() } };
      const prediction = predictions.get(id);
      if (!prediction) return problem(404, 'Not found', 'Prediction not found');
      if (method === 'POST' && verb === 'cancel') {
        if (!ended.includes(prediction.status)) prediction.status = prediction.started_at ? 'canceled' : 'aborted';
      } else look(prediction);
      return { json: prediction };
    }
    if (noun === 'files' && method === 'POST') {
      const id = randomBytes(13).toString('base64url');
      files.set(id, request.body);
      const type = /name="content"[\s\S]*?content-type: (\S+)/i.exec(request.body.toString('latin1'))?.[1];
      return {
        status: 201,
        json: {
          id,
          name: 'file',
          content_type: type,
          size: request.body.length,
          created_at: new Date().toISOString(),
          expires_at: new Date(Date.now() + 86_400_000).toISOString(),
          urls: { get: `${emulator.baseUrl}/files/${id}` },
        },
      };
    }
    if (path === '/v1/webhooks/default/secret') return { json: { key: webhookSecret } };
    return problem(404, 'Not found', 'The requested resource could not be found');
  }

  const base = await startEmulator(answer);
  const emulator: ReplicateEmulator = Object.assign(base, {
    baseUrl: `${base.url}/v1`,
    token,
    webhookSecret,
    predictions,
    files,
    scripts,
    callsBack: false,
    async callback(start: Seen) {
      while (!startedBy.has(start)) await pause(10);
      const prediction = predictions.get(startedBy.get(start)!)!;
      end(prediction);
      const body = JSON.stringify(prediction);
      return { url: prediction.webhook!, headers: sign(body), body };
    },
  });
  return emulator;
}
