import { createHash } from 'node:crypto';
import type { Core } from '../core.ts';
import { type FieldIssue, notFound, validation } from '../errors.ts';
import { raised, raisedBy } from '../lifecycle/credits.ts';
import { isStorableJson, notStorable } from '../lifecycle/storable.ts';
import type { Scope } from './configuration.ts';
import { runsChannel } from './wake.ts';

export const itemLimits = { atOnce: 1_000, bytes: 100_000 };
export const tooLarge = `must be at most ${itemLimits.bytes.toLocaleString('en')} bytes of JSON`;

/**
 * Adds items to a project; they wait at the first stage of each of its pipelines that takes their kind. One that is there already, with the
 * same kind and data, is skipped.
 * @throws Refusal: ValidationError, NotFoundError.
 */
export async function addItems(
  core: Core,
  { accountId, projectId }: Scope,
  kind: string,
  items: unknown[],
): Promise<{ added: number; skipped: number }> {
  const issues: FieldIssue[] = [];
  if (!/^[a-z][a-z0-9_]{0,59}$/.test(kind))
    issues.push({ path: ['kind'], message: 'must be lower_snake, at most 60 characters, as image_prompt' });
  if (items.length > itemLimits.atOnce)
    issues.push({ path: ['items'], message: `at most ${itemLimits.atOnce} a call` });
  else for (const [index, item] of items.entries()) issues.push(...checkItem(item, index));
  if (issues.length > 0) throw validation(issues);
  const rows = items.map((item) => ({ data: asData(item), digest: digestOf(asData(item)) }));
  try {
    const [row] = await core.db.sql<{ added: number }>(
      'select items_add($1, $2, $3, $4) as added',
      [accountId, projectId, kind, JSON.stringify(rows)],
      'items_add',
    );
    core.bus.wake(runsChannel, {});
    return { added: row!.added, skipped: items.length - row!.added };
  } catch (error) {
    if (raisedBy(error)?.code === raised.noProject) throw notFound('project');
    throw error;
  }
}

/** A text alone is an item with that text. */
export const asData = (item: unknown): Record<string, unknown> =>
  typeof item === 'string' ? { text: item } : (item as Record<string, unknown>);

/** The same data gives the same digest, whatever the order of its fields. */
export function digestOf(data: unknown): string {
  const sorted = JSON.stringify(data, (_, value) =>
    value === null || typeof value !== 'object' || Array.isArray(value)
      ? value
      : Object.fromEntries(Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1))),
  );
  return createHash('sha256').update(sorted).digest('hex');
}

function checkItem(item: unknown, index: number): FieldIssue[] {
  const refuse = (message: string) => [{ path: ['items', String(index)], message }];
  const isObject = typeof item === 'object' && item !== null && !Array.isArray(item);
  if (!isObject && typeof item !== 'string') return refuse('must be a JSON object, or a text');
  if (!isStorableJson(item)) return refuse(notStorable);
  if (Buffer.byteLength(JSON.stringify(item)) > itemLimits.bytes) return refuse(tooLarge);
  return [];
}
