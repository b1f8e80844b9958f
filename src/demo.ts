import { catchInterrupt } from './cli/interrupt.ts';
import type { ProgressBoard } from './cli/progress.ts';
import { RefusedError } from './client.ts';
import { demoPipeline } from './demo/pipeline.ts';
import type { Services } from './demo/services.ts';
import { demoTasks } from './demo/tasks.ts';
import { ConfigError, OutsideError } from './errors.ts';

/** `npm run demo`: one task of each type; `npm run demo -- pipeline [provider [model]]`: a whole pipeline. */
const demos = { tasks: demoTasks, pipeline: demoPipeline };

const interrupt = catchInterrupt();
const services: Services = { servers: [] };
let progress: ProgressBoard | undefined;
// While services start there is nothing to end in order: what was started ends with this process.
interrupt.interrupted.then((code) => services.servers.length > 0 || process.exit(code));

const code = await Promise.race([interrupt.interrupted, run().catch(explain)]);
// Also when interrupted in the middle: the terminal is the caller's again.
progress?.stop();
await Promise.all(services.servers.map((server) => server.stop()));
await services.stack?.close();
process.exit(code);

async function run(): Promise<number> {
  const [name = 'tasks', ...rest] = process.argv.slice(2);
  if (!Object.hasOwn(demos, name))
    throw new ConfigError(`no demo "${name}"; there are ${Object.keys(demos).join(', ')}`);
  return demos[name as keyof typeof demos](
    services,
    (board) => {
      progress = board;
    },
    rest,
  );
}

function explain(error: unknown): number {
  // What fails then fails because everything is being stopped.
  if (interrupt.code !== null) return interrupt.code;
  const isExpected = [ConfigError, OutsideError, RefusedError].some((type) => error instanceof type);
  const words = isExpected ? (error as Error).message : error instanceof Error ? error.stack : String(error);
  process.stderr.write(`\nthe demo failed: ${words}\n`);
  return 1;
}
