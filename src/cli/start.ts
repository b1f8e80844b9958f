import { watch } from 'node:fs';
import { relative } from 'node:path';
import { authenticate, createAccount, createApiKey, scopes } from '../access.ts';
import type { Core } from '../core.ts';
import { freePort } from '../embedded/port.ts';
import { keepSecret, readSecret } from '../embedded/secret.ts';
import { type Stack, startStack } from '../embedded/stack.ts';
import { changeCredits } from '../lifecycle/credits.ts';
import { projectPath } from '../project-path.ts';
import { prepareDatabase, withCore } from './database.ts';
import { catchInterrupt } from './interrupt.ts';
import { startDirectory } from './local.ts';
import { type ChildServer, startProcess } from './processes.ts';

const usualPort = 4000;
const developmentCredits = 1_000_000;
const settleMs = 150;

/**
 * `atelier start`: everything on one machine, with private Postgres and Redis where the environment names none, until it
 * is told to stop.
 * @param options.watch restart API and worker when a file in `src/` or `adapters/` changes; services stay up.
 */
export async function start(options: { watch: boolean }): Promise<void> {
  const startedAt = performance.now();
  const { interrupted } = catchInterrupt();
  let isUp = false;
  // What was started until then ends with this process.
  interrupted.then((code) => isUp || process.exit(code));

  const stack = await startStack({ directory: startDirectory(), exclusive: true });
  const environment = await completeEnvironment(stack);
  await prepareDatabase(environment);
  const key = stack.ownsDatabase ? await withCore(environment, (core) => developmentKey(core, stack)) : null;
  let servers = await startServers(environment);
  const url = servers[0]!.url;
  stack.announce({ ATELIER_URL: url, ...(key && { ATELIER_API_KEY: key }) });
  isUp = true;
  process.stdout.write(welcome({ url, key, stack, seconds: (performance.now() - startedAt) / 1000 }));

  let reason: number | 'changed' | Ended;
  do {
    reason = await Promise.race([interrupted, anyEnd(servers), ...(options.watch ? [nextChange()] : [])]);
    if (typeof reason === 'object')
      process.stderr.write(`the ${reason.name} has ended (${reason.how}); stopping the others\n`);
    // The API first: it takes no new work while the worker ends what it has.
    for (const server of servers) await server.stop();
    if (reason === 'changed') servers = await startServers(environment);
  } while (reason === 'changed');
  await stack.close();
  process.exit(typeof reason === 'object' ? 1 : reason);
}

async function completeEnvironment(stack: Stack): Promise<NodeJS.ProcessEnv> {
  // Quiet unless told otherwise: the log is for machines.
  const environment: NodeJS.ProcessEnv = { LOG_LEVEL: 'warn', ...process.env, ...stack.environment };
  environment.ATELIER_PORT ??= String(await freePort(usualPort));
  return environment;
}

function startServers(environment: NodeJS.ProcessEnv): Promise<ChildServer[]> {
  return Promise.all([startProcess('api', environment), startProcess('worker', environment)]);
}

interface Ended {
  name: string;
  /** As "signal SIGKILL". */
  how: string;
}

function anyEnd(servers: ChildServer[]): Promise<Ended> {
  return Promise.race(servers.map(async ({ name, exited }) => ({ name, how: await exited })));
}

/** Resolves when source files have changed and then been still for a moment. */
function nextChange(): Promise<'changed'> {
  return new Promise((resolve) => {
    let timer: NodeJS.Timeout | undefined;
    const watchers = ['src', 'adapters'].map((folder) =>
      watch(projectPath(folder), { recursive: true }, (_, file) => {
        if (file?.startsWith('generated')) return;
        clearTimeout(timer);
        timer = setTimeout(() => {
          for (const watcher of watchers) watcher.close();
          process.stdout.write(`${file} changed: restarting\n`);
          resolve('changed');
        }, settleMs);
      }),
    );
  });
}

/** The key that is kept in the stack's directory; made with its account where it is missing or no longer known. */
async function developmentKey(core: Core, stack: Stack): Promise<string> {
  const file = `${stack.directory}/api-key`;
  const kept = readSecret(file);
  if (kept && (await authenticate(core, `Bearer ${kept}`))) return kept;
  const { account } = await createAccount(core, { name: 'development' });
  const grant = {
    accountId: account.id,
    leg: 'GRANT' as const,
    change: developmentCredits,
    idempotencyKey: 'development',
    note: 'to begin with',
  };
  await changeCredits(core, grant);
  const { secret } = await createApiKey(core, { accountId: account.id, name: 'development', scopes });
  return keepSecret(file, secret);
}

function welcome(facts: { url: string; key: string | null; stack: Stack; seconds: number }): string {
  const { url, key, stack } = facts;
  const command = import.meta.url.endsWith('.ts') ? 'npm run atelier --' : 'npx atelier';
  const mutation =
    'mutation { createTask(input: { task: { generateImage: { prompt: "a lighthouse at dawn" } } }) { ... on CreateTaskSuccess { task { ... on BaseTask { id status } } } ... on UserError { code message } } }';
  const services = ['DATABASE_URL', 'REDIS_URL'].filter((name) => name in stack.environment);
  const where =
    services.length > 0
      ? `private ${services.map((name) => (name === 'REDIS_URL' ? 'Redis' : 'Postgres')).join(' and ')} in ${relative('', stack.directory)}`
      : 'as configured';
  const lines = [
    '',
    `Atelier is up (${facts.seconds.toFixed(1)} s)`,
    '',
    `  GraphQL     ${url}/graphql   HTTP, SSE and WebSocket${stack.environment.ATELIER_GRAPHIQL ? '; GraphiQL in a browser' : ''}`,
    `  API key     ${key ?? 'make one: atelier key create --new-account me'}`,
    `  Services    ${where}`,
    '',
    'A first task, to paste into another terminal:',
    '',
    `  curl -s ${url}/graphql -H 'content-type: application/json' -H 'authorization: Bearer ${key ?? '<API key>'}' \\`,
    `    -d '${JSON.stringify({ query: mutation })}'`,
    '',
    'or, with progress and download:',
    '',
    `  ${command} task create generate_image --input '{"prompt": "a lighthouse at dawn"}' --watch --download .`,
    '',
    'Ctrl-C stops it all.',
    '',
  ];
  return `${lines.join('\n')}\n`;
}
