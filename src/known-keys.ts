import type { Core } from './core.ts';
import type { ApiKey } from './db.ts';

/** How long another process may go on with a key that was revoked while Redis is away. */
const cacheMs = 5_000;
const maxCached = 10_000;
const usedEveryMs = 60_000;

const caches = new WeakMap<object, Map<string, { at: number; key: Promise<ApiKey | null> }>>();

/** A key that is neither revoked nor expired, by its hash or id. Remembered for {@link cacheMs}. */
export async function findKey(core: Core, by: 'hash' | 'id', value: string): Promise<ApiKey | null> {
  const cache = caches.get(core.db) ?? new Map();
  caches.set(core.db, cache);
  const name = `${by} ${value}`;
  let known = cache.get(name);
  if (!known || Date.now() - known.at >= cacheMs) {
    if (cache.size >= maxCached) cache.clear();
    known = {
      at: Date.now(),
      key: core.db.prisma.apiKey.findUnique({ where: by === 'hash' ? { hash: value } : { id: value } }),
    };
    cache.set(name, known);
    known.key.catch(() => cache.delete(name));
  }
  const key: ApiKey | null = await known.key;
  return key && !key.revokedAt && !(key.expiresAt && key.expiresAt.getTime() <= Date.now()) ? key : null;
}

/** To be called when a key was revoked. */
export function forgetKey(core: Core, keyId: string): void {
  const cache = caches.get(core.db);
  for (const [name, { key }] of cache ?? []) {
    if (name === `id ${keyId}`) cache!.delete(name);
    else key.then((row) => row?.id === keyId && cache!.delete(name)).catch(() => {});
  }
}

const used = new WeakMap<object, Map<string, number>>();

/** Keeps when a key was last used, to the minute. Not waited for: who asks must not wait for the note that he did. */
export function noteUse(core: Core, key: ApiKey): void {
  const noted = used.get(core.db) ?? new Map<string, number>();
  used.set(core.db, noted);
  const last = noted.get(key.id) ?? key.lastUsedAt?.getTime() ?? 0;
  if (Date.now() - last < usedEveryMs) return;
  noted.set(key.id, Date.now());
  core.db
    .sql(
      `update api_key set last_used_at = clock_timestamp() where id = $1 and (last_used_at is null or last_used_at < clock_timestamp() - interval '1 minute')`,
      [key.id],
    )
    .catch((error) => core.log.debug({ err: error }, 'the last use of a key was not noted'));
}
