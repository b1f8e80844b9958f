import { createWriteStream, mkdirSync, writeFileSync } from 'node:fs';
import { join, relative, resolve } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline as pipe } from 'node:stream/promises';
import { openProgress, type ProgressBoard } from '../cli/progress.ts';
import { renderTable } from '../cli/table.ts';
import { type Client, call, RefusedError } from '../client.ts';
import { keywords } from './keywords.ts';
import { openAccount, outputDirectory, type Services, say, startServices } from './services.ts';

const grantedCredits = 20_000;
/** Paused once, to be seen: when so many articles are written. */
const pausedAfter = 3;
const pageSize = 100;

interface Run {
  id: string;
  status: string;
  reason: string | null;
  creditsEstimated: number;
  creditsHeld: number;
  creditsUsed: number;
  stages: { key: string; status: string; done: number; failed: number; creditsUsed: number }[];
}

interface Item {
  id: string;
  data: { title: string; markdown: string };
  assets: { url: string }[];
}

/**
 * `content_automation` from 60 keywords to illustrated articles, watched live, paused and resumed once on the way.
 * @param rest the name of a provider that writes the texts, as openai. Default: the local engine.
 * @returns the exit code: 0 when the run was COMPLETED and its credits are those of the ledger.
 */
export async function demoPipeline(
  services: Services,
  shows: (board: ProgressBoard) => void,
  [provider]: string[],
): Promise<number> {
  const environment = await startServices(services, 'from keywords to illustrated articles');
  const { client, operator, accountId } = await openAccount(environment, services.servers[0]!.url, grantedCredits);
  const projectId = (await ask(client, createProject, {})).project.id;
  const project = { project: projectId };
  const { added } = await ask(client, addItems, { ...project, items: keywords });
  if (provider) await ask(client, setProvider, { input: { projectId, ...provided(provider) } });
  const { total, required } = await ask(client, estimateRun, project);
  say(
    `  project   ${projectId}, ${added} keywords; estimated ${total} credits, of which the run holds ${required}\n\n`,
  );
  const startedAt = performance.now();
  const { run } = await ask(client, startRun, project);
  const board = openProgress(process.stdout, longestKey);
  shows(board);
  await watch(client, projectId, run.id, board);
  board.stop();
  const ended: Run = (await client.request(readRun, { id: run.id })).run;
  const seconds = ((performance.now() - startedAt) / 1000).toFixed(1);
  const files = await writeFiles(client, projectId);
  const isBalanced = await showCredits(operator, accountId, ended);
  say(`\nthe run ended ${ended.status} in ${seconds} s; ${files} files are in ${outputDirectory}/\n`);
  return ended.status === 'COMPLETED' && isBalanced ? 0 : 1;
}

/** The stages whose texts a provider writes. */
const writing = ['ideas', 'briefs', 'articles', 'image_prompts'];
const provided = (provider: string) => ({
  pipeline: 'content_automation',
  stages: writing.map((key) => ({ key, provider })),
});
const longestKey = 'image_prompts'.length;

/** Follows the run to its end; pauses and resumes it once, and approves what waits for a review. */
async function watch(client: Client, projectId: string, id: string, board: ProgressBoard): Promise<void> {
  const lines = new Map<string, ReturnType<ProgressBoard['add']>>();
  let isPaused = false;
  const whole = board.add('run');
  for await (const { stage, status, reason } of client.runEvents(id)) {
    if (status) whole.update(status === 'COMPLETED' ? 1 : 0, `${status}${reason ? `, ${reason}` : ''}`);
    if (stage) {
      const line = lines.get(stage.key) ?? board.add(stage.key);
      lines.set(stage.key, line);
      const { waiting, running, done, failed } = stage;
      const all = waiting + running + done + failed;
      const note = `${done} of ${all}${running ? `, ${running} at work` : ''}${failed ? `, ${failed} failed` : ''}`;
      line.update(all === 0 ? 1 : (done + failed) / all, note);
      if (stage.key === 'articles' && done >= pausedAfter && !isPaused) {
        isPaused = true;
        await ask(client, pauseRun, { id });
      }
    }
    if (status === 'PAUSED') await ask(client, resumeRun, { id });
    if (status === 'WAITING_FOR_REVIEW') await approve(client, projectId);
  }
}

async function approve(client: Client, projectId: string): Promise<void> {
  const { reviews } = await client.request(readReviews, { project: projectId, first: pageSize });
  for (const { id } of reviews.nodes) await ask(client, decideReview, { id });
}

