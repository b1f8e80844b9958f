import { once } from 'node:events';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { json } from 'node:stream/consumers';
import { buildSchema, type GraphQLInputObjectType } from 'graphql';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { setRoute } from '../src/lifecycle/routes.ts';
import { builtInPipelines } from '../src/pipelines/built-in/index.ts';
import { outputOf, pipelineDefinition, stageDefinition } from '../src/pipelines/definition.ts';
import { builtInTransforms } from '../src/pipelines/transforms/index.ts';
import { createTestBed, type TestBed } from './kit.ts';

const text = readFileSync('docs/pipelines.md', 'utf8');
const clients = readFileSync('docs/clients.md', 'utf8');
const fences = [...text.matchAll(/^```(\w*)\n(.*?)^```$/gms)].map(([, language, code]) => ({ language, code: code! }));
const untried = new Set(fences.filter(({ language }) => language === 'graphql').map(({ code }) => code));
/** The example with these words, as it stands. */
const example = (words: string) => {
  const { code } = fences.find((each) => each.language === 'graphql' && each.code.includes(words))!;
  untried.delete(code);
  return code;
};
const definition = JSON.parse(fences.find(({ language }) => language === 'json')!.code);
const plugin = fences.find(({ language }) => language === 'js')!.code;

describe('what docs/pipelines.md lists', () => {
  it('are the pipelines that come with Atelier, with their stages', () => {
    for (const { name, stages } of builtInPipelines) {
      const row = text.split('\n').find((line) => line.startsWith(`| \`${name}\``))!;
      for (const { key } of stages) expect(row).toContain(key);
      for (const stage of pipelineDefinition.parse(builtInPipelines.find((each) => each.name === name)).stages)
        expect(row).toContain(outputOf(stage));
    }
  });

  it('are the transforms that come with Atelier', () => {
    for (const { name } of builtInTransforms) expect(text).toMatch(new RegExp(`^\\| \`${name}\` `, 'm'));
  });

  it('are the fields of each kind of stage, and no others', () => {
    const common = fieldsBelow('A pipeline has');
    for (const option of stageDefinition.options) {
      const kind = option.shape.kind.value;
      const own = fieldsBelow(`**${kind}**`);
      const told = [...common, ...own].filter((name) => kind !== 'REVIEW' || name !== 'batchSize');
      expect(told.sort(), kind).toEqual(Object.keys(option.shape).sort());
    }
  });

  it('are the settings of a pipeline and of its stages, and no others', async () => {
    const schema = buildSchema(readFileSync('schema.graphql', 'utf8'));
    const fieldsOf = (name: string) => Object.keys((schema.getType(name) as GraphQLInputObjectType).getFields());
    const told = fieldsBelow('What is left out stays', 2);
    const settings = [...fieldsOf('UpdatePipelineConfigurationInput'), ...fieldsOf('StageConfigurationInput')];
    expect(told.sort()).toEqual(
      settings.filter((name) => !['projectId', 'pipeline', 'stages', 'key'].includes(name)).sort(),
    );
  });

  it('are the codes of items and runs that fail; docs/clients.md lists those of refusals', () => {
    const sources = ['pipelines', 'knowledge'].flatMap((folder) =>
      readdirSync(`src/${folder}`, { recursive: true, encoding: 'utf8' })
        .filter((file) => file.endsWith('.ts'))
        .map((file) => readFileSync(join('src', folder, file), 'utf8')),
    );
    const untold = (pattern: RegExp, where: string) =>
      sources
        .flatMap((source) => [...source.matchAll(pattern)].map(([, code]) => code!))
        .filter((code) => !where.includes(`\`${code}\``));
    expect(untold(/code: '([A-Z_]+)'/g, text)).toEqual([]);
    // Of the schedule's own no client hears.
    expect(untold(/(?:conflict\(|Error',)\s*'([A-Z_]+)'/g, clients)).toEqual(['STARTED_ALREADY']);
  });

  it('are the names that no kind may have', () => {
    const [, names] = /A kind is lower_snake, and not (.*)\./.exec(text)!;
    for (const name of names!.split(/, | or /)) {
      const stages = [{ ...definition.stages[0], input: name }];
      expect(pipelineDefinition.safeParse({ ...definition, stages }).success, name).toBe(false);
    }
  });
});

/** The names in the first column of the tables that follow. */
function fieldsBelow(words: string, tables = 1): string[] {
  const rows = [...text.slice(text.indexOf(words)).matchAll(/(?:^\|.*\n)+/gm)].slice(0, tables);
  const cells = rows.flatMap(([table]) => table.split('\n').map((row) => row.split('|')[1] ?? ''));
  return cells.flatMap((cell) => [...cell.matchAll(/`(\w+)`/g)].map(([, name]) => name!));
}

describe('who does what it says', () => {
  let bed: TestBed;
  let folder: string;
  const receiver = createServer().listen(0, '127.0.0.1');
  let variables: { [name: string]: unknown };
  const ask = async (query: string, more: object = {}) => {
    const { data, errors } = await bed.graphql(query, { ...variables, ...more }, { key: bed.operatorKey });
    expect(errors, query).toBeUndefined();
    for (const answer of Object.values<any>(data)) expect(answer.message ?? answer.issues, query).toBeUndefined();
    return Object.values<any>(data)[0];
  };
  const follow = async (id: string, each: (status: string) => unknown = () => {}) => {
    const events = bed.subscribe(
      'subscription ($id: ID!) { runEvents(id: $id) { ... on RunStatusChanged { status } } }',
      { id },
    );
    const statuses: string[] = [];
    for await (const { data } of events) {
      const { status } = data.runEvents;
      if (!status) continue;
      statuses.push(status);
      await each(status);
    }
    return statuses;
  };
  const review = async (decide: (query: string) => string = (query) => query) => {
    const { nodes } = await ask(example('reviews('));
    for (const { id } of nodes) await ask(decide(example('decideReview(')), { review: id });
    return nodes.length;
  };
  const itemsOf = async (kind: string) => {
    const query =
      'query ($project: ID!, $kind: String) { items(projectId: $project, kind: $kind) { nodes { state data } } }';
    return (await ask(query, { kind })).nodes as { state: string; data: any }[];
  };

  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'atelier-garden-'));
    writeFileSync(join(folder, 'garden.mjs'), plugin);
    bed = await createTestBed({
      environment: {
        ATELIER_ADAPTER_SCRIPTED: '{"enabled":true}',
        ATELIER_PLUGINS: join(folder, 'garden.mjs'),
        ATELIER_ALLOWED_HOSTS: '127.0.0.1',
      },
    });
    const { data } = await bed.graphql(example('projects {'), {}, { key: bed.operatorKey });
    variables = { project: data.account.projects[0].id, definition };
  });
  afterAll(async () => {
    await bed?.close();
    receiver.close();
    if (folder) rmSync(folder, { recursive: true });
  });

  it('runs what comes with Atelier: starts, pauses, resumes, watches, reviews and pays it', async () => {
    await setRoute(bed.core, 'generate_text', []);
    expect(await ask(example('kind: "keyword"'))).toEqual({ added: 2, skipped: 0 });
    const { total, required, sufficient } = await ask(example('estimateRun('));
    expect(sufficient).toBe(true);
    const { run } = await ask(example('startRun('));
    expect(run).toMatchObject({ creditsEstimated: total, creditsHeld: required });
    variables.run = run.id;
    await ask(example('pauseRun('));
    let reviewed = 0;
    const statuses = await follow(run.id, async (status) => {
      if (status === 'PAUSED') await ask(example('pauseRun(').replace('pauseRun', 'resumeRun'));
      if (status === 'WAITING_FOR_REVIEW') reviewed = await review();
    });
    expect(statuses).toEqual(['RUNNING', 'PAUSING', 'PAUSED', 'RUNNING', 'WAITING_FOR_REVIEW', 'COMPLETED']);
    expect((await itemsOf('image')).map(({ data }) => data.title)).toEqual(Array(reviewed).fill('Better'));
    const read = await ask(example('run(id: $run)'));
    const { ledger } = await ask(example('ledger('));
    const captured = ledger.nodes.filter(({ leg, runId }: any) => leg === 'CAPTURE' && runId === run.id);
    const sum = (amounts: number[]) => amounts.reduce((all, amount) => all + amount, 0);
    expect(read.creditsUsed).toBe(sum(read.stages.map((stage: any) => stage.creditsUsed)));
    expect(sum(captured.map(({ amount }: any) => amount))).toBeGreaterThan(0);
    expect((await ask(example('rerunFrom('))).run.id).not.toBe(run.id);
  }, 70_000);

  it('has a pipeline of his own, with an agent and knowledge, at the time he says', async () => {
    await setRoute(bed.core, 'generate_text', [{ provider: 'scripted', model: null }]);
    expect((await ask(example('addKnowledgeDocument('))).document.passageCount).toBeGreaterThan(0);
    const [passage] = await ask(example('searchKnowledge('));
    expect(passage).toMatchObject({ weight: 1.5, document: { title: 'Soil' } });
    expect(await ask(example('createPipeline('))).toEqual({ pipeline: { name: definition.name, version: 1 } });
    variables.agent = (await ask(example('createAgentProfile('))).agentProfile.id;
    const { configuration } = await ask(example('agentId:'));
    expect(configuration.stages).toContainEqual({ key: 'texts', agent: { name: 'Ada' } });
    const { nextRuns } = (await ask(example('cron:'))).configuration;
    expect(nextRuns).toHaveLength(5);
    const { run } = await ask(
      example('startRun(').replace('"content_automation"', `"${definition.name}"`).replace('content_automation-', ''),
    );
    const statuses = await follow(run.id, async (status) => {
      if (status === 'WAITING_FOR_REVIEW') await review((query) => query.replace('title:', 'text:'));
    });
    expect(statuses).toEqual(['RUNNING', 'WAITING_FOR_REVIEW', 'COMPLETED']);
    const pages = await itemsOf('page');
    expect(
      pages.map(({ state, data }) => ({ state, ...data })).sort((one, other) => (one.name < other.name ? -1 : 1)),
    ).toEqual([
      { state: 'DONE', name: 'Trowel', text: 'Better' },
      { state: 'DONE', name: 'Watering can', text: 'Better' },
    ]);
    const tasks = await bed.sql<{ input: any }>("select input from task where input->>'prompt' like '%Trowel%'");
    expect(tasks).toMatchObject([
      { input: { system: 'You write like a gardener.', prompt: expect.stringContaining('[1] Soil\n') } },
    ]);
  });

  it('watches it over SSE', async () => {
    const { code } = fences.find((each) => each.code.startsWith('curl -N'))!;
    const [, body] = /-d '(.*)'/.exec(code)!;
    const headers = Object.fromEntries(
      [...code.matchAll(/-H ["']([\w-]+): ([^"']+)["']/g)].map(([, name, value]) => [name, value]),
    );
    const response = await fetch(`${bed.url}/graphql`, {
      method: 'POST',
      headers: { ...headers, authorization: headers.authorization!.replace('$ATELIER_API_KEY', bed.tasksKey) },
      body: body!.replace('run_…', String(variables.run)),
    });
    const answer = await response.text();
    expect(answer).toContain('"stage":{"key":"ideas"');
    expect(answer).toContain('event: complete');
  });

  it('brings a pipeline and a function with a plugin, and is told of its end', async () => {
    const heard = once(receiver, 'request').then(([request, response]) => {
      response.end();
      return json(request) as Promise<any>;
    });
    const add = example('kind: "keyword"')
      .replace('"keyword"', '"acme_note"')
      .replace('"growing tomatoes"', '{ weight: 1 }');
    expect(await ask(add)).toMatchObject({ added: 2 });
    const callbackUrl = `http://127.0.0.1:${(receiver.address() as AddressInfo).port}/`;
    const { run } = await ask(
      example('startRun(')
        .replace('"content_automation"', `"acme_garden", input: { callbackUrl: "${callbackUrl}" }`)
        .replace('content_automation-', 'acme_garden-'),
    );
    expect((await follow(run.id)).at(-1)).toBe('COMPLETED');
    const [, fields] = /Its `data` is `\{(.*?)\}`/.exec(clients)!;
    const { type, data } = await heard;
    expect(type).toBe('run.completed');
    expect(Object.keys(data)).toEqual([...fields!.matchAll(/"(\w+)"/g)].map(([, name]) => name));
    expect(await itemsOf('acme_note')).toEqual([
      { state: 'REJECTED', data: { weight: 1 } },
      { state: 'DONE', data: { text: 'SOURDOUGH!!', volume: 900 } },
    ]);
    const { logs } = await ask(example('run(id: $run)'), { run: run.id });
    expect(logs.nodes.map(({ message }: any) => message)).toEqual(['Left out: it has no text']);
  });

  it('has tried every example', () => expect([...untried]).toEqual([]));
});
