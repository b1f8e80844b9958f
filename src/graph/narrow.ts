import { Refusal } from '../errors.ts';
import { fromId } from '../id.ts';
import type { GraphContext } from './context.ts';

/**
 * The project that something new goes into.
 * @returns its UUID; undefined: the caller's default; null: an id that is none of his, to be answered as not found.
 * @throws Refusal ForbiddenError for a client token that is narrowed to tasks: it makes nothing new.
 */
export function projectOf({ caller }: GraphContext, id: string | null | undefined): string | null | undefined {
  if (caller.only?.taskIds) {
    throw new Refusal(
      'ForbiddenError',
      'FORBIDDEN',
      'This token is narrowed to tasks that exist; it makes nothing new.',
      { requiredScope: 'tasks:write' },
    );
  }
  const narrowed = caller.only?.projectId;
  if (id == null) return narrowed;
  const uuid = fromId('Project', id);
  return uuid && narrowed && uuid !== narrowed ? null : uuid;
}