/** @returns how many files were written. */
async function writeFiles(client: Client, projectId: string): Promise<number> {
  const directory = resolve(outputDirectory);
  mkdirSync(directory, { recursive: true });
  let count = 0;
  const name = (title: string, extension: string) =>
    join(
      directory,
      `${String(++count).padStart(3, '0')}-${title
        .toLowerCase()
        .replace(/[^a-z0-9]+/g, '-')
        .slice(0, 60)}.${extension}`,
    );
  for (const { data } of await readAll(client, projectId, 'article'))
    writeFileSync(name(data.title, 'md'), `${data.markdown}\n`);
  for (const { data, assets } of await readAll(client, projectId, 'image')) {
    const answer = await call(assets[0]!.url);
    await pipe(Readable.fromWeb(answer.body as never), createWriteStream(name(data.title, 'png')));
  }
  say(`\n  articles and images in ${relative('', directory)}/\n`);
  return count;
}

async function readAll(client: Client, projectId: string, kind: string): Promise<Item[]> {
  const all: Item[] = [];
  for (let after: string | null = null; ; ) {
    const page: any = (await client.request(readItems, { project: projectId, kind, first: pageSize, after })).items;
    all.push(...page.nodes);
    if (!page.pageInfo.hasNextPage) return all;
    after = page.pageInfo.endCursor;
  }
}

/** @returns whether the stages' credits are those that the ledger says were taken. */
async function showCredits(operator: Client, accountId: string, run: Run): Promise<boolean> {
  const rows = run.stages.map(({ key, status, done, failed, creditsUsed }) => [key, status, done, failed, creditsUsed]);
  say(`\n${renderTable(['stage', 'status', 'done', 'failed', 'credits'], rows)}`);
  const { node } = await operator.request('query ($id: ID!) { node(id: $id) { ... on Account { available held } } }', {
    id: accountId,
  });
  const ofStages = run.stages.reduce((sum, { creditsUsed }) => sum + creditsUsed, 0);
  const ofLedger = grantedCredits - node.available - node.held;
  const isBalanced = ofStages === run.creditsUsed && ofStages === ofLedger && node.held === 0;
  say(
    `\n  estimated ${run.creditsEstimated}, used ${run.creditsUsed}; the stages add up to ${ofStages}; the account paid ${ofLedger}, `,
  );
  say(`${node.held} held: ${isBalanced ? 'the same' : 'NOT THE SAME'}\n`);
  return isBalanced;
}

/** @throws RefusedError for a member of the union that is no success. */
async function ask(client: Client, query: string, variables: object): Promise<any> {
  const [answer] = Object.values<any>(await client.request(query, variables));
  if (answer.code) throw new RefusedError(answer);
  return answer;
}

const refusal = '... on UserError { code message } ... on ValidationError { issues { path message } }';
const createProject = `mutation { createProject(input: { name: "magazine" }) { ... on CreateProjectSuccess { project { id } } ${refusal} } }`;
const addItems = `mutation ($project: ID!, $items: [JSON!]!) {
  addItems(projectId: $project, kind: "keyword", items: $items) { ... on AddItemsSuccess { added skipped } ${refusal} }
}`;
const setProvider = `mutation ($input: UpdatePipelineConfigurationInput!) {
  updatePipelineConfiguration(input: $input) { ... on UpdatePipelineConfigurationSuccess { configuration { id } } ${refusal} }
}`;
const estimateRun = `query ($project: ID!) {
  estimateRun(projectId: $project, pipeline: "content_automation") { ... on RunEstimate { total required } ${refusal} }
}`;
const startRun = `mutation ($project: ID!) {
  startRun(projectId: $project, pipeline: "content_automation") { ... on RunSuccess { run { id } } ${refusal} }
}`;
const runResult = '... on RunSuccess { run { id status } } ... on UserError { code message }';
const pauseRun = `mutation ($id: ID!) { pauseRun(id: $id) { ${runResult} } }`;
const resumeRun = `mutation ($id: ID!) { resumeRun(id: $id) { ${runResult} } }`;
const readRun = `query ($id: ID!) {
  run(id: $id) { id status reason creditsEstimated creditsHeld creditsUsed stages { key status done failed creditsUsed } }
}`;
const readReviews = `query ($project: ID!, $first: Int) { reviews(projectId: $project, first: $first) { nodes { id } } }`;
const decideReview = `mutation ($id: ID!) {
  decideReview(id: $id, decision: APPROVE) { ... on DecideReviewSuccess { review { id } } ${refusal} }
}`;
const readItems = `query ($project: ID!, $kind: String!, $first: Int, $after: String) {
  items(projectId: $project, kind: $kind, first: $first, after: $after) {
    nodes { id data assets { url } } pageInfo { hasNextPage endCursor }
  }
}`;
