import { setRoute } from '../../src/lifecycle/routes.ts';
import { createPipeline } from '../../src/pipelines/catalog.ts';
import { configure } from '../../src/pipelines/configuration.ts';
import { addItems } from '../../src/pipelines/items.ts';
import { seedPipelines } from '../../src/pipelines/seed.ts';
import { startRun } from '../../src/pipelines/start.ts';
import { type Bench, percentile, residentMegabytes, startBench } from './processes.ts';
import { counted, submitMany } from './vendor-process.ts';

const itemCount = 1_000;
const stageCount = 7;
const maxParallel = 200;
const few = 1_000;
const many = 100_000;
const looks = 200;

/** A run beside the same tasks submitted one by one; lists and counts of many items beside those of few. */
export async function benchPipelines(): Promise<void> {
  const bench = await startBench({ worker: true });
  try {
    await seedPipelines(bench.core);
    await setRoute(bench.core, 'generate_text', [{ provider: 'scripted', model: null }]);
    await throughput(bench);
    await lists(bench);
  } finally {
    await setRoute(bench.core, 'generate_text', []);
    await bench.close();
  }
}

const stages = Array.from({ length: stageCount }, (_, index) => ({
  key: `stage_${index + 1}`,
  title: `Stage ${index + 1}`,
  kind: 'TASKS',
  input: `kind_${index}`,
  output: `kind_${index + 1}`,
  taskType: 'generate_text',
  task: { prompt: `{{kind_${index}.text}}` },
  data: { text: `{{kind_${index}.text}}` },
}));

async function throughput(bench: Bench): Promise<void> {
  await submitMany(bench, 'scripted', 200);
  await counted(bench, `task where status = 'COMPLETED'`, 200);
  const direct = await seconds(async () => {
    await submitMany(bench, 'scripted', itemCount * stageCount);
    await counted(bench, `task where status = 'COMPLETED'`, 200 + itemCount * stageCount);
  });
  const small = await run(bench, itemCount / 10);
  const whole = await run(bench, itemCount);
  const perSecond = (itemCount * stageCount) / whole.seconds;
  const directPerSecond = (itemCount * stageCount) / direct;
  console.log(
    `    ${itemCount} items through ${stageCount} stages: ${perSecond.toFixed(0)} items/s; the same tasks submitted directly ${directPerSecond.toFixed(0)}/s: ×${(perSecond / directPerSecond).toFixed(2)}`,
  );
  console.log(
    `    worker ${small.megabytes} MB after ${itemCount / 10} items, ${whole.megabytes} MB after ${itemCount}`,
  );
}

async function run(bench: Bench, count: number): Promise<{ seconds: number; megabytes: number }> {
  const { core } = bench;
  const { accountId, projectId } = await bench.createKey();
  const scope = { accountId, projectId };
  await createPipeline(core, accountId, { name: 'bench', title: 'Bench', stages });
  const { configuration } = await configure(core, scope, 'bench');
  await core.db.sql('update stage set max_parallel = $2 where configuration_id = $1', [configuration.id, maxParallel]);
  await fill(bench, scope, 'kind_0', count);
  const begun = performance.now();
  const { id } = await startRun(core, scope, { pipeline: 'bench', trigger: 'MANUAL' });
  await counted(bench, `run where id = '${id}' and completed_at is not null`, 1);
  const took = (performance.now() - begun) / 1000;
  const [state] = await core.db.sql<{ status: string; items: number }>(
    `select r.status, (select count(*)::int from item i where i.project_id = r.project_id and i.state = 'DONE') as items from run r where id = $1`,
    [id],
  );
  if (state?.status !== 'COMPLETED' || state.items !== count * (stageCount + 1))
    throw new Error(`the run ended ${JSON.stringify(state)}`);
  return { seconds: took, megabytes: residentMegabytes(bench.worker!) };
}

async function lists(bench: Bench): Promise<void> {
  const small = await timeLists(bench, few);
  const large = await timeLists(bench, many);
  console.log(
    `    a page of 50 items of ${many}: p50 ${large.page.toFixed(2)} ms, ×${(large.page / small.page).toFixed(2)} that of ${few}; counts per stage and state p50 ${large.counts.toFixed(2)} ms, ×${(large.counts / small.counts).toFixed(2)}`,
  );
}

async function timeLists(bench: Bench, count: number): Promise<{ page: number; counts: number }> {
  const { key, accountId, projectId } = await bench.createKey();
  await createPipeline(bench.core, accountId, { name: 'bench', title: 'Bench', stages });
  await configure(bench.core, { accountId, projectId }, 'bench');
  await fill(bench, { accountId, projectId }, 'kind_0', count);
  const { toId } = await import('../../src/id.ts');
  const ask = (query: string) => async () => {
    const answer = await fetch(`${bench.url}/graphql`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', authorization: `Bearer ${key}` },
      body: JSON.stringify({ query, variables: { id: toId('Project', projectId) } }),
    });
    const { data, errors } = (await answer.json()) as any;
    if (!data || errors) throw new Error(JSON.stringify(errors));
  };
  const page = await median(
    ask('query ($id: ID!) { items(projectId: $id, state: [WAITING], first: 50) { nodes { id state data } } }'),
  );
  const counts = await median(
    ask(
      'query ($id: ID!) { pipelineOverview(projectId: $id, pipeline: "bench") { stages { key waiting running done failed } } }',
    ),
  );
  return { page, counts };
}

async function fill(
  { core }: Bench,
  scope: { accountId: string; projectId: string },
  kind: string,
  count: number,
): Promise<void> {
  for (let from = 0; from < count; from += 1_000)
    await addItems(
      core,
      scope,
      kind,
      Array.from({ length: Math.min(1_000, count - from) }, (_, index) => ({ text: `item ${from + index}` })),
    );
}

async function median(work: () => Promise<void>): Promise<number> {
  const times: number[] = [];
  for (let look = 0; look < looks; look++) {
    const begun = performance.now();
    await work();
    times.push(performance.now() - begun);
  }
  return percentile(
    times.sort((a, b) => a - b),
    0.5,
  );
}

async function seconds(work: () => Promise<void>): Promise<number> {
  const begun = performance.now();
  await work();
  return (performance.now() - begun) / 1000;
}
