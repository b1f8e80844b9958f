import { openProgress, type ProgressBoard } from '../cli/progress.ts';
import type { Client } from '../client.ts';
import { articlesDirectory, emptyArticles, writeArticles } from './articles.ts';
import { ask } from './ask.ts';
import { compareBill, readBooks, type StageFacts } from './bill.ts';
import { keywords } from './keywords.ts';
import { checkProvider, findModel, openAiHint } from './provider.ts';
import { demoEnvironment, openAccount, type Services, say, startServices } from './services.ts';
import { watchRun } from './watch.ts';

const grantedCredits = 20_000;
const pageSize = 100;
/** The stages whose texts a provider writes. */
const writing = ['ideas', 'briefs', 'articles', 'image_prompts'];

interface Run {
  id: string;
  status: string;
  error: { code: string; message: string } | null;
  creditsEstimated: number;
  creditsUsed: number;
  stages: StageFacts[];
}

/**
 * `content_automation` from 60 keywords to illustrated articles, watched live, paused and resumed once on the way.
 * @param rest the name of a provider that writes the texts, as openai, and of its model. Default: the local engine; the provider's first model.
 * @returns the exit code: 0 when the run was COMPLETED, wrote articles, and its credits are, stage by stage, those of the ledger.
 * @throws ConfigError when the provider is not there or lacks a setting.
 */
export async function demoPipeline(
  services: Services,
  shows: (board: ProgressBoard) => void,
  [provider, model]: string[],
): Promise<number> {
  if (provider !== undefined) await checkProvider(demoEnvironment(process.env), provider);
  emptyArticles();
  const environment = await startServices(services, 'from keywords to illustrated articles');
  const { client, operator, accountId } = await openAccount(environment, services.servers[0]!.url, grantedCredits);
  const projectId = (await ask(client, createProject, {})).project.id;
  const { added } = await ask(client, addItems, { project: projectId, items: keywords });
  say(`  project   ${projectId}, ${added} keywords, ${grantedCredits} credits\n`);
  say(`  texts     ${await setWriter(client, projectId, provider, model)}\n`);
  const { total, required } = await ask(client, estimateRun, { project: projectId });
  say(`  estimate  at most ${total} credits; the run holds ${required} and gives back what it does not use\n\n`);

  const startedAt = performance.now();
  const { run } = await ask(client, startRun, { project: projectId });
  const keys = run.stages.map(({ key }: StageFacts) => key);
  const board = openProgress(process.stdout, Math.max(...keys.map((key: string) => key.length)));
  shows(board);
  await watchRun(client, { id: run.id, projectId, keys }, board);
  board.stop();
  const seconds = ((performance.now() - startedAt) / 1000).toFixed(1);

  const ended: Run = (await client.request(readRun, { id: run.id })).run;
  const { articles, files, withoutImage } = await writeArticles(client, projectId);
  const isBalanced = await showBill(operator, accountId, ended);
  await showFailures(client, ended);
  const lacking = withoutImage > 0 ? `, ${withoutImage} of them without an image` : '';
  say(`\nthe run ended ${ended.status} in ${seconds} s${ended.error ? `: ${ended.error.message}` : ''}\n`);
  say(`${articles} articles${lacking}, ${files.length} files, are in ${articlesDirectory}/`);
  say(files[0] ? `; begin with ${files[0]}\n` : '\n');
  if (provider === undefined)
    say(`\nHave the texts written by a model, as of an Ollama on this machine:\n\n${openAiHint}\n`);
  return ended.status === 'COMPLETED' && articles > 0 && isBalanced ? 0 : 1;
}

/** @returns who writes the texts, in words. */
async function setWriter(
  client: Client,
  projectId: string,
  provider: string | undefined,
  wanted: string | undefined,
): Promise<string> {
  if (provider === undefined) return 'templates of the local engine; no language model is asked';
  const { model, others } = await findModel(client, provider, wanted);
  const stages = writing.map((key) => ({ key, provider, model }));
  await ask(client, setStages, { input: { projectId, pipeline: 'content_automation', stages } });
  const choice = others > 0 && wanted === undefined ? `; for another of its ${others + 1} models add its name` : '';
  return `by ${model} of ${provider}${choice}`;
}

async function showBill(operator: Client, accountId: string, run: Run): Promise<boolean> {
  const books = await readBooks(operator, accountId);
  const { table, differences } = compareBill(run, books);
  say(`\n${table}\n  estimated at most ${run.creditsEstimated}, used ${run.creditsUsed}; `);
  say(`the account has ${books.available} of ${grantedCredits} left, ${books.held} held\n`);
  say(
    differences.length === 0
      ? '  every stage, and the balance, as the ledger has them\n'
      : '  NOT as the ledger has it:\n',
  );
  for (const line of differences) say(`    ${line}\n`);
  return differences.length === 0;
}

/** Why tasks failed: each reason once, with how many tasks of the stage it met. */
async function showFailures(client: Client, run: Run): Promise<void> {
  if (run.stages.every(({ failed }) => failed === 0)) return;
  const reasons = new Map(run.stages.map(({ key }) => [key, new Map<string, number>()]));
  for (let after: string | null = null; ; ) {
    const { tasks }: any = (await client.request(readTasks, { id: run.id, first: pageSize, after })).run;
    for (const { tags, error } of tasks.nodes) {
      const ofStage = reasons.get(tags.find((tag: string) => reasons.has(tag)));
      const reason = error && `${error.code}, ${error.message}`;
      if (reason) ofStage?.set(reason, (ofStage.get(reason) ?? 0) + 1);
    }
    if (!tasks.pageInfo.hasNextPage) break;
    after = tasks.pageInfo.endCursor;
  }
  say('\n  what failed\n');
  for (const [key, ofStage] of reasons)
    for (const [reason, count] of ofStage) say(`    ${key}: ${count} × ${reason}\n`);
}

const refusal = '... on UserError { code message } ... on ValidationError { issues { path message } }';
const createProject = `mutation { createProject(input: { name: "magazine" }) { ... on CreateProjectSuccess { project { id } } ${refusal} } }`;
const addItems = `mutation ($project: ID!, $items: [JSON!]!) {
  addItems(projectId: $project, kind: "keyword", items: $items) { ... on AddItemsSuccess { added skipped } ${refusal} }
}`;
const setStages = `mutation ($input: UpdatePipelineConfigurationInput!) {
  updatePipelineConfiguration(input: $input) { ... on UpdatePipelineConfigurationSuccess { configuration { id } } ${refusal} }
}`;
const estimateRun = `query ($project: ID!) {
  estimateRun(projectId: $project, pipeline: "content_automation") { ... on RunEstimate { total required } ${refusal} }
}`;
const startRun = `mutation ($project: ID!) {
  startRun(projectId: $project, pipeline: "content_automation") { ... on RunSuccess { run { id stages { key } } } ${refusal} }
}`;
const readRun = `query ($id: ID!) {
  run(id: $id) {
    id status error { code message } creditsEstimated creditsUsed stages { key status done failed creditsUsed }
  }
}`;
const readTasks = `query ($id: ID!, $first: Int, $after: String) {
  run(id: $id) {
    tasks(first: $first, after: $after) {
      nodes { ... on BaseTask { tags error { code message } } } pageInfo { hasNextPage endCursor }
    }
  }
}`;
