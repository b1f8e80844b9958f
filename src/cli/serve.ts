import { readConfig } from '../config.ts';
import { openCore } from '../core.ts';
import { startServer } from '../server.ts';
import { startWorker } from '../worker.ts';
import { catchInterrupt } from './interrupt.ts';
import { localEnvironment } from './local.ts';

/** What the processes tell the one that started them, when they are up. */
export interface ReadyMessage {
  ready: true;
  /** Of the API. */
  url?: string;
}

/** `atelier api`: answers clients until it is told to stop. */
export async function serveApi(): Promise<void> {
  const { interrupted } = catchInterrupt();
  const core = await openCore(readConfig(localEnvironment()), { name: 'api' });
  const server = await startServer(core);
  announce({ ready: true, url: server.url });
  await interrupted;
  await server.close();
  await core.close();
  leave();
}

/** `atelier worker`: runs tasks until it is told to stop; see ATELIER_DRAIN_SECONDS. */
export async function serveWorker(): Promise<void> {
  const { interrupted } = catchInterrupt();
  const core = await openCore(readConfig(localEnvironment()), { name: 'worker' });
  const worker = await startWorker(core);
  announce({ ready: true });
  await interrupted;
  await worker.close();
  await core.close();
  leave();
}

function announce(message: ReadyMessage): void {
  process.send?.(message);
}

/** Without waiting for what may still be open, as connections of clients that keep theirs alive. */
function leave(): void {
  process.exit(0);
}
