import { resolve } from 'node:path';
import { environmentOf } from '../embedded/directory.ts';

/** Where `atelier start` keeps its services, below the folder that it is started in. */
export const startDirectory = (): string => resolve('.atelier', 'start');

/** The environment, completed by what a running `atelier start` in this folder uses. */
export function localEnvironment(): NodeJS.ProcessEnv {
  return { ...environmentOf(startDirectory()), ...process.env };
}
