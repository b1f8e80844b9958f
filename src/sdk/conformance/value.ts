import { isDeepStrictEqual } from 'node:util';

/** The value with everything in it frozen; it is the same value. Bytes cannot be. */
export function frozen<Value>(value: Value): Value {
  if (typeof value !== 'object' || value === null || ArrayBuffer.isView(value) || Object.isFrozen(value)) return value;
  for (const inner of Object.values(value)) frozen(inner);
  return Object.freeze(value);
}

/** Where `got` lacks something of `wanted`, in words. In `wanted`, `"*"` stands for anything; lists must be as long. */
export function holds(got: unknown, wanted: unknown, path: string): string[] {
  if (wanted === '*' && got !== undefined) return [];
  if (Array.isArray(wanted)) {
    if (!Array.isArray(got) || got.length !== wanted.length) return [`${path} is ${show(got)}, not ${show(wanted)}`];
    return wanted.flatMap((each, index) => holds(got[index], each, `${path}[${index}]`));
  }
  if (isRecord(wanted)) {
    if (!isRecord(got)) return [`${path} is ${show(got)}, not ${show(wanted)}`];
    return Object.entries(wanted).flatMap(([name, each]) => holds(got[name], each, `${path}.${name}`));
  }
  return isDeepStrictEqual(got, wanted) ? [] : [`${path} is ${show(got)}, not ${show(wanted)}`];
}

/** Every plain value inside another, by its path. */
export function leaves(value: unknown, path = ''): Map<string, unknown> {
  if (typeof value !== 'object' || value === null || ArrayBuffer.isView(value)) return new Map([[path, value]]);
  return new Map(Object.entries(value).flatMap(([name, each]) => [...leaves(each, path ? `${path}.${name}` : name)]));
}

/** The value with each value inside changed, from the outside in; `undefined` leaves it out. */
export function mapped(value: unknown, change: (value: unknown, name: string) => unknown, name = ''): unknown {
  const changed = change(value, name);
  if (Array.isArray(changed)) return changed.map((each) => mapped(each, change, name));
  if (!isRecord(changed)) return changed;
  return Object.fromEntries(Object.entries(changed).map(([key, each]) => [key, mapped(each, change, key)]));
}

export function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value) && !ArrayBuffer.isView(value);
}

/** A value in a few words. */
export function show(value: unknown): string {
  const text = value === undefined ? 'missing' : (JSON.stringify(value) ?? String(value));
  return text.length > 120 ? `${text.slice(0, 117)}...` : text;
}
