import autocannon from 'autocannon';
import pg from 'pg';
import { freePort } from '../../src/embedded/port.ts';
import { answers, type Bench, percentile, startBench, startProcess, stop } from './processes.ts';

const connections = 32;
const seconds = 8;
/** Before a server is measured: its code is compiled by then. */
const warmSeconds = 4;
const query =
  'mutation ($input: CreateTaskInput!) { createTask(input: $input) { ... on CreateTaskSuccess { task { ... on Node { id } } } ... on UserError { code } } }';
const input = { provider: 'scripted', task: { generateText: { prompt: 'a bench' } } };

/** createTask over HTTP, its transaction included, beside Yoga alone and the same SQL alone, in one run. */
export async function benchSubmit(): Promise<void> {
  const bench = await startBench({ worker: false });
  try {
    const hot = [await bench.createKey()];
    const many = await Promise.all(Array.from({ length: 100 }, () => bench.createKey()));
    const body = JSON.stringify({ query, variables: { input } });
    const port = await freePort();
    const noOp = startProcess(['test/bench/no-op-server.ts'], { PORT: String(port) });
    await answers(`http://127.0.0.1:${port}/graphql?query={a}`);
    const noOpBody = JSON.stringify({
      query: 'mutation ($input: Input!) { createTask(input: $input) { id status } }',
      variables: { input: { prompt: 'x' } },
    });

    const noOpUrl = `http://127.0.0.1:${port}/graphql`;
    const url = `${bench.url}/graphql`;
    const keys = many.map(({ key }) => key);
    await load(noOpUrl, noOpBody, [''], warmSeconds);
    await load(url, body, keys, warmSeconds);

    const rows = [
      ['Yoga, a mutation that does nothing', await load(noOpUrl, noOpBody, [''])],
      ['SQL alone, 100 accounts', await sqlAlone(bench, many)],
      ['SQL alone, one hot account', await sqlAlone(bench, hot)],
      ['createTask, 100 accounts', await load(url, body, keys)],
      ['createTask, one hot account', await load(url, body, [hot[0]!.key])],
    ] as const;
    await stop(noOp);
    const best = rows[0][1].perSecond;
    console.log(`  ${connections} connections, ${seconds} s each`);
    for (const [name, { perSecond, p50, p99, bad }] of rows) {
      const ratio = (perSecond / best).toFixed(2);
      console.log(
        `  ${name.padEnd(36)} ${String(Math.round(perSecond)).padStart(6)}/s  ×${ratio}  p50 ${p50.toFixed(1)} ms  p99 ${p99.toFixed(1)} ms${bad ? `  ${bad} FAILED` : ''}`,
      );
    }
  } finally {
    await bench.close();
  }
}

interface Figures {
  perSecond: number;
  p50: number;
  p99: number;
  bad: number;
}

async function load(url: string, body: string, keys: string[], duration = seconds): Promise<Figures> {
  let bad = 0;
  const run = autocannon({
    url,
    method: 'POST',
    connections,
    duration,
    body,
    headers: { 'content-type': 'application/json', accept: 'application/json' },
    setupClient(client) {
      const key = keys[Math.floor(Math.random() * keys.length)];
      client.setHeaders({
        'content-type': 'application/json',
        accept: 'application/json',
        ...(key && { authorization: `Bearer ${key}` }),
      });
      client.on('body', (answer) => {
        if (!String(answer).includes('"id":')) bad++;
      });
    },
  });
  const { requests, latency, non2xx } = await run;
  return { perSecond: requests.average, p50: latency.p50, p99: latency.p99, bad: bad + non2xx };
}

async function sqlAlone(bench: Bench, accounts: { accountId: string; projectId: string }[]): Promise<Figures> {
  const pool = new pg.Pool({ connectionString: bench.core.config.DATABASE_URL, max: connections });
  const target = {
    provider: 'scripted',
    model: 'script',
    runs: 'here',
    resubmit: 'safe',
    prices: [{ unit: 'token', creditsPerUnit: '0.01' }],
    quote: 11,
  };
  const times: number[] = [];
  const until = Date.now() + seconds * 1000;
  const client = async (index: number) => {
    while (Date.now() < until) {
      const { accountId, projectId } = accounts[index % accounts.length]!;
      const row = {
        accountId,
        projectId,
        inputHash: 'x',
        type: 'generate_text',
        lane: 'cpu_intensive',
        input: input.task.generateText,
        priority: 0,
        tags: [],
        warnings: [],
        route: [target],
        quoted: 11,
        longestRunMs: 60_000,
      };
      const begun = performance.now();
      await pool.query({
        name: 'create',
        text: 'select c.replayed, (c.made).* from task_create($1) c',
        values: [JSON.stringify(row)],
      });
      times.push(performance.now() - begun);
    }
  };
  await Promise.all(Array.from({ length: connections }, (_, index) => client(index)));
  await pool.end();
  times.sort((a, b) => a - b);
  return { perSecond: times.length / seconds, p50: percentile(times, 0.5), p99: percentile(times, 0.99), bad: 0 };
}
