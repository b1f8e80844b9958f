import { createHash } from 'node:crypto';
import {
  type AdapterContext,
  AdapterFailure,
  type FailureFacts,
  type FetchAnswer,
  type FetchOptions,
  type Handle,
  type HttpFailure,
  isHttpFailure,
  NetworkFailure,
  type Observation,
  type UploadFile,
} from 'atelier/adapter';
import { type Config, workflowOf } from './config.ts';
import { titleOf } from './graph.ts';
import type { ComfyAnswer, ComfyFile, ComfyRequest, Told } from './transform.ts';

/** Where a job is found again. */
export interface ComfyHandle extends Handle {
  v: 1;
  promptId: string;
  /** Whose WebSocket hears of it: a client id of the job's own. */
  clientId: string;
  told: Told;
}

type Context = AdapterContext<Config>;

/** Graphs stand whole in the queue and in the history. */
const maxBytes = 64 * 1024 * 1024;

/**
 * The id of an attempt's job. Current servers take it over (a UUID in lower case and nothing else), older ones give one of their own; the client id,
 * which is the same, is kept beside the job by all.
 */
export function jobIdOf(attemptKey: string): string {
  const digits = createHash('sha256').update(`comfyui ${attemptKey}`).digest('hex');
  // Version 8, the variant of RFC 9562: a UUID whose bits are our own.
  return [
    digits.slice(0, 8),
    digits.slice(8, 12),
    `8${digits.slice(13, 16)}`,
    `8${digits.slice(17, 20)}`,
    digits.slice(20, 32),
  ].join('-');
}

/** A request to the server, with the header that a proxy in front of it may want. */
export function call(context: Context, path: string, options: FetchOptions = {}): Promise<FetchAnswer> {
  const authorization = context.secrets.COMFYUI_AUTHORIZATION;
  return context.fetch(`${context.config.baseUrl}${path}`, {
    maxBytes,
    ...options,
    headers: { ...(authorization && { authorization }), ...options.headers },
  });
}

/** Queues a job. */
export async function enqueue(request: ComfyRequest, context: Context): Promise<ComfyHandle> {
  const id = jobIdOf(context.attemptKey);
  const { graph, filled, told } = request;
  const answer = await call(context, '/prompt', {
    json: { prompt: graph, prompt_id: id, client_id: id, extra_data: { atelier: told } },
  }).catch((error) => {
    throw isHttpFailure(error) ? (refusal(error, filled) ?? error) : error;
  });
  const said = await answer.json();
  const promptId = said?.prompt_id;
  if (typeof promptId !== 'string') throw new NetworkFailure('ComfyUI answered without a prompt_id', { sent: 'maybe' });
  for (const [node, { class_type, errors }] of Object.entries<any>(said.node_errors ?? {}))
    context.log('WARN', `node ${node} (${class_type}) is left out: ${errors?.map(complaint).join('; ')}`);
  return { v: 1, promptId, clientId: id, told };
}

/** The state of a job. */
export async function look(handle: ComfyHandle, context: Context): Promise<Observation<ComfyAnswer>> {
  // The queue first: what leaves it after this is in the history, in the same step.
  const { queue_running: running, queue_pending: pending } = await readQueue(context);
  if (running.some(isJob(handle))) return { state: 'running' };
  const own = pending.find(isJob(handle));
  if (own) return { state: 'queued', position: running.length + pending.filter(([number]) => number < own[0]).length };
  const answer = await call(context, `/history/${handle.promptId}`);
  const entry = (await answer.json())?.[handle.promptId];
  return entry ? outcomeOf(entry, handle, context) : { state: 'failed', failure: gone };
}

/** The job that was queued for an attempt, or null. */
export async function find(attemptKey: string, context: Context): Promise<ComfyHandle | null> {
  const id = jobIdOf(attemptKey);
  const { queue_running: running, queue_pending: pending } = await readQueue(context);
  const queued = [...running, ...pending].find(isOf(id));
  if (queued) return handleOf(queued, id);
  const kept: Record<string, { prompt: Item }> = await (await call(context, `/history/${id}`)).json();
  if (kept[id]) return handleOf(kept[id].prompt, id);
  // A server that gave it an id of its own.
  const latest: typeof kept = await (await call(context, '/history?max_items=200')).json();
  const done = Object.values(latest).find(({ prompt }) => isOf(id)(prompt));
  return done ? handleOf(done.prompt, id) : null;
}

/**
 * Takes a job out of the queue, or interrupts it, and never another's: a current server does it in one step; on an older one the job is seen to be
 * the running one first, and its id goes along with the interrupt.
 */
export async function stop(handle: ComfyHandle, context: Context): Promise<void> {
  try {
    await call(context, `/api/jobs/${handle.promptId}/cancel`, { method: 'POST' });
    return;
  } catch (error) {
    if (!isHttpFailure(error) || (error.status !== 404 && error.status !== 405)) throw error;
  }
  const { queue_running: running, queue_pending: pending } = await readQueue(context);
  if (pending.some(isJob(handle))) await call(context, '/queue', { json: { delete: [handle.promptId] } });
  else if (running.some(isJob(handle))) await call(context, '/interrupt', { json: { prompt_id: handle.promptId } });
}

