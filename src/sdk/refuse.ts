import { AdapterFailure } from './failure.ts';
import type { Usage } from './task-type.ts';

/**
 * Refuses what a client asked for. In `toProvider` the refusal reaches him as a ValidationError before anything is paid.
 * @param path the field of the task type's input, with dots: `width`, `options.resolution`, `expectations.0`.
 * @param message what is wrong with it, without its name: `must be 16:9 or 9:16`. Clients read it.
 * @param billed what was paid before it was seen. Default: nothing.
 * @throws AdapterFailure `invalid_input`, INVALID_INPUT, always.
 */
export function refuseInput(path: string, message: string, billed: Usage[] | 'nothing' = 'nothing'): never {
  throw new AdapterFailure({
    class: 'invalid_input',
    code: 'INVALID_INPUT',
    message: `${path}: ${message}`,
    issues: [{ path: path.split('.'), message }],
    billed,
  });
}
