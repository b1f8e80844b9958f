import { GraphQLClient } from 'graphql-request';
import { createClient } from 'graphql-sse';
import { percentile, residentMegabytes, startBench } from './processes.ts';

const tasks = 500;
const atOnce = [1, 16];
const idleSeconds = 10;
const create =
  'mutation ($input: CreateTaskInput!) { createTask(input: $input) { ... on CreateTaskSuccess { task { ... on Node { id } } } } }';
const watch = 'subscription ($id: ID!) { taskEvents(id: $id) { seq ... on TaskStatusChanged { status } } }';
const input = { provider: 'scripted', task: { generateText: { prompt: 'a bench' } } };

/** From the call of createTask to the terminal event at an SSE subscriber, for a task that does nothing; and idle memory. */
export async function benchLatency(): Promise<void> {
  const bench = await startBench({ worker: true });
  try {
    const { key } = await bench.createKey();
    const headers = { authorization: `Bearer ${key}` };
    const client = new GraphQLClient(`${bench.url}/graphql`, { headers });
    const stream = createClient({ url: `${bench.url}/graphql`, headers });
    const one = async () => {
      const begun = performance.now();
      const { createTask } = await client.request<{ createTask: { task: { id: string } } }>(create, { input });
      for await (const _ of stream.iterate({ query: watch, variables: { id: createTask.task.id } }));
      return performance.now() - begun;
    };
    await new Promise((resolve) => setTimeout(resolve, idleSeconds * 1000));
    console.log(
      `  idle memory after ${idleSeconds} s: API ${residentMegabytes(bench.api)} MB, worker ${residentMegabytes(bench.worker!)} MB`,
    );
    for (let n = 0; n < 50; n++) await one();
    for (const parallel of atOnce) {
      const times: number[] = [];
      let left = tasks;
      await Promise.all(
        Array.from({ length: parallel }, async () => {
          while (left-- > 0) times.push(await one());
        }),
      );
      times.sort((a, b) => a - b);
      console.log(
        `  create → terminal event, ${String(parallel).padStart(2)} at once, ${tasks} tasks: p50 ${percentile(times, 0.5).toFixed(1)} ms  p99 ${percentile(times, 0.99).toFixed(1)} ms`,
      );
    }
  } finally {
    await bench.close();
  }
}
