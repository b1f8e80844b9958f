import { mkdirSync, rmSync } from 'node:fs';
import { relative } from 'node:path';
import { prepareDatabase, withCore } from '../cli/database.ts';
import { makeKey } from '../cli/key.ts';
import { type ChildServer, startProcess } from '../cli/processes.ts';
import { type Client, createClient } from '../client.ts';
import { freePort } from '../embedded/port.ts';
import { type Stack, startStack } from '../embedded/stack.ts';

export const outputDirectory = 'demo-output';
/** Whoever interrupts a demo does not wait for its last answers. */
const drainSeconds = '2';

/** Private services of a demo, and what stands on them. */
export interface Services {
  stack?: Stack;
  servers: ChildServer[];
}

/** An account to show things with. */
export interface Account {
  client: Client;
  operator: Client;
  accountId: string;
}

/**
 * PURE. What a demo takes over: what sets adapters, plugins and embeddings; never the configured services, as it must not write into
 * anybody's database.
 */
export function demoEnvironment(environment: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  const isService = /^(ATELIER|S3)_|^(DATABASE|REDIS)_URL/;
  // Embeddings on a private host need it among the allowed ones, settings of a plugin's adapter need the plugin.
  const isWanted = /^ATELIER_(ADAPTER|EMBEDDINGS)_|^ATELIER_(PLUGINS|ALLOWED_HOSTS)(_FILE)?$/;
  return Object.fromEntries(
    Object.entries(environment).filter(([name]) => !isService.test(name) || isWanted.test(name)),
  );
}

/** Starts Postgres, Redis, API and worker, all empty. @param services what has been started stands in it at once, for whoever has to stop it. */
export async function startServices(services: Services, title: string): Promise<NodeJS.ProcessEnv> {
  say(`\nAtelier: ${title}, on private services\n\n`);
  const startedAt = performance.now();
  // Nothing of an earlier demo: one that was interrupted would go on, and buy what nobody watches.
  const stack = await startStack({ directory: '.atelier/demo', throwaway: true, environment: {} });
  services.stack = stack;
  const { ATELIER_STORAGE_DIRECTORY: assets } = stack.environment;
  rmSync(assets!, { recursive: true, force: true });
  mkdirSync(assets!);
  const environment = {
    LOG_LEVEL: 'error',
    ...demoEnvironment(process.env),
    ...stack.environment,
    ATELIER_PORT: String(await freePort()),
    ATELIER_DRAIN_SECONDS: drainSeconds,
  };
  await prepareDatabase(environment);
  services.servers = await Promise.all([startProcess('api', environment), startProcess('worker', environment)]);
  const elapsed = ((performance.now() - startedAt) / 1000).toFixed(1);
  say(`  services  Postgres and Redis in ${relative('', stack.directory)}; API and worker are up (${elapsed} s)\n`);
  say(`  endpoint  ${services.servers[0]!.url}/graphql\n`);
  return environment;
}

/** An account with credits and a key, made as an operator makes them: with a key from the command line, over GraphQL. */
export async function openAccount(environment: NodeJS.ProcessEnv, url: string, credits: number): Promise<Account> {
  const { secret } = await withCore(environment, (core) =>
    makeKey(core, { account: 'operator', isNew: true, name: 'demo', scopes: ['tasks:read', 'account', 'operator'] }),
  );
  const operator = createClient({ url, key: secret });
  const { createAccount } = await operator.request(`mutation {
    createAccount(input: { name: "demo" }) { ... on CreateAccountSuccess { account { id } } ... on UserError { code message } }
  }`);
  const accountId = createAccount.account.id;
  const { createApiKey } = await operator.request(
    `mutation ($account: ID!, $credits: Credits!) {
      grantCredits(accountId: $account, amount: $credits, idempotencyKey: "demo", note: "to begin with") { ... on UserError { code message } }
      createApiKey(input: { name: "demo", scopes: ["tasks:read", "tasks:write", "account"], accountId: $account }) {
        ... on CreateApiKeySuccess { secret } ... on UserError { code message }
      }
    }`,
    { account: accountId, credits },
  );
  return { client: createClient({ url, key: createApiKey.secret }), operator, accountId };
}

/** Writes to the terminal. */
export function say(text: string): void {
  process.stdout.write(text);
}
