import { expect, it } from 'vitest';
import { freePort } from '../src/embedded/port.ts';
import { createTestBed } from './kit.ts';

it('answers for a worker on a port of its own, until the worker is down', async () => {
  const port = await freePort();
  const bed = await createTestBed({ environment: { ATELIER_WORKER_PORT: String(port) } });
  const get = (path: string) => fetch(`http://127.0.0.1:${port}/${path}`);
  expect(await (await get('readyz')).json()).toMatchObject({
    status: 'HEALTHY',
    postgres: 'HEALTHY',
    redis: 'HEALTHY',
  });
  expect((await get('healthz')).status).toBe(200);
  expect(await (await get('metrics')).text()).toContain('atelier_worker_running 0');
  expect((await get('nothing')).status).toBe(404);
  await bed.close();
  await expect(get('healthz')).rejects.toThrow();
});
