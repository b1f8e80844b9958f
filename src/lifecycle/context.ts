import { mkdtempSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Core } from '../core.ts';
import type { Task } from '../db.ts';
import { redacted } from '../redact.ts';
import type { Credential, LoadedAdapter } from '../registry.ts';
import type { AdapterContext } from '../sdk/index.ts';
import { callbackUrl } from './callback.ts';
import type { FrozenTarget } from './plan.ts';
import type { Reporter } from './report.ts';

export interface TaskContext extends AdapterContext {
  /** Removes the directory, if one was asked for. */
  close(): Promise<void>;
}

/** What an adapter's methods get for one attempt of a task. */
export function adapterContext(
  core: Core,
  given: {
    task: Task;
    loaded: LoadedAdapter;
    signal: AbortSignal;
    report: Pick<Reporter, 'log' | 'progress'>;
    timeoutMs?: number;
    /** Default: when it is asked. */
    now?: Date;
  },
): TaskContext {
  const { task, loaded, signal, report, timeoutMs, now } = given;
  const credential = credentialOf(loaded, task.credential);
  const hide = redacted(credential.secrets);
  const target = (task.route as unknown as FrozenTarget[])[task.targetIndex]!;
  let directory: string | undefined;
  return {
    ...core.vendors.open(loaded, credential, { signal, timeoutMs }),
    attemptKey: task.attemptKey!,
    callbackUrl: loaded.adapter.receive && callbackUrl(core, loaded.adapter.name, task.id, keyNumber(task)),
    taskType: task.type,
    model: target.model,
    // A task that waits for its first start has none yet.
    deadline: task.deadlineAt ?? new Date(Date.now() + task.longestRunMs),
    now: () => now ?? new Date(),
    get directory() {
      directory ??= mkdtempSync(join(tmpdir(), 'atelier-'));
      return directory;
    },
    log: (level, message) => report.log(level, hide(message)),
    progress: (fraction, step) => report.progress(fraction, step && hide(step)),
    async close() {
      if (directory)
        await rm(directory, { recursive: true, force: true }).catch((error) =>
          core.log.warn({ err: error }, 'a temporary directory is left'),
        );
    },
  };
}

/** The number of the attempt whose key it goes under: a call that is sent again must be the same call. */
const keyNumber = ({ attemptKey, attempt }: Task): number => Number(attemptKey?.split('-').at(-1) ?? attempt);

/** Whether the credential that an attempt began with is still there. */
export const hasCredential = ({ credentials }: LoadedAdapter, id: string | null): boolean =>
  id === null || credentials.some((each) => each.id === id);

/** A handle is looked at with the credential that started it; when that is gone, the first one may still see the job. */
function credentialOf({ credentials }: LoadedAdapter, id: string | null): Credential {
  return credentials.find((each) => each.id === id) ?? credentials[0]!;
}
