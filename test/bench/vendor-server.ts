import { createServer } from 'node:http';

/**
 * A vendor, in a process of its own. POST /jobs, GET /jobs/:id, POST /instant, POST /dead (503); POST /finish ends every job and calls back who asked for it;
 * GET /counts. Its first line on stdout is its port.
 */
const jobs = new Map<string, { id: string; done: boolean; callbackUrl?: string }>();
const counts = { starts: 0, polls: 0, dead: 0, callbacks: 0 };

async function answer(method: string, path: string, body: string): Promise<{ status: number; json: unknown }> {
  if (path === '/instant') return { status: 200, json: { text: 'done' } };
  if (path === '/dead') {
    counts.dead++;
    return { status: 503, json: { error: 'down' } };
  }
  if (path === '/counts') return { status: 200, json: counts };
  if (path === '/finish') {
    void finish();
    return { status: 200, json: {} };
  }
  if (method === 'POST' && path === '/jobs') {
    const id = `job-${++counts.starts}`;
    jobs.set(id, { id, done: false, callbackUrl: JSON.parse(body).callbackUrl });
    return { status: 201, json: { id } };
  }
  counts.polls++;
  const job = jobs.get(path.split('/').at(-1)!);
  return job ? { status: 200, json: { id: job.id, done: job.done } } : { status: 404, json: {} };
}

async function finish(): Promise<void> {
  const open = [...jobs.values()].filter(({ done }) => !done);
  for (const job of open) job.done = true;
  const called = open.filter(({ callbackUrl }) => callbackUrl);
  await Promise.all(
    Array.from({ length: 20 }, async () => {
      for (let job = called.pop(); job; job = called.pop()) {
        const body = JSON.stringify({ id: job.id });
        await fetch(job.callbackUrl!, { method: 'POST', body }).catch(() => {});
        counts.callbacks++;
      }
    }),
  );
}

const server = createServer((request, response) => {
  let body = '';
  request.on('data', (chunk) => {
    body += chunk;
  });
  request.on('end', async () => {
    const { status, json } = await answer(request.method!, request.url!, body);
    response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(json));
  });
});
server.listen(0, '127.0.0.1', () => process.stdout.write(`${(server.address() as { port: number }).port}\n`));
