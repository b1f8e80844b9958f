/** Chance that is the same each time. */
export interface Chance {
  /** From 0 up to, and without, this many. */
  below(count: number): number;
  pick<Value>(list: readonly Value[]): Value;
  /** True so often: 0 to 1. */
  is(share: number): boolean;
}

/** @param seed the same seeds give the same. */
export function seeded(...seed: number[]): Chance {
  let state = seed.reduce((mixed, each) => Math.imul(mixed ^ each, 0x9e3779b1) ^ (mixed >>> 15), 0x2545f491);
  // Mulberry32.
  const next = () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
  const below = (count: number) => Math.floor(next() * count);
  return { below, pick: (list) => list[below(list.length)]!, is: (share) => next() < share };
}
