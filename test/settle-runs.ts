import type { Core } from '../src/core.ts';
import { openRuns } from '../src/pipelines/advance.ts';

/** Takes every run as far as it comes by itself, without a worker. */
export async function settleRuns(core: Core): Promise<void> {
  let turns = 0;
  const runs = openRuns(core, 10, () => turns++);
  do {
    turns = 0;
    await runs.take();
    await runs.settled();
  } while (turns > 0);
}
