import { relative, resolve } from 'node:path';
import { prepareDatabase, withCore } from './cli/database.ts';
import { type Download, downloadResults } from './cli/download.ts';
import { catchInterrupt } from './cli/interrupt.ts';
import { makeKey } from './cli/key.ts';
import { type ChildServer, startProcess } from './cli/processes.ts';
import { openProgress, type ProgressBoard, type ProgressLine } from './cli/progress.ts';
import { renderTable } from './cli/table.ts';
import { type Client, createClient, type TaskFacts } from './client.ts';
import { freePort } from './embedded/port.ts';
import { type Stack, startStack } from './embedded/stack.ts';
import { ConfigError, OutsideError } from './errors.ts';

const outputDirectory = 'demo-output';
const grantedCredits = 1_000;

const paperBoat = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 640 360">
  <defs>
    <linearGradient id="sky" x1="0" y1="0" x2="0" y2="1">
      <stop offset="0" stop-color="#ff9e7d"/><stop offset="0.6" stop-color="#ffd9a8"/><stop offset="1" stop-color="#fff1d6"/>
    </linearGradient>
    <linearGradient id="sea" x1="0" y1="0" x2="0" y2="1">
      <stop offset="0" stop-color="#3f8ea3"/><stop offset="1" stop-color="#123f5c"/>
    </linearGradient>
  </defs>
  <rect width="640" height="360" fill="url(#sky)"/>
  <circle cx="470" cy="150" r="44" fill="#fff6dc">
    <animate attributeName="cy" values="156;138" dur="3s" fill="freeze"/>
  </circle>
  <path d="M0 214 L70 176 L130 200 L210 160 L300 208 L400 190 L480 212 L640 186 V260 H0 Z" fill="#d98f82" opacity="0.6"/>
  <path d="M-80 222 q40 -12 80 0 t80 0 t80 0 t80 0 t80 0 t80 0 t80 0 t80 0 t80 0 t80 0 V360 H-80 Z" fill="#7fbcc0">
    <animateTransform attributeName="transform" type="translate" values="0 0;60 3;0 0" dur="3s" repeatCount="indefinite"/>
  </path>
  <g>
    <animateTransform attributeName="transform" type="translate" values="150 252;250 243;330 254;420 246" dur="3s" fill="freeze"/>
    <g>
      <animateTransform attributeName="transform" type="rotate" values="-5;6;-5" dur="1.5s" repeatCount="indefinite"
        calcMode="spline" keySplines="0.4 0 0.6 1;0.4 0 0.6 1"/>
      <path d="M0 -92 L46 -6 H-46 Z" fill="#ffffff"/><path d="M0 -92 L46 -6 H0 Z" fill="#dfe6ee"/>
      <path d="M-92 -38 L0 -10 L92 -38 L54 22 H-54 Z" fill="#f6f8fb"/>
      <path d="M92 -38 L0 -10 L14 22 H54 Z" fill="#cfd8e3"/><path d="M-92 -38 L0 -10 L-14 22 H-54 Z" fill="#ffffff"/>
    </g>
  </g>
  <path d="M-120 262 q40 -16 80 0 t80 0 t80 0 t80 0 t80 0 t80 0 t80 0 t80 0 t80 0 t80 0 V360 H-120 Z" fill="url(#sea)">
    <animateTransform attributeName="transform" type="translate" from="0 0" to="80 0" dur="1.5s" repeatCount="indefinite"/>
  </path>
</svg>`;

/** One task of each type, in the order of the table. `from`: takes the asset of another one's result as `input[field]`. */
const tasks: { type: string; input: object; from?: { type: string; field: string } }[] = [
  {
    type: 'generate_image',
    input: {
      prompt: 'A lighthouse on a cliff at dawn, long shadows, calm sea',
      width: 960,
      height: 540,
      seed: 7,
      // It goes on into the video.
      options: { caption: false },
    },
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
    input: {
      description: 'A paper boat drifts across the bay',
      svg: paperBoat,
      durationSeconds: 3,
      framesPerSecond: 24,
      seed: 7,
    },
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

const interrupt = catchInterrupt();
let stack: Stack | undefined;
let servers: ChildServer[] = [];
let progress: ProgressBoard | undefined;
// While services start there is nothing to end in order: what was started ends with this process.
interrupt.interrupted.then((code) => servers.length > 0 || process.exit(code));

const code = await Promise.race([interrupt.interrupted, run().catch(explain)]);
// Also when interrupted in the middle: the terminal is the caller's again.
progress?.stop();
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
  const board = openProgress(process.stdout, Math.max(...tasks.map(({ type }) => type.length)));
  progress = board;
  const running = new Map<string, Promise<Finished>>();
  for (const { type, input, from } of tasks) {
    const line = board.add(type);
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
  return Promise.all(running.values()).finally(() => board.stop());
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
  // What fails then fails because everything is being stopped.
  if (interrupt.code !== null) return interrupt.code;
  const isExpected = error instanceof ConfigError || error instanceof OutsideError;
  const words = isExpected ? error.message : error instanceof Error ? error.stack : String(error);
  process.stderr.write(`\nthe demo failed: ${words}\n`);
  return 1;
}

function say(text: string): void {
  process.stdout.write(text);
}
