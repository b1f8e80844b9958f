import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { freePort } from '../../src/embedded/port.ts';

const rounds = 3;

/** From `npm start` to the first answered query, with dependencies and database there; the first round makes the latter. */
export async function benchStart(): Promise<void> {
  for (let round = 0; round <= rounds; round++) {
    const port = await freePort();
    const begun = performance.now();
    const child = spawn('npm', ['start'], {
      env: { ...process.env, ATELIER_PORT: String(port), LOG_LEVEL: 'warn' },
      stdio: ['ignore', 'pipe', 'inherit'],
      detached: true,
    });
    let output = '';
    child.stdout.on('data', (chunk) => {
      output += chunk;
    });
    let ms = 0;
    while (!ms && child.exitCode === null) {
      const key = /atl_[A-Za-z0-9]+/.exec(output)?.[0];
      const answer = key && (await ask(`http://127.0.0.1:${port}/graphql`, key));
      if (answer) ms = performance.now() - begun;
      else await new Promise((resolve) => setTimeout(resolve, 10));
    }
    process.kill(-child.pid!, 'SIGINT');
    await once(child, 'exit');
    console.log(
      `  ${round === 0 ? 'first start here' : `start ${round}`}: ${(ms / 1000).toFixed(2)} s to the first answered query`,
    );
  }
}

async function ask(url: string, key: string): Promise<boolean> {
  const body = JSON.stringify({ query: '{ health { status } }' });
  const headers = { 'content-type': 'application/json', authorization: `Bearer ${key}` };
  const response = await fetch(url, { method: 'POST', headers, body }).catch(() => undefined);
  return response?.ok === true && (await response.json()).data?.health != null;
}
