/** Looks at vendors' jobs that are under way in one process. */
export interface Looks {
  /** How many more may be claimed at once, of vendors that are not crowded; at least 1. */
  room(): number;
  /** Vendors that have as many as they may. */
  crowded(): string[];
  /** Counts a look from its begin to its end. */
  count(provider: string, look: () => Promise<void>): Promise<void>;
}

/** In one process, of all vendors together; and one of each vendor that has none. */
const most = 300;
/** Of the free room, what one claim may take: it may be of one vendor alone. */
const claimedShare = 4;
/** A crowded vendor has room again when so much of its looks has ended. */
const resumedShare = 0.75;

/**
 * No vendor whose answers hang keeps others' jobs from being looked at: each may have as many looks as there is room left, so that one alone has half
 * of all, two have a third each, and a newcomer always finds a place.
 * @param again is called when a vendor that was crowded has room.
 */
export function openLooks(again: () => void): Looks {
  const counts = new Map<string, number>();
  const resumesAt = new Map<string, number>();
  let total = 0;
  return {
    room: () => Math.max(1, Math.floor((most - total) / claimedShare)),
    crowded() {
      const full = [...counts].filter(([, count]) => count > 0 && count >= most - total);
      for (const [provider, count] of full) resumesAt.set(provider, Math.floor(count * resumedShare));
      return full.map(([provider]) => provider);
    },
    async count(provider, look) {
      total++;
      counts.set(provider, (counts.get(provider) ?? 0) + 1);
      await look().finally(() => {
        total--;
        const left = counts.get(provider)! - 1;
        counts.set(provider, left);
        if (left > (resumesAt.get(provider) ?? -1)) return;
        resumesAt.delete(provider);
        again();
      });
    },
  };
}
