import { AdapterFailure } from 'atelier/adapter';

/**
 * Refuses an input before it costs anything.
 * @param path the field of the task type's input, as `width` or `options.resolution`.
 * @throws AdapterFailure `invalid_input`, always.
 */
export function refuse(path: string, message: string): never {
  throw new AdapterFailure({
    class: 'invalid_input',
    code: 'INVALID_INPUT',
    message: `${path}: ${message}`,
    issues: [{ path: path.split('.'), message }],
    billed: 'nothing',
  });
}
