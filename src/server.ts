import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { watchKeys } from './access.ts';
import type { Core } from './core.ts';
import { ConfigError } from './errors.ts';
import { buildSchema } from './graph/schema.ts';
import { openWebSockets } from './graph/websocket.ts';
import { createGraphYoga } from './graph/yoga.ts';
import { openEvents } from './lifecycle/events.ts';
import { createMetrics, type Metrics } from './metrics.ts';
import { openModels } from './models.ts';
import { openRunEvents } from './pipelines/events.ts';
import { seedPipelines } from './pipelines/seed.ts';
import { createProbes, say } from './probes.ts';
import { openStreams } from './streams.ts';
import { answerCallback } from './webhooks/incoming.ts';

export interface Server {
  /** Where it listens, as http://127.0.0.1:4000. */
  url: string;
  port: number;
  /**
   * Takes no more connections, cuts event streams (without `complete`) and WebSockets (1001), so that clients go elsewhere,
   * answers what is under way, and ends; after 10 s without waiting any longer.
   */
  close(): Promise<void>;
}

const drainMs = 10_000;

/**
 * Process 1: GraphQL over HTTP, SSE and WebSocket on /graphql; /files of a storage directory; vendors' callbacks below /providers;
 * /healthz, /readyz, /metrics.
 * Without ATELIER_PUBLIC_URL, `core.publicUrl` is set to where it listens.
 * @throws ConfigError for a task type that does not fit into the schema or a port that is taken.
 */
export async function startServer(core: Core): Promise<Server> {
  const schema = buildSchema(core.registry);
  await seedPipelines(core).catch((err) => {
    if (err instanceof ConfigError) throw err;
    core.log.warn({ err }, 'pipelines and agents were not kept; the next process that starts does it');
  });
  const models = await openModels(core);
  const events = await openEvents(core);
  const runEvents = await openRunEvents(core);
  const metrics = createMetrics(core);
  const services = { core, events, runEvents, metrics };
  const streams = openStreams(core, metrics);
  const yoga = createGraphYoga(schema, services, streams);
  const sockets = openWebSockets(yoga, services, streams);
  // Not waited for: while Redis is away a revoked key is refused a few seconds later, that is all.
  const keys = watchKeys(core, streams.check);
  keys.catch((error) => core.log.warn({ err: error }, 'revoked keys are heard of late'));
  let closing = false;
  const probes = createProbes(core, metrics, () => closing);

  const routes: Record<string, (request: IncomingMessage, response: ServerResponse) => unknown> = {
    graphql: (request, response) => yoga(request, response),
    healthz: (_request, response) => probes.healthz(response),
    readyz: (_request, response) => probes.readyz(response),
    metrics: (_request, response) => probes.metrics(response),
    providers: (request, response) => answerCallback(core, request, response),
    files: (request, response) =>
      core.storage.answer ? core.storage.answer(request, response) : say(response, 404, { error: 'no such path' }),
  };

  const server = createServer(async (request, response) => {
    const path = firstSegment(request);
    const route = Object.hasOwn(routes, path) ? routes[path] : undefined;
    observe(metrics, route ? path : 'other', response);
    if (closing) response.setHeader('connection', 'close');
    try {
      await (route ? route(request, response) : say(response, 404, { error: 'no such path; GraphQL is at /graphql' }));
    } catch (error) {
      core.log.error({ err: error, path }, 'a request failed');
      if (response.headersSent) response.destroy();
      else say(response, 500, { error: 'something went wrong; it has been logged' });
    }
  });
  server.on('upgrade', (request, socket, head) => {
    socket.on('error', () => socket.destroy());
    if (firstSegment(request) === 'graphql' && !closing) sockets.upgrade(request, socket, head);
    else socket.end('HTTP/1.1 404 Not Found\r\nConnection: close\r\n\r\n');
  });

  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(core.config.ATELIER_PORT, core.config.ATELIER_HOST, resolve);
  }).catch(async (error) => {
    await Promise.all([events.close(), runEvents.close(), streams.close(), models.close()]);
    if (error.code !== 'EADDRINUSE') throw error;
    const { ATELIER_PORT } = core.config;
    throw new ConfigError(`port ${ATELIER_PORT} is taken; set ATELIER_PORT to another, or 0 for any free one`);
  });
  const { port } = server.address() as AddressInfo;
  const url = `http://${reachable(core.config.ATELIER_HOST)}:${port}`;
  if (!core.config.ATELIER_PUBLIC_URL) core.publicUrl = url;

  return {
    url,
    port,
    async close() {
      closing = true;
      const ended = new Promise((resolve) => server.close(resolve));
      await streams.close();
      await sockets.close();
      server.closeIdleConnections();
      const cut = setTimeout(() => server.closeAllConnections(), drainMs);
      await ended;
      clearTimeout(cut);
      await models.close();
      await Promise.all([events.close(), runEvents.close()]);
      (await keys.catch(() => null))?.();
    },
  };
}

const nested = ['files', 'providers'];

/** `graphql` of /graphql, /graphql/ and /graphql?query=…; `files` of everything below /files/. */
function firstSegment({ url = '/' }: IncomingMessage): string {
  const [path] = url.split('?', 1);
  const [, first = '', ...rest] = path!.split('/');
  return nested.includes(first) || rest.join('') === '' ? first : 'other';
}

function observe(metrics: Metrics, path: string, response: ServerResponse): void {
  const end = metrics.httpSeconds.startTimer({ path });
  response.once('close', () => {
    const stream = String(response.getHeader('content-type') ?? '').startsWith('text/event-stream');
    if (!stream) end({ status: response.statusCode });
  });
}

/** All addresses are no address to call. */
const reachable = (host: string): string =>
  host === '0.0.0.0' || host === '::' ? '127.0.0.1' : host.includes(':') ? `[${host}]` : host;
