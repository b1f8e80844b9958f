import { createServer, type ServerResponse } from 'node:http';
import type { Core } from './core.ts';
import { checkPostgres, checkRedis } from './health.ts';

/** What an orchestrator and Prometheus ask a process. */
export type Probes = Record<'healthz' | 'readyz' | 'metrics', (response: ServerResponse) => unknown>;

/** @param isClosing a process that is going is alive, and no longer ready. */
export function createProbes(
  core: Core,
  metrics: { read(): Promise<{ contentType: string; text: string }> },
  isClosing: () => boolean,
): Probes {
  return {
    healthz: (response) => say(response, 200, { status: 'ok' }),
    /** Ready while Postgres answers; without Redis it is degraded, and still ready. */
    async readyz(response) {
      const [postgres, redis] = await Promise.all([checkPostgres(core), checkRedis(core)]);
      const closing = isClosing();
      const ready = postgres === 'HEALTHY' && !closing;
      const status = !ready ? 'DOWN' : redis === 'HEALTHY' ? 'HEALTHY' : 'DEGRADED';
      say(response, ready ? 200 : 503, { status, postgres, redis, closing });
    },
    async metrics(response) {
      const { contentType, text } = await metrics.read();
      response.writeHead(200, { 'content-type': contentType }).end(text);
    },
  };
}

/** Serves the probes on a port of their own, for a process that has no other. @returns a function that ends it. */
export async function serveProbes(core: Core, probes: Probes, port: number): Promise<() => void> {
  const server = createServer(async (request, response) => {
    const path = request.url?.split('?')[0]?.slice(1) ?? '';
    const probe = Object.hasOwn(probes, path) ? probes[path as keyof Probes] : undefined;
    try {
      await (probe ? probe(response) : say(response, 404, { error: `there are /${Object.keys(probes).join(', /')}` }));
    } catch (error) {
      core.log.error({ err: error, path }, 'a probe failed');
      response.destroy();
    }
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, core.config.ATELIER_HOST, resolve);
  });
  return () => {
    server.close();
    server.closeAllConnections();
  };
}

export function say(response: ServerResponse, status: number, body: object): void {
  response
    .writeHead(status, { 'content-type': 'application/json; charset=utf-8', 'cache-control': 'no-store' })
    .end(`${JSON.stringify(body)}\n`);
}
