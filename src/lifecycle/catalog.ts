import type { Core } from '../core.ts';

/** A price as it is kept. `provider` and `model` null: any. The decimal stays a string: no floats in money. */
export interface PriceRow {
  taskType: string;
  provider: string | null;
  model: string | null;
  unit: string;
  creditsPerUnit: string;
  effectiveFrom: Date;
}

export interface RouteTarget {
  provider: string;
  model: string | null;
}

interface Catalog {
  prices: PriceRow[];
  routes: Map<string, RouteTarget[]>;
}

/** How long another process may go on with prices and routes that were changed. This one sees its own changes at once. */
const freshMs = 1_000;
const catalogs = new WeakMap<object, { at: number; catalog: Promise<Catalog> }>();

/** Prices and routes, read at most once a second, so that a submit is one round trip. */
export function readCatalog(core: Core): Promise<Catalog> {
  const known = catalogs.get(core.db);
  if (known && Date.now() - known.at < freshMs) return known.catalog;
  const catalog = load(core);
  catalogs.set(core.db, { at: Date.now(), catalog });
  catalog.catch(() => catalogs.delete(core.db));
  return catalog;
}

/** To be called after a change of a price or a route. */
export function forgetCatalog(core: Core): void {
  catalogs.delete(core.db);
}

async function load(core: Core): Promise<Catalog> {
  const [prices, routes] = await Promise.all([
    core.db.sql<PriceRow>(
      `select task_type, provider, model, unit, trim_scale(credits_per_unit)::text as credits_per_unit, effective_from
       from price order by task_type, provider nulls first, model nulls first, unit, effective_from`,
    ),
    core.db.sql<{ taskType: string; targets: RouteTarget[] }>(
      'select task_type, targets from route order by task_type',
    ),
  ]);
  return { prices, routes: new Map(routes.map((route) => [route.taskType, route.targets])) };
}
