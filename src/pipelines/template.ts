const placeholder = /\{\{\s*([\p{L}_$][\p{L}\p{N}_$-]*(?:\.[\p{L}\p{N}_$-]+)*)\s*\}\}/gu;

/** As long as a text may become: a task type's own limit is reached before. */
const maxLength = 1_000_000;

/**
 * A value with its templates filled in. A text that is one placeholder and nothing else becomes the value itself, so that numbers stay
 * numbers; a name that has no value becomes nothing: an empty text, or no field at all.
 * @throws RangeError for a text that becomes longer than 1,000,000 characters.
 */
export function fill(value: unknown, scope: Record<string, unknown>): any {
  if (typeof value === 'string') return fillText(value, scope);
  if (Array.isArray(value)) return value.map((each) => fill(each, scope)).filter((each) => each !== undefined);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value)
      .map(([key, each]) => [key, fill(each, scope)])
      .filter(([, each]) => each !== undefined),
  );
}

function fillText(text: string, scope: Record<string, unknown>): unknown {
  const [whole] = text.matchAll(placeholder);
  if (whole && whole[0] === text.trim()) return lookUp(scope, whole[1]!);
  const filled = text.replace(placeholder, (_, path: string) => written(lookUp(scope, path)));
  if (filled.length > maxLength) throw new RangeError(`a template becomes longer than ${maxLength} characters`);
  return filled;
}

function written(value: unknown): string {
  if (value === undefined || value === null) return '';
  return typeof value === 'object' ? JSON.stringify(value) : String(value);
}

/** `json.ideas.0.title` in a value; own keys only. Undefined: nothing is there. */
export function lookUp(value: unknown, path: string): any {
  return path
    .split('.')
    .reduce<unknown>(
      (at, key) => (typeof at === 'object' && at !== null && Object.hasOwn(at, key) ? (at as any)[key] : undefined),
      value,
    );
}

/** True when a text of a value begins a placeholder, a name right behind the braces, and does not end it. */
export function isUnclosed(value: unknown): boolean {
  if (typeof value === 'string') return /\{\{[\p{L}_$](?!.*\}\})/su.test(value);
  return typeof value === 'object' && value !== null && Object.values(value).some(isUnclosed);
}

/** The first words of all placeholders in a value: `item` of `{{item.title}}`. Each once. */
export function templateNames(value: unknown): string[] {
  const text = JSON.stringify(value) ?? '';
  return [...new Set([...text.matchAll(placeholder)].map(([, path]) => path!.split('.')[0]!))];
}
