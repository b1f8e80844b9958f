import { relative, resolve } from 'node:path';
import { prepareDatabase, withCore } from './cli/database.ts';
import { type Download, downloadResults } from './cli/download.ts';
import { catchInterrupt } from './cli/interrupt.ts';
import { makeKey } from './cli/key.ts';
import { type ChildServer, startProcess } from './cli/processes.ts';
import { openProgress, type ProgressLine } from './cli/progress.ts';
import { renderTable } from './cli/table.ts';
import { type Client, createClient, type TaskFacts } from './client.ts';
import { freePort } from './embedded/port.ts';
import { type Stack, startStack } from './embedded/stack.ts';
import { ConfigError, OutsideError } from './errors.ts';

const outputDirectory = 'demo-output';
const grantedCredits = 1_000;

/** One task of each type, in the order of the table. `from`: takes the asset of another one's result as `input[field]`. */
const tasks: { type: string; input: object; from?: { type: string; field: string } }[] = [
  {
    type: 'generate_image',
    input: { prompt: 'A lighthouse on a cliff at dawn, long shadows, calm sea', width: 960, height: 540, seed: 7 },
  },
  {
    type: 'generate_video',
    input: {
      sceneDescription: 'The lamp of a lighthouse sweeps over the bay while the sun comes up',
      cameraAngle: 'slow dolly in',
      lighting: 'golden hour',
      durationSeconds: 4,
      aspectRatio: '16:9',
      seed: 7,
    },
    from: { type: 'generate_image', field: 'storyboardAssetIds' },
  },
  {
    type: 'generate_character_voice',
    input: { text: 'Good morning. The lamp is lit, the sea is calm, and your render is ready.', language: 'en' },
  },
  {
    type: 'process_audio',
    input: { operation: 'NORMALIZE', targetLoudnessLufs: -16, options: { format: 'mp3' } },
    from: { type: 'generate_character_voice', field: 'sourceAssetIds' },
  },
  {
    type: 'render_animation',
    input: { description: 'A paper boat drifts across the bay', durationSeconds: 3, framesPerSecond: 24, seed: 7 },
  },
  {
    type: 'generate_text',
    input: { prompt: 'Describe the lighthouse keeper for the cast list, in three sentences.', maxTokens: 200 },
  },
  {
    type: 'test_prompt',
    input: {
      template: 'Write one line of dialogue for {{name}}, who is {{mood}}.',
      variables: { name: 'Ada', mood: 'cheerful' },
      expectations: ['Ada', '!{{'],
    },
  },
];

interface Finished {
  task: TaskFacts;
  downloads: Download[];
}

const { interrupted } = catchInterrupt();
let stack: Stack | undefined;
let servers: ChildServer[] = [];
// While services start there is nothing to end in order: what was started ends with this process.
interrupted.then((code) => servers.length > 0 || process.exit(code));

const code = await Promise.race([interrupted, run().catch(explain)]);
await Promise.all(servers.map((server) => server.stop()));
await stack?.close();
process.exit(code);

/** @returns the exit code: 0 when every task was COMPLETED and the ledger adds up. */
async function run(): Promise<number> {
  const environment = await startServices();
  const { client, operator, accountId } = await openAccount(environment, servers[0]!.url);
  say(`  account   ${accountId}, ${grantedCredits} credits granted\n\n`);
  const startedAt = performance.now();
  const finished = await runTasks(client);
  const seconds = ((performance.now() - startedAt) / 1000).toFixed(1);
  showResults(finished);
  const isBalanced = await showLedger(operator, accountId);
  const failed = finished.filter(({ task }) => task.status !== 'COMPLETED').length;
  say(
    `\n${finished.length - failed} of ${finished.length} tasks completed in ${seconds} s; results are in ${outputDirectory}/\n`,
  );
  return failed === 0 && isBalanced ? 0 : 1;
}

async function startServices(): Promise<NodeJS.ProcessEnv> {
  say('\nAtelier: one task of each type, on private services\n\n');
  const startedAt = performance.now();
  // Never the configured services: a demo must not write into anybody's database.
  const isOurs = (name: string) => /^(ATELIER|S3)_|^(DATABASE|REDIS)_URL/.test(name);
  const rest = Object.fromEntries(Object.entries(process.env).filter(([name]) => !isOurs(name)));
  stack = await startStack({ directory: '.atelier/demo', environment: {} });
  const environment = { LOG_LEVEL: 'error', ...rest, ...stack.environment, ATELIER_PORT: String(await freePort()) };
  await prepareDatabase(environment);
  servers = await Promise.all([startProcess('api', environment), startProcess('worker', environment)]);
  const elapsed = ((performance.now() - startedAt) / 1000).toFixed(1);
  say(`  services  Postgres and Redis in ${relative('', stack.directory)}; API and worker are up (${elapsed} s)\n`);
  say(`  endpoint  ${servers[0]!.url}/graphql\n`);
  return environment;
}

