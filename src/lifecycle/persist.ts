import { setTimeout as pause } from 'node:timers/promises';
import { isFromDatabase } from '../db.ts';

const pausesMs = [100, 500, 1_000, 2_000, 4_000];

/**
 * Repeats the write of an outcome while Postgres hiccups: what an attempt came to must not be lost with a connection. Such
 * writes carry a fence, so a repeat of one that had arrived changes nothing.
 */
export async function persist<Result>(write: () => Promise<Result>): Promise<Result> {
  for (const pauseMs of pausesMs) {
    try {
      return await write();
    } catch (error) {
      if (!isFromDatabase(error) || isRefused(error)) throw error;
      await pause(pauseMs);
    }
  }
  return write();
}

/** Classes 22 and 23: the values themselves are wrong, and stay so. */
function isRefused(error: unknown): boolean {
  return /^2[23]/.test(String((error as { code?: unknown }).code));
}
