import { relative, resolve } from 'node:path';
import { type Download, downloadResults } from '../cli/download.ts';
import { openProgress, type ProgressBoard, type ProgressLine } from '../cli/progress.ts';
import { renderTable } from '../cli/table.ts';
import type { Client, TaskFacts } from '../client.ts';
import { openAccount, outputDirectory, type Services, say, startServices } from './services.ts';

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

/** One task of each type. @param shows is given the board, for whoever has to give the terminal back. @returns the exit code: 0 when every task was COMPLETED and the ledger adds up. */
export async function demoTasks(services: Services, shows: (board: ProgressBoard) => void): Promise<number> {
  const environment = await startServices(services, 'one task of each type');
  const { client, operator, accountId } = await openAccount(environment, services.servers[0]!.url, grantedCredits);
  say(`  account   ${accountId}, ${grantedCredits} credits granted\n\n`);
  const startedAt = performance.now();
  const finished = await runTasks(client, shows);
  const seconds = ((performance.now() - startedAt) / 1000).toFixed(1);
  showResults(finished);
  const isBalanced = await showLedger(operator, accountId);
  const failed = finished.filter(({ task }) => task.status !== 'COMPLETED').length;
  say(
    `\n${finished.length - failed} of ${finished.length} tasks completed in ${seconds} s; results are in ${outputDirectory}/\n`,
  );
  return failed === 0 && isBalanced ? 0 : 1;
}

/** Submits all tasks, those that build on another one when it is done, and shows how they go on. */
async function runTasks(client: Client, shows: (board: ProgressBoard) => void): Promise<Finished[]> {
  const board = openProgress(process.stdout, Math.max(...tasks.map(({ type }) => type.length)));
  shows(board);
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
