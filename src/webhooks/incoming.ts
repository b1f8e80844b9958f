import { createHash } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Core } from '../core.ts';
import type { Task } from '../db.ts';
import { toId } from '../id.ts';
import { readCallbackToken } from '../lifecycle/callback.ts';
import { adapterContext } from '../lifecycle/context.ts';
import { storableJson } from '../lifecycle/storable.ts';
import { redacted } from '../redact.ts';
import type { LoadedAdapter } from '../registry.ts';
import { type CallbackRequest, type Handle, isAdapterFailure } from '../sdk/index.ts';

/** The most that a vendor may send. */
const maxBytes = 1024 * 1024;
/** For the body to come, and for the adapter to verify it. */
const patienceMs = 10_000;

/**
 * `POST /providers/:adapter/callback/:token`: a vendor's word about a job. The token names the attempt, and the adapter verifies the signature; then the call is
 * stored, each once, and a worker takes it from there. Early, late and repeated ones are welcome and do no harm.
 *
 * 202: taken (or not needed any more). 401: forged or stale. 404: no such adapter. 405, 413: no POST, too large. 503: cannot be stored or verified now; send it again.
 */
export async function answerCallback(core: Core, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const say = (status: number, error?: string) => {
    // What is left of a body that is too large, nobody reads.
    const close = status === 413 ? { connection: 'close' } : {};
    response.writeHead(status, { 'content-type': 'application/json', ...close });
    response.end(JSON.stringify(error === undefined ? {} : { error }));
  };
  const url = new URL(request.url ?? '/', 'http://atelier');
  const [, , name = '', verb, token = '', ...rest] = url.pathname.split('/');
  const loaded = core.registry.adapter(name);
  if (!loaded?.adapter.receive || loaded.disabled || verb !== 'callback' || rest.length > 0)
    return say(404, 'no adapter of this name takes callbacks here');
  if (request.method !== 'POST') return say(405, 'POST it');
  const subject = readCallbackToken(core, name, token);
  if (!subject) return say(401, 'this URL was not made here');
  const body = await readBody(request).catch((error) => {
    core.log.warn({ provider: name }, `a callback broke off: ${error.message}`);
    return null;
  });
  if (body === null) return void response.destroy();
  if (!body) return say(413, `at most ${maxBytes} bytes`);
  const callback = { headers: plain(request.headers), query: Object.fromEntries(url.searchParams), body };
  try {
    say(await keep(core, loaded, subject, callback));
  } catch (error) {
    const forged = isAdapterFailure(error) && error.facts.class === 'authentication';
    const why = loaded.credentials.reduce((text, { secrets }) => redacted(secrets)(text), String(error));
    core.log.warn({ provider: name, taskId: toId('Task', subject.taskId) }, `a callback was not taken: ${why}`);
    if (forged) say(401, 'the signature does not fit');
    else say(503, 'it cannot be taken now; send it again');
  }
}

async function keep(
  core: Core,
  loaded: LoadedAdapter,
  { taskId, attempt }: { taskId: string; attempt: number },
  callback: CallbackRequest,
): Promise<number> {
  const [task] = await core.db.sql<Task & { handle: Handle | null }>(
    `select t.*, a.handle from task t join attempt a on a.task_id = t.id and a.number = t.attempt
     where t.id = $1 and t.attempt_key = t.id || '-' || $2 and t.status = 'PROCESSING'`,
    [taskId, attempt],
    'callback_task',
  );
  // Too late to matter: the vendor need not send it again.
  if (!task) return 202;
  const signal = AbortSignal.timeout(patienceMs);
  const context = adapterContext(core, { task, loaded, signal, report: silent, now: new Date() });
  try {
    const verified = (async () => loaded.adapter.receive!(callback, task.handle, context))();
    const late = new Promise<never>((_, reject) => signal.addEventListener('abort', () => reject(signal.reason)));
    await Promise.race([verified, late]);
  } finally {
    await context.close();
  }
  const digest = createHash('sha256').update(callback.body).digest('hex');
  const [row] = await core.db.sql<{ kept: string }>(
    'select callback_keep($1, $2, $3, $4, $5, $6) as kept',
    [taskId, task.attempt, digest, storableJson(callback.headers), storableJson(callback.query), callback.body],
    'callback_keep',
  );
  if (row?.kept === 'kept') core.bus.wake('polls', {});
  return 202;
}

/** What the adapter tells while it verifies, it tells again when the callback is applied. */
const silent = { log: () => {}, progress: () => {} };

/** Undefined: too large. */
async function readBody(request: IncomingMessage): Promise<Buffer | undefined> {
  const chunks: Buffer[] = [];
  let size = 0;
  const cut = setTimeout(() => request.destroy(), patienceMs);
  try {
    for await (const chunk of request) {
      size += chunk.length;
      if (size > maxBytes) return undefined;
      chunks.push(chunk);
    }
  } finally {
    clearTimeout(cut);
  }
  return Buffer.concat(chunks);
}

function plain(headers: IncomingMessage['headers']): Record<string, string> {
  return Object.fromEntries(Object.entries(headers).map(([name, value]) => [name, [value].flat().join(', ')]));
}
