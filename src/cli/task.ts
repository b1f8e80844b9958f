import { readFileSync } from 'node:fs';
import { type Client, createClient } from '../client.ts';
import { ConfigError } from '../errors.ts';
import { downloadResults } from './download.ts';
import { catchInterrupt } from './interrupt.ts';
import { localEnvironment } from './local.ts';
import { openProgress } from './progress.ts';

export interface ConnectOptions {
  url?: string;
  key?: string;
}

export interface WatchOptions {
  /** Where results are stored; undefined = nowhere. */
  download?: string;
}

/**
 * A client for the API that options, environment or a running `atelier start` in this folder name, in this order.
 * @throws ConfigError when there is no address, or one that is none, or no key.
 */
export function connect(options: ConnectOptions): Client {
  const environment = localEnvironment();
  const url = options.url ?? environment.ATELIER_URL;
  const key = options.key ?? environment.ATELIER_API_KEY;
  if (!url)
    throw new ConfigError('no API is known: run `atelier start` in this folder, or give --url (or ATELIER_URL)');
  if (!URL.canParse(url) || !/^https?:$/.test(new URL(url).protocol))
    throw new ConfigError(`"${url}" is no address of an API; one looks like http://127.0.0.1:4000`);
  if (!key)
    throw new ConfigError('no API key is known: give --key (or ATELIER_API_KEY); `atelier key create` makes one');
  return createClient({ url, key });
}

/**
 * Creates a task and prints its id. @returns the exit code; see `atelier --help`.
 * @throws ConfigError for a type that the API does not have, or an input that cannot be read.
 */
export async function createTask(
  client: Client,
  options: WatchOptions & { type: string; input: string; watch: boolean; request: object },
): Promise<number> {
  const input = readInput(options.input);
  const member = await findMember(client, options.type);
  const id = await client.createTask({ ...options.request, task: { [member]: input } });
  process.stdout.write(`${id}\n`);
  return options.watch || options.download ? watchTask(client, id, options) : 0;
}

/** The field of TaskInput for a task type, written as generate_image, GENERATE_IMAGE or generateImage. */
async function findMember(client: Client, type: string): Promise<string> {
  const { input, types } = await client.request(
    '{ input: __type(name: "TaskInput") { inputFields { name } } types: __type(name: "TaskType") { enumValues { name } } }',
  );
  const spelled = (name: string) => name.replaceAll('_', '').toLowerCase();
  const member = input.inputFields.find(({ name }: { name: string }) => spelled(name) === spelled(type));
  if (member) return member.name;
  const known = types.enumValues.map(({ name }: { name: string }) => name.toLowerCase()).join(', ');
  throw new ConfigError(`no task type "${type}"; there are ${known}`);
}

/** Shows a task's progress until it ends, then its result. @returns the exit code. */
export async function watchTask(client: Client, id: string, options: WatchOptions): Promise<number> {
  const first = await client.readTask(id);
  if (!first) throw new ConfigError(`no such task: ${id}`);
  const { interrupted } = catchInterrupt();
  const progress = openProgress(process.stderr, first.type.length);
  const line = progress.add(first.type);
  const follow = async () => {
    for await (const event of client.taskEvents(id)) {
      const { status, progress: fraction, currentStep } = event.task;
      line.update(fraction, status === 'PROCESSING' ? (currentStep ?? 'processing') : status.toLowerCase());
    }
  };
  const code = await Promise.race([follow().then(() => null), interrupted]).finally(() => progress.stop());
  if (code !== null) {
    process.stderr.write(`the task goes on; to see it again: atelier task watch ${id}\n`);
    return code;
  }
  return report(client, id, options);
}

async function report(client: Client, id: string, options: WatchOptions): Promise<number> {
  const task = await client.readTask(id);
  if (!task) throw new ConfigError(`the task ${id} was deleted`);
  for (const warning of task.warnings) process.stderr.write(`warning: ${warning}\n`);
  if (task.status !== 'COMPLETED') {
    const reason = task.error ? `: ${task.error.message} (${task.error.code})` : '';
    process.stderr.write(`${task.status}${reason}; ${task.cost.charged} credits charged\n`);
    return 1;
  }
  process.stderr.write(
    `COMPLETED in ${((task.processingTimeMs ?? 0) / 1000).toFixed(1)} s; ${task.cost.charged} of ${task.cost.quoted} quoted credits charged\n`,
  );
  if (options.download) {
    for (const { file, facts } of await downloadResults(task, options.download, id))
      process.stdout.write(`${file}  (${facts})\n`);
  } else {
    const { assets, textResult, promptResult } = task;
    process.stdout.write(`${JSON.stringify(textResult ?? promptResult ?? assets, null, 2)}\n`);
  }
  return 0;
}

/** JSON itself, `@file`, or `-` for standard input. */
function readInput(given: string): object {
  try {
    return JSON.parse(readText(given));
  } catch (cause) {
    if (!(cause instanceof SyntaxError)) throw cause;
    throw new ConfigError(`--input is no JSON: ${cause.message}`, { cause });
  }
}

function readText(given: string): string {
  if (given !== '-' && !given.startsWith('@')) return given;
  try {
    return readFileSync(given === '-' ? 0 : given.slice(1), 'utf8');
  } catch (cause) {
    throw new ConfigError(`--input cannot be read: ${(cause as Error).message}`, { cause });
  }
}
