#!/usr/bin/env node
import { readFileSync } from 'node:fs';
import { Command, CommanderError, InvalidArgumentError } from 'commander';
import { ClientError } from 'graphql-request';
import type { Scope } from './access.ts';
import { localEnvironment } from './cli/local.ts';
import { RefusedError } from './client.ts';
import { ConfigError, OutsideError, Refusal } from './errors.ts';
import { projectPath } from './project-path.ts';

const { version } = JSON.parse(readFileSync(projectPath('package.json'), 'utf8'));

const exitCodes = `
Exit codes: 0 done (with --watch: COMPLETED); 1 failed, cancelled, expired or refused; 2 wrong arguments or configuration;
130 interrupted by Ctrl-C.
Configuration is read from the environment; the README lists it. While \`atelier start\` runs in a folder, the other
commands, given there, use its services.`;

// Each command loads what it needs and no more: a client command needs neither server nor database.
const program = new Command('atelier')
  .description('A self-hosted GraphQL server for long-running AI work.')
  .version(version)
  .option('--url <url>', 'base URL of the API, for `task` (default: ATELIER_URL, or `atelier start` in this folder)')
  .option('--key <key>', 'API key, for `task` (default: ATELIER_API_KEY, or that of `atelier start` in this folder)')
  .addHelpText('after', exitCodes)
  .configureHelp({ showGlobalOptions: true })
  .exitOverride();

program
  .command('start')
  .description('run API and worker, with private Postgres and Redis where none are configured, until Ctrl-C')
  .option('--watch', 'restart them when a source file changes', false)
  .action(async (options) => (await import('./cli/start.ts')).start(options));

program
  .command('api')
  .description('run the API process')
  .action(async () => (await import('./cli/serve.ts')).serveApi());
program
  .command('worker')
  .description('run a worker process; as many as wanted')
  .action(async () => (await import('./cli/serve.ts')).serveWorker());

program
  .command('migrate')
  .description('bring the database up to date, and give a new one its lanes and prices')
  .action(async () => {
    const { prepareDatabase } = await import('./cli/database.ts');
    const applied = await prepareDatabase(localEnvironment());
    process.stdout.write(applied.length > 0 ? `applied ${applied.join(', ')}\n` : 'the database is up to date\n');
  });

program
  .command('key')
  .description('API keys')
  .command('create')
  .description('make an API key and print it, this once')
  .option('--account <id or name>', 'the account that it belongs to')
  .option('--new-account <name>', 'make that account')
  .option('--name <name>', 'what the key is called', 'made on the command line')
  .option(
    '--scopes <list>',
    'what it may do, comma-separated: tasks:read, tasks:write, account',
    'tasks:read,tasks:write',
  )
  .option('--operator', 'it may do everything: accounts, credits, prices, routes, lanes, reviews', false)
  .option('--expires-at <time>', 'RFC 3339, as 2030-01-31T00:00:00Z (default: never)', toTime)
  .action(async (options) => {
    const { account, newAccount, name, expiresAt } = options;
    if ((account === undefined) === (newAccount === undefined))
      throw new ConfigError('give either --account or --new-account');
    const scopes: Scope[] = options.operator
      ? ['tasks:read', 'tasks:write', 'account', 'operator']
      : options.scopes.split(',');
    const [{ withCore }, { makeKey }] = await Promise.all([import('./cli/database.ts'), import('./cli/key.ts')]);
    const made = await withCore(localEnvironment(), (core) =>
      makeKey(core, { account: account ?? newAccount, isNew: account === undefined, name, scopes, expiresAt }),
    );
    process.stderr.write(`key of account ${made.accountId}, for ${scopes.join(', ')}; it is shown only now:\n`);
    process.stdout.write(`${made.secret}\n`);
  });

const task = program.command('task').description('tasks, as a client of the API');

task
  .command('create <type>')
  .description('create a task, as generate_image, and print its id')
  .requiredOption('--input <json>', "the type's input: JSON, @file, or - for standard input")
  .option('--watch', 'show progress and wait for the end', false)
  .option('--download <directory>', 'store the results there; waits for the end')
  .option('--project <id>', "default: the key's project")
  .option('--provider <name>', 'that one, instead of the route of the type')
  .option('--model <id>', "default: the provider's own")
  .option('--priority <0..9>', 'higher first, inside the account', toNumber)
  .option('--max-credits <n>', 'refuse when it may cost more', toNumber)
  .option('--idempotency-key <key>', 'the same key and input give the same task')
  .action(async (type, options) => {
    const { input, watch, download, project, provider, model, priority, maxCredits, idempotencyKey } = options;
    const { connect, createTask } = await import('./cli/task.ts');
    const request = { projectId: project, provider, model, priority, maxCredits, idempotencyKey };
    process.exitCode = await createTask(connect(program.opts()), { type, input, watch, download, request });
  });

task
  .command('watch <id>')
  .description('show the progress of a task and wait for its end')
  .option('--download <directory>', 'store the results there')
  .action(async (id, options) => {
    const { connect, watchTask } = await import('./cli/task.ts');
    process.exitCode = await watchTask(connect(program.opts()), id, options);
  });

const adapter = program.command('adapter').description('adapters of your own');

adapter
  .command('new <name>')
  .description('make a folder with an adapter that works, to be changed into yours')
  .option('--directory <path>', 'where the folder comes to stand', '.')
  .action(async (name, { directory }) => (await import('./cli/adapter.ts')).newAdapter(name, { directory, version }));

adapter
  .command('check <path>')
  .description("run the conformance suite on an adapter's file, folder or package, and say what to mend")
  .action(async (path) => {
    process.exitCode = await (await import('./cli/adapter.ts')).checkAdapters(path);
  });

try {
  await program.parseAsync();
} catch (error) {
  process.exitCode = explain(error);
}
// Commands that serve have ended this process themselves; of the others, no connection should keep it.
process.exit();

/** Says what was wrong, in the caller's words where it was the caller. @returns the exit code. */
function explain(error: unknown): number {
  // Commander has spoken already; help and version end with 0.
  if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2;
  if (error instanceof ConfigError) return say(error.message, 2);
  if (error instanceof OutsideError) return say(error.message, 1);
  if (error instanceof RefusedError || error instanceof Refusal) return say(`${error.message} (${error.code})`, 1);
  if (error instanceof ClientError) return say(answered(error), 1);
  return say(error instanceof Error ? (error.stack ?? error.message) : String(error), 1);
}

/** The messages of an answer that is no data, each once; something that is no GraphQL API may have given none. */
function answered({ response }: ClientError): string {
  const messages = new Set(response.errors?.map(({ message }) => message));
  return messages.size > 0
    ? [...messages].join('; ')
    : `the API answered with HTTP ${response.status}; is its address right?`;
}

function say(line: string, code: number): number {
  process.stderr.write(`atelier: ${line}\n`);
  return code;
}

function toNumber(text: string): number {
  const number = Number(text);
  if (!Number.isInteger(number)) throw new InvalidArgumentError('It must be a whole number.');
  return number;
}

function toTime(text: string): Date {
  const time = new Date(text);
  if (Number.isNaN(time.getTime())) throw new InvalidArgumentError('It must be a time, as 2030-01-31T00:00:00Z.');
  return time;
}
