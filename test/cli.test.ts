import { spawn } from 'node:child_process';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createClient, type TaskEventFacts } from '../src/client.ts';
import { projectPath } from '../src/project-path.ts';
import { createTestBed, type TestBed } from './kit.ts';

/** Nobody listens there, and fetch does not refuse the port by itself, as it does some others. */
const nobody = 'http://127.0.0.1:2';

let bed: TestBed;
let folder: string;

beforeAll(async () => {
  bed = await createTestBed({ storage: 'directory' });
  folder = await mkdtemp(join(tmpdir(), 'atelier-cli-'));
});
afterAll(async () => {
  await bed.close();
  await rm(folder, { recursive: true, force: true });
});

const atelier = (...args: string[]) => atelierWith({}, ...args);

async function atelierWith(
  environment: NodeJS.ProcessEnv,
  ...args: string[]
): Promise<{ code: number; output: string; errors: string }> {
  const { DATABASE_URL, REDIS_URL, ATELIER_SECRET, ATELIER_REDIS_PREFIX } = bed.config;
  const child = spawn(process.execPath, ['--import', import.meta.resolve('tsx'), projectPath('src/cli.ts'), ...args], {
    cwd: folder,
    env: {
      ...process.env,
      DATABASE_URL,
      REDIS_URL,
      ATELIER_SECRET,
      ATELIER_REDIS_PREFIX,
      ATELIER_URL: bed.url,
      ATELIER_API_KEY: bed.tasksKey,
      // The loader looks for it in the working directory only.
      TSX_TSCONFIG_PATH: projectPath('tsconfig.json'),
      ...environment,
    },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const code = new Promise<number>((resolve) => child.once('close', resolve));
  const [output, errors] = await Promise.all([text(child.stdout), text(child.stderr)]);
  return { code: await code, output, errors };
}

describe('atelier', () => {
  it('creates a task, shows its progress, and stores what it made', async () => {
    const input = JSON.stringify({ prompt: 'a boat', width: 64, height: 64 });
    const { code, output, errors } = await atelier(
      'task',
      'create',
      'generate_image',
      '--input',
      input,
      '--watch',
      '--download',
      'results',
    );
    expect(errors).toContain('COMPLETED');
    expect(output).toMatch(/^task_\w+\n.*image\/png, 64 × 64/);
    expect(await readdir(join(folder, 'results'))).toEqual([expect.stringMatching(/^task_\w+\.png$/)]);
    expect(code).toBe(0);
  });

  it('makes an operator key that works', async () => {
    const { code, output } = await atelier('key', 'create', '--new-account', 'operations', '--operator');
    expect(code).toBe(0);
    const { data } = await bed.graphql('{ prices { taskType } account { name } }', {}, { key: output.trim() });
    expect(data.account.name).toBe('operations');
  });

  it.each([
    ['a refusal', 1, ['task', 'create', 'generate_text', '--input', '{"prompt":""}'], 'VALIDATION'],
    ['an unknown account', 2, ['key', 'create', '--account', 'nobody'], 'no account is called "nobody"'],
    ['an input that is no JSON', 2, ['task', 'create', 'generate_text', '--input', '{'], '--input is no JSON'],
    ['an input file that is not there', 2, ['task', 'create', 'generate_text', '--input', '@/nowhere'], 'no such file'],
    ['an unknown type', 2, ['task', 'create', 'nope', '--input', '{}'], 'no task type "nope"; there are generate_'],
    ['an address that is none', 2, ['--url', 'nonsense', 'task', 'watch', 'x'], '"nonsense" is no address of an API'],
    ['an API that is away', 1, ['--url', nobody, 'task', 'watch', 'x'], `calling ${nobody}: connection refused`],
    ['an unknown option', 2, ['start', '--fast'], "unknown option '--fast'"],
    ['no such task', 2, ['task', 'watch', 'nonsense'], 'no such task: nonsense'],
  ] as const)('answers %s with exit code %i', async (_, expected, args, words) => {
    const { code, errors } = await atelier(...args);
    expect(errors).toContain(words);
    expect(errors).not.toContain('    at ');
    expect(code).toBe(expected);
  });

  it.each(['GENERATE_TEXT', 'generateText'])('knows a task type by its name %s too', async (type) => {
    const { code, output } = await atelier('task', 'create', type, '--input', '{"prompt":"the sea"}');
    expect(output).toMatch(/^task_/);
    expect(code).toBe(0);
  });

  it('says in one line, without the password, which database it cannot connect to', async () => {
    const { code, errors } = await atelierWith({ DATABASE_URL: 'postgresql://me:hush@127.0.0.1:9/x' }, 'migrate');
    expect(errors).toMatch(/^atelier: connecting to the database at 127\.0\.0\.1:9: .+\n$/);
    expect(errors).not.toContain('hush');
    expect(code).toBe(1);
  });

  it('says that the port is taken, and how to take another', async () => {
    const port = new URL(bed.url).port;
    const { code, errors } = await atelierWith({ ATELIER_PORT: port, ATELIER_STORAGE_DIRECTORY: folder }, 'api');
    expect(errors).toContain(`atelier: port ${port} is taken; set ATELIER_PORT to another`);
    expect(code).toBe(2);
  });
});

describe('the client', () => {
  it('gives each event once and in order, from the one after `after` on', async () => {
    const client = createClient({ url: bed.url, key: bed.tasksKey });
    const id = await client.createTask({ task: { generateText: { prompt: 'Two lines about the sea.' } } });
    const all = await collect(client.taskEvents(id));
    expect(all.map(({ seq }) => seq)).toEqual(all.map((_, index) => index + 1));
    expect(all.at(-1)!.task.status).toBe('COMPLETED');
    expect(await collect(client.taskEvents(id, 2))).toEqual(
      all.slice(2).map(({ seq }) => expect.objectContaining({ seq })),
    );
  });
});

async function collect(events: AsyncIterable<TaskEventFacts>): Promise<TaskEventFacts[]> {
  const seen: TaskEventFacts[] = [];
  for await (const event of events) seen.push(event);
  return seen;
}
