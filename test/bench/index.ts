import { benchLatency } from './latency.ts';
import { benchStart } from './start.ts';
import { benchSubmit } from './submit.ts';

/** `npm run bench`: all of them; `npm run bench -- submit`: one. */
const benches: { [name: string]: () => Promise<void> } = {
  submit: benchSubmit,
  latency: benchLatency,
  start: benchStart,
};

const chosen = process.argv.length > 2 ? process.argv.slice(2) : Object.keys(benches);
for (const name of chosen) {
  const bench = benches[name];
  if (!bench) {
    console.error(`no bench "${name}"; there are ${Object.keys(benches).join(', ')}`);
    process.exit(2);
  }
  console.log(`\n${name}`);
  await bench();
}
process.exit(0);
