import { benchBreaker } from './breaker.ts';
import { benchHandles } from './handles.ts';
import { benchLatency } from './latency.ts';
import { benchOverhead } from './overhead.ts';
import { benchPipelines } from './pipelines.ts';
import { benchRetrieval } from './retrieval.ts';
import { benchStart } from './start.ts';
import { benchSubmit } from './submit.ts';
import { benchVendorFetch } from './vendor-fetch.ts';

/** `npm run bench`: all of them; `npm run bench -- submit`: one. */
const benches: { [name: string]: () => Promise<void> } = {
  submit: benchSubmit,
  latency: benchLatency,
  start: benchStart,
  handles: benchHandles,
  overhead: benchOverhead,
  breaker: benchBreaker,
  retrieval: benchRetrieval,
  'vendor-fetch': benchVendorFetch,
  pipelines: benchPipelines,
};

const chosen = process.argv.length > 2 ? process.argv.slice(2) : Object.keys(benches);
const unknown = chosen.filter((name) => !Object.hasOwn(benches, name));
if (unknown.length > 0) {
  console.error(`no bench "${unknown[0]}"; there are ${Object.keys(benches).join(', ')}`);
  process.exit(2);
}
for (const name of chosen) {
  console.log(`\n${name}`);
  await benches[name]!();
}
process.exit(0);