/** An account with credits and a key, made as an operator makes them: with a key from the command line, over GraphQL. */
async function openAccount(
  environment: NodeJS.ProcessEnv,
  url: string,
): Promise<{ client: Client; operator: Client; accountId: string }> {
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
    { account: accountId, credits: grantedCredits },
  );
  return { client: createClient({ url, key: createApiKey.secret }), operator, accountId };
}

/** Submits all tasks, those that build on another one when it is done, and shows how they go on. */
async function runTasks(client: Client): Promise<Finished[]> {
  const progress = openProgress(process.stdout, Math.max(...tasks.map(({ type }) => type.length)));
  const running = new Map<string, Promise<Finished>>();
  for (const { type, input, from } of tasks) {
    const line = progress.add(type);
    running.set(
      type,
      (async () => {
        if (!from) return runTask(client, type, input, line);
        line.update(0, `waits for ${from.type}`);
        const { task } = await running.get(from.type)!;
        return runTask(client, type, { ...input, [from.field]: task.assets.map(({ id }) => id) }, line);
      })(),
    );
  }
  return Promise.all(running.values()).finally(() => progress.stop());
}

async function runTask(client: Client, type: string, input: object, line: ProgressLine): Promise<Finished> {
  const member = type.replace(/_([a-z])/g, (_, letter: string) => letter.toUpperCase());
  const id = await client.createTask({ task: { [member]: input } });
  for await (const { task } of client.taskEvents(id)) {
    line.update(
      task.progress,
      task.status === 'PROCESSING' ? (task.currentStep ?? 'processing') : task.status.toLowerCase(),
    );
  }
  const task = (await client.readTask(id))!;
  return { task, downloads: await downloadResults(task, resolve(outputDirectory), type) };
}

function showResults(finished: Finished[]): void {
  const rows = finished.flatMap(({ task, downloads }, index) => {
    const { cost, status, error, processingTimeMs } = task;
    const end = [cost.quoted, cost.charged, `${((processingTimeMs ?? 0) / 1000).toFixed(1)} s`];
    const { type } = tasks[index]!;
    if (downloads.length === 0) return [[type, `${status}: ${error?.code ?? 'no file'}`, '', ...end]];
    return downloads.map(({ file, facts }, place) => [
      place === 0 ? type : '',
      relative('', file),
      facts,
      ...(place === 0 ? end : ['', '', '']),
    ]);
  });
  say(`\n${renderTable(['type', 'file', 'what it is', 'quoted', 'charged', 'time'], rows)}`);
}

interface Ledger {
  available: number;
  held: number;
  ledger: {
    nodes: {
      leg: string;
      amount: number;
      availableChange: number;
      heldChange: number;
      availableAfter: number;
      task: { type: string } | null;
      note: string | null;
    }[];
  };
}

/** @returns whether the entries add up to the balance. */
async function showLedger(operator: Client, accountId: string): Promise<boolean> {
  const { node } = await operator.request<{ node: Ledger }>(
    `query ($id: ID!) {
      node(id: $id) {
        ... on Account {
          available held
          ledger(first: 100) { nodes { leg amount availableChange heldChange availableAfter note task { ... on BaseTask { type } } } }
        }
      }
    }`,
    { id: accountId },
  );
  const entries = node.ledger.nodes.toReversed();
  const rows = entries.map(({ leg, amount, availableChange, heldChange, availableAfter, task, note }) => [
    leg,
    task?.type.toLowerCase() ?? note ?? '',
    amount,
    availableChange,
    heldChange,
    availableAfter,
  ]);
  say(`\n${renderTable(['ledger', 'for', 'credits', 'available', 'held', 'balance'], rows)}`);
  const sum = (field: 'availableChange' | 'heldChange') => entries.reduce((total, entry) => total + entry[field], 0);
  const isBalanced = sum('availableChange') === node.available && sum('heldChange') === node.held;
  say(`\n  sum of the entries: ${sum('availableChange')} available, ${sum('heldChange')} held; `);
  say(`the account says: ${node.available} and ${node.held}: ${isBalanced ? 'the same' : 'NOT THE SAME'}\n`);
  return isBalanced;
}

function explain(error: unknown): number {
  const isExpected = error instanceof ConfigError || error instanceof OutsideError;
  const words = isExpected ? error.message : error instanceof Error ? error.stack : String(error);
  process.stderr.write(`\nthe demo failed: ${words}\n`);
  return 1;
}

function say(text: string): void {
  process.stdout.write(text);
}