/** Brings an image into the server's input folder, under a name that its bytes give it: sent twice, it is there once. */
export async function upload(file: UploadFile, context: Context): Promise<string> {
  const bytes = await file.bytes();
  const name = `${createHash('sha256').update(bytes).digest('hex').slice(0, 32)}.${file.name.split('.').at(-1)}`;
  const form = new FormData();
  form.set('image', new Blob([new Uint8Array(bytes)], { type: file.contentType }), name);
  form.set('subfolder', 'atelier');
  form.set('overwrite', 'true');
  const stored = await (await call(context, '/upload/image', { method: 'POST', body: form })).json();
  return stored.subfolder ? `${stored.subfolder}/${stored.name}` : stored.name;
}

/** number (a smaller one runs sooner), prompt id, graph, extra data. */
type Item = [number: number, promptId: string, graph: unknown, extra: { client_id?: string; atelier?: Told }];

const isJob =
  ({ promptId }: ComfyHandle) =>
  (item: Item): boolean =>
    item[1] === promptId;

const isOf =
  (id: string) =>
  (item: Item): boolean =>
    item[1] === id || item[3]?.client_id === id;

const handleOf = (item: Item, clientId: string): ComfyHandle => ({
  v: 1,
  promptId: item[1],
  clientId,
  told: item[3]?.atelier ?? {},
});

async function readQueue(context: Context): Promise<{ queue_running: Item[]; queue_pending: Item[] }> {
  const queue = await (await call(context, '/queue')).json();
  if (Array.isArray(queue?.queue_running) && Array.isArray(queue.queue_pending)) return queue;
  throw new NetworkFailure('what answers at /queue is no ComfyUI', { sent: 'maybe' });
}

/** Its memory is the process's: it was started anew, or somebody cleared it. Nothing was bought, so the job is sent again. */
const gone: FailureFacts = {
  class: 'retryable',
  code: 'JOB_GONE',
  message: 'ComfyUI knows the job no longer; it was restarted, or its history was cleared',
  billed: 'nothing',
};

function outcomeOf(entry: any, handle: ComfyHandle, context: Context): Observation<ComfyAnswer> {
  const status = entry.status?.status_str ?? 'success';
  if (status === 'success')
    return {
      state: 'succeeded',
      answer: {
        ...handle.told,
        files: filesOf(entry.outputs, context),
        authorized: Boolean(context.secrets.COMFYUI_AUTHORIZATION),
      },
    };
  if (status !== 'error') return { state: 'running' };
  const told = new Map<string, any>([entry.status.messages ?? []].flat().filter(Array.isArray) as [string, any][]);
  if (told.has('execution_interrupted')) return { state: 'cancelled' };
  const error = told.get('execution_error') ?? {};
  const where = `node ${error.node_id} (${error.node_type}): ${error.exception_type}: ${error.exception_message}`;
  // ComfyUI has unloaded its models by then: another try finds more room.
  const isMemory = /(^|\.)(OutOfMemoryError|OOM_EXCEPTION|MemoryError)$/.test(error.exception_type ?? '');
  return {
    state: 'failed',
    failure: {
      class: isMemory ? 'retryable' : 'permanent',
      code: isMemory ? 'OUT_OF_MEMORY' : 'WORKFLOW_FAILED',
      message: where.trim(),
      billed: 'nothing',
    },
  };
}

function filesOf(outputs: unknown, { config, model }: Context): ComfyFile[] {
  const { outputs: chosen } = workflowOf(config, model);
  return Object.entries((outputs ?? {}) as Record<string, Record<string, unknown>>)
    .filter(([node]) => !chosen || chosen.includes(node))
    .flatMap(([, made]) => Object.values(made ?? {}).flatMap((list) => (Array.isArray(list) ? list : [])))
    .filter((file) => typeof file?.filename === 'string' && (chosen || file.type === 'output'))
    .map(({ filename, subfolder, type }) => ({ filename, subfolder, type }));
}

/** What a refused graph means: the client's fault where the client's own values are complained of, else the operator's. */
function refusal(failure: HttpFailure, filled: ComfyRequest['filled']): AdapterFailure | undefined {
  const body = failure.json();
  if (failure.status !== 400 || typeof body?.error?.type !== 'string') return undefined;
  const wrong = Object.entries<any>(body.node_errors ?? {}).flatMap(([node, { class_type, errors = [] }]) =>
    errors.map((error: any) => ({
      path: filled[`${node}.${error.extra_info?.input_name}`],
      message: `node ${node} (${class_type}): ${complaint(error)}`,
    })),
  );
  const message = wrong.map((each) => each.message).join('; ') || `${body.error.type}: ${body.error.message}`;
  const issues = wrong.filter((each) => each.path);
  const isClients = issues.length > 0 && issues.length === wrong.length;
  return new AdapterFailure(
    isClients
      ? { class: 'invalid_input', code: 'PROVIDER_REFUSED_INPUT', message, issues, billed: 'nothing' }
      : { class: 'permanent', code: 'WORKFLOW_REFUSED', message, billed: 'nothing' },
    { cause: failure },
  );
}

const complaint = (error: any): string => [error.message, error.details].filter(Boolean).join(': ');

/** The words for a node of the running job, for people. */
export const stepOf = ({ config, model }: Context, node: string): string =>
  titleOf(config.workflows.find(({ id }) => id === model)?.workflow, node);
