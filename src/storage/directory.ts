import { randomUUID } from 'node:crypto';
import { createReadStream, createWriteStream } from 'node:fs';
import { access, constants, mkdir, open, rename, rm, rmdir, stat } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import type { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { OutsideError } from '../errors.ts';
import { disposition } from './disposition.ts';
import { answerFiles } from './files.ts';
import { signUrl } from './sign.ts';
import type { Storage } from './storage.ts';

/** Files below a directory, for a machine without S3. All processes must see the same directory. */
export function openDirectory(
  directory: string,
  options: { publicUrl(): string; secret: string; corsOrigins: string[] },
): Storage {
  const root = resolve(directory);
  const store = async (key: string, source: () => Readable): Promise<void> =>
    writeWhole(pathOf(root, key), join(root, temporaryFolder), source);

  return {
    async put(key, file) {
      await store(key, () => createReadStream(file));
    },
    async get(key) {
      const handle = await open(pathOf(root, key)).catch((cause) => {
        throw new OutsideError(`reading ${key}: ${cause.code ?? cause.message}`, {
          retryable: cause.code !== 'ENOENT',
          cause,
        });
      });
      return handle.createReadStream();
    },
    async head(key) {
      const facts = await stat(pathOf(root, key)).catch((cause) => {
        if (cause.code === 'ENOENT' || cause.code === 'ENOTDIR') return null;
        throw new OutsideError(`looking at ${key}: ${cause.code ?? cause.message}`, { retryable: true, cause });
      });
      return facts?.isFile() ? { sizeBytes: facts.size, contentType: undefined } : null;
    },
    async remove(key) {
      const path = pathOf(root, key);
      await rm(path, { force: true });
      // A task's own folders (tasks/<task>/<attempt>) go with its last file; those that others write to stay.
      if (key.split('/').length < 4) return;
      for (const folder of [dirname(path), dirname(dirname(path))]) await rmdir(folder).catch(() => {});
    },
    async signGet(key, { expiresInSeconds, contentType, fileName }) {
      const facts = {
        method: 'GET',
        key,
        expires: inSeconds(expiresInSeconds),
        type: contentType,
        disposition: disposition(contentType, fileName),
      } as const;
      return signUrl(options.publicUrl(), facts, options.secret);
    },
    async signPut(key, { expiresInSeconds, contentType, sizeBytes }) {
      const facts = {
        method: 'PUT',
        key,
        expires: inSeconds(expiresInSeconds),
        type: contentType,
        size: sizeBytes,
      } as const;
      return {
        url: signUrl(options.publicUrl(), facts, options.secret),
        method: 'PUT',
        headers: { 'Content-Type': contentType },
      };
    },
    async check() {
      await mkdir(root, { recursive: true });
      await access(root, constants.R_OK | constants.W_OK).catch((cause) => {
        throw new OutsideError(`looking at ${root}: ${cause.code}`, { retryable: true, cause });
      });
    },
    answer: (request, response) =>
      answerFiles(request, response, { root, secret: options.secret, corsOrigins: options.corsOrigins, store }),
    async close() {},
  };
}

/** No key begins so: a part of a key never begins with a dot. */
const temporaryFolder = '.incoming';

function pathOf(root: string, key: string): string {
  if (!/^[\w-][\w.-]*(\/[\w-][\w.-]*)*$/.test(key)) throw new Error(`not a storage key: ${JSON.stringify(key)}`);
  return join(root, key);
}

/**
 * Readers see the old file or the new one, also when the machine dies in between.
 * @param source opened only when somebody listens: an error before that would end the process.
 */
async function writeWhole(path: string, temporary: string, source: () => Readable): Promise<void> {
  await mkdir(dirname(path), { recursive: true });
  await mkdir(temporary, { recursive: true });
  const draft = join(temporary, randomUUID());
  try {
    await pipeline(source(), createWriteStream(draft, { flush: true }));
    await rename(draft, path);
    await syncFolder(dirname(path));
  } catch (cause) {
    await rm(draft, { force: true });
    throw cause;
  }
}

async function syncFolder(path: string): Promise<void> {
  const folder = await open(path);
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}

const inSeconds = (seconds: number): number => Math.floor(Date.now() / 1000) + seconds;
