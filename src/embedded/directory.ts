import { existsSync, linkSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { ConfigError } from '../errors.ts';
import { isAlive, markOf, type ProcessMark, stopProcess } from './process.ts';

/** What its owner leaves in a directory, for the next owner (who stops what was left running) and for commands beside it. */
interface OwnerRecord {
  owner: ProcessMark;
  services: { mark: ProcessMark; signal: NodeJS.Signals }[];
  /** Settings under which the services are reached; empty until they are up. */
  environment: { [name: string]: string };
}

/** A directory that belongs to this process alone until `release`. */
export interface Directory {
  path: string;
  /** Notes a service that runs here, so that it is stopped even when this process is killed. */
  remember(mark: ProcessMark, signal: NodeJS.Signals): void;
  /** Notes how the services are reached, for {@link environmentOf}. */
  announce(environment: { [name: string]: string }): void;
  release(): void;
}

/**
 * Makes a directory this process's own. One that was left by a killed process is cleaned: its services are stopped.
 * @param options.exclusive true: refuse when a living process owns it; false: take `<path>-2`, `<path>-3`, … instead.
 * @throws ConfigError when it is taken and exclusive.
 */
export async function takeDirectory(path: string, options: { exclusive: boolean }): Promise<Directory> {
  for (let number = 1; ; number++) {
    const candidate = number === 1 ? path : `${path}-${number}`;
    const directory = await tryTake(candidate);
    if (directory) return directory;
    if (options.exclusive) {
      const owner = newest(candidate)?.record.owner.pid;
      throw new ConfigError(
        `Atelier already runs in ${path} (process ${owner}); stop that one first, or start this one in another folder`,
      );
    }
  }
}

/** How the services in a directory are reached while a living process owns it; null when none does. */
export function environmentOf(path: string): { [name: string]: string } | null {
  const record = newest(path)?.record;
  return record && isAlive(record.owner) ? record.environment : null;
}

/**
 * Owners are numbered files: the highest number owns. Creating the next number fails when somebody else was faster, so of
 * several processes that find a dead owner exactly one takes over.
 */
async function tryTake(path: string): Promise<Directory | null> {
  // Postgres runs as another user when this process is root, and has to get through.
  mkdirSync(path, { recursive: true, mode: 0o755 });
  const previous = newest(path);
  if (previous && isAlive(previous.record.owner)) return null;
  const file = join(path, `owner-${(previous?.number ?? 0) + 1}.json`);
  const record: OwnerRecord = { owner: markOf(process.pid)!, services: [], environment: {} };
  const draft = writeDraft(file, record);
  try {
    linkSync(draft, file);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return null;
    throw error;
  } finally {
    rmSync(draft);
  }
  for (const old of owners(path).filter((owner) => owner.file !== file)) {
    for (const service of old.record.services) await stopProcess(service.mark, service.signal);
    rmSync(old.file, { force: true });
  }
  const save = () => renameSync(writeDraft(file, record), file);
  return {
    path,
    remember(mark, signal) {
      record.services.push({ mark, signal });
      save();
    },
    announce(environment) {
      record.environment = environment;
      save();
    },
    release: () => rmSync(file, { force: true }),
  };
}

function writeDraft(file: string, record: OwnerRecord): string {
  const draft = `${file}.${process.pid}.draft`;
  writeFileSync(draft, JSON.stringify(record), { mode: 0o600 });
  return draft;
}

function newest(path: string) {
  return owners(path).at(-1);
}

function owners(path: string): { number: number; file: string; record: OwnerRecord }[] {
  if (!existsSync(path)) return [];
  const names = readdirSync(path, { withFileTypes: true }).map((entry) => entry.name);
  const numbers = names.flatMap((name) => /^owner-(\d+)\.json$/.exec(name)?.[1] ?? []).map(Number);
  return numbers
    .sort((a, b) => a - b)
    .flatMap((number) => {
      const file = join(path, `owner-${number}.json`);
      try {
        return [{ number, file, record: JSON.parse(readFileSync(file, 'utf8')) as OwnerRecord }];
      } catch {
        // Released between the listing and now.
        return [];
      }
    });
}
