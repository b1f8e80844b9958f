import { Decimal } from 'decimal.js';
import type { Core } from '../core.ts';
import { type FieldIssue, validation } from '../errors.ts';
import type { Usage } from '../sdk/index.ts';
import { forgetCatalog, type PriceRow, readCatalog } from './catalog.ts';

/** What one unit costs, frozen on a task. */
export interface UnitPrice {
  unit: string;
  creditsPerUnit: string;
}

const maxCredits = Number.MAX_SAFE_INTEGER;
/** Enough digits for the largest quantity times the longest price. */
const Exact = Decimal.clone({ precision: 60 });
const earliest = new Date(0);
const latest = new Date('9999-01-01');

/** Every price row, also past and future ones. */
export async function listPrices(core: Core): Promise<PriceRow[]> {
  return (await readCatalog(core)).prices;
}

/**
 * The prices in force for one target, by unit: the most specific row wins ((type, provider, model), then (type, provider),
 * then (type)), and of equally specific ones the newest.
 */
export function pricesFor(
  prices: PriceRow[],
  taskType: string,
  provider: string,
  model: string | null,
  at: Date,
): UnitPrice[] {
  const best = new Map<string, PriceRow>();
  const rank = (row: PriceRow) => (row.provider === null ? 0 : 1) + (row.model === null ? 0 : 1);
  for (const row of prices) {
    const fits = row.taskType === taskType && (row.provider ?? provider) === provider && (row.model ?? model) === model;
    if (!fits || row.effectiveFrom > at) continue;
    const other = best.get(row.unit);
    if (!other || rank(row) > rank(other) || (rank(row) === rank(other) && row.effectiveFrom >= other.effectiveFrom))
      best.set(row.unit, row);
  }
  return [...best.values()].map(({ unit, creditsPerUnit }) => ({ unit, creditsPerUnit }));
}

/**
 * Whole credits for a usage: the exact sum, rounded up once.
 * @returns null when a unit has no price, or a quantity is none.
 */
export function creditsFor(usage: Usage[], prices: UnitPrice[]): number | null {
  let sum = new Exact(0);
  for (const { unit, quantity } of usage) {
    const price = prices.find((each) => each.unit === unit);
    if (!price || !Number.isFinite(quantity) || quantity < 0) return null;
    sum = sum.plus(new Exact(quantity).times(price.creditsPerUnit));
  }
  return Math.min(sum.ceil().toNumber(), maxCredits);
}

/** Sets a price from a moment on. Throws a Refusal that names the field which does not fit. */
export async function setPrice(
  core: Core,
  price: {
    taskType: string;
    provider?: string | null;
    model?: string | null;
    unit: string;
    creditsPerUnit: string;
    effectiveFrom?: Date | null;
  },
): Promise<PriceRow> {
  const issues: FieldIssue[] = [];
  const issue = (field: string, message: string) => issues.push({ path: [field], message });
  if (!core.registry.taskType(price.taskType)) issue('taskType', 'no such task type here');
  const adapter = price.provider == null ? undefined : core.registry.adapter(price.provider);
  if (price.provider != null && !adapter)
    issue('provider', `must be one of ${core.registry.adapters.map((each) => each.adapter.name).join(', ')}`);
  if (price.model != null && price.provider == null) issue('model', 'needs a provider beside it');
  if (price.model != null && adapter && !adapter.models.some((model) => model.id === price.model))
    issue('model', `must be one of ${adapter.models.map((model) => model.id).join(', ')}`);
  if (!/^[a-z][a-z0-9_]{0,49}$/.test(price.unit))
    issue('unit', 'must be a lower-case word of at most 50 letters, as second');
  if (!/^\d{1,15}(\.\d{1,12})?$/.test(price.creditsPerUnit))
    issue('creditsPerUnit', 'must be a decimal of 0 or more, as 0.0025, with at most 12 places');
  const { effectiveFrom } = price;
  if (effectiveFrom && (effectiveFrom < earliest || effectiveFrom > latest))
    issue('effectiveFrom', 'must lie between the years 1970 and 9999');
  if (issues.length > 0) throw validation(issues);
  const [row] = await core.db.sql<PriceRow>(
    `insert into price (task_type, provider, model, unit, credits_per_unit, effective_from) values ($1, $2, $3, $4, $5, coalesce($6, clock_timestamp()))
     on conflict (task_type, coalesce(provider, ''), coalesce(model, ''), unit, effective_from) do update set credits_per_unit = excluded.credits_per_unit
     returning task_type, provider, model, unit, trim_scale(credits_per_unit)::text as credits_per_unit, effective_from`,
    [
      price.taskType,
      price.provider ?? null,
      price.model ?? null,
      price.unit,
      price.creditsPerUnit,
      price.effectiveFrom ?? null,
    ],
  );
  forgetCatalog(core);
  return row!;
}

/** Gives each task type that has no price at all the ones that it suggests. Operators then set their own. */
export async function seedPrices(core: Core): Promise<void> {
  for (const type of core.registry.taskTypes) {
    for (const { unit, creditsPerUnit } of type.prices ?? []) {
      await core.db.sql(
        `insert into price (task_type, unit, credits_per_unit, effective_from) select $1, $2, $3::numeric, to_timestamp(0)
         where not exists (select from price where task_type = $1 and unit = $2) on conflict do nothing`,
        [type.name, unit, creditsPerUnit],
      );
    }
  }
  forgetCatalog(core);
}
