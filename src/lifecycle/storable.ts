/** Postgres keeps neither NUL nor half of a surrogate pair: the first is dropped, the second replaced by U+FFFD. */
export function storable(text: string): string {
  return (text as string & { toWellFormed(): string }).toWellFormed().replaceAll('\0', '');
}

/** True when {@link storable} would change nothing: what a client sends is refused rather than changed. */
export function isStorable(text: string): boolean {
  return !text.includes('\0') && (text as string & { isWellFormed(): boolean }).isWellFormed();
}

/** {@link isStorable} for all texts of a client's JSON. */
export function isStorableJson(value: unknown): boolean {
  if (typeof value === 'string') return isStorable(value);
  if (typeof value !== 'object' || value === null) return true;
  if (Array.isArray(value)) return value.every(isStorableJson);
  return Object.entries(value).every(([key, each]) => isStorable(key) && isStorableJson(each));
}

/** What is said of JSON that is not {@link isStorableJson}. */
export const notStorable = 'must be valid Unicode without the NUL character';

/** JSON for a jsonb parameter, of what an adapter or a vendor said. */
export function storableJson(value: unknown): string {
  return JSON.stringify(value, (_, each) => {
    if (typeof each === 'string') return storable(each);
    if (each === null || typeof each !== 'object' || Array.isArray(each)) return each;
    return Object.fromEntries(Object.entries(each).map(([key, inner]) => [storable(key), inner]));
  });
}
