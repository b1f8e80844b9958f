/** Postgres keeps neither NUL nor half of a surrogate pair: the first is dropped, the second replaced by U+FFFD. */
export function storable(text: string): string {
  return (text as string & { toWellFormed(): string }).toWellFormed().replaceAll('\0', '');
}

/** True when {@link storable} would change nothing: what a client sends is refused rather than changed. */
export function isStorable(text: string): boolean {
  return !text.includes('\0') && (text as string & { isWellFormed(): boolean }).isWellFormed();
}

/** JSON for a jsonb parameter, of what an adapter or a vendor said. */
export function storableJson(value: unknown): string {
  return JSON.stringify(value, (_, each) => {
    if (typeof each === 'string') return storable(each);
    if (each === null || typeof each !== 'object' || Array.isArray(each)) return each;
    return Object.fromEntries(Object.entries(each).map(([key, inner]) => [storable(key), inner]));
  });
}
