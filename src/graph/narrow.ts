import { notFound, Refusal } from '../errors.ts';
import { fromId } from '../id.ts';
import type { Scope } from '../pipelines/configuration.ts';
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

/**
 * The project that is read of.
 * @returns null for one that is none of the caller's; a token that is narrowed to tasks has none.
 */
export async function readableProject({ core, caller }: GraphContext, id: string): Promise<Scope | null> {
  const uuid = fromId('Project', id);
  if (!uuid || caller.only?.taskIds || (caller.only?.projectId ?? uuid) !== uuid) return null;
  const { accountId } = caller;
  const found = await core.db.prisma.project.findFirst({ where: { id: uuid, accountId }, select: { id: true } });
  return found && { accountId, projectId: uuid };
}

/**
 * The project in which something is changed.
 * @throws Refusal NotFoundError for one that is none of the caller's; ForbiddenError for a token that is narrowed to tasks.
 */
export async function writableProject(context: GraphContext, id: string): Promise<Scope> {
  projectOf(context, id);
  const scope = await readableProject(context, id);
  if (!scope) throw notFound('project');
  return scope;
}

/** Which rows of projects the caller reaches, as a condition: his account's, or those of the project that his token is narrowed to. */
export function within({ caller }: GraphContext): { accountId: string; projectId?: string } {
  const projectId = caller.only?.taskIds ? nobody : caller.only?.projectId;
  return { accountId: caller.accountId, ...(projectId && { projectId }) };
}

/** A UUID that no row has. */
export const nobody = '00000000-0000-0000-0000-000000000000';
