import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { toId } from '../src/id.ts';
import { setRoute } from '../src/lifecycle/routes.ts';
import { builtInPipelines } from '../src/pipelines/built-in/index.ts';
import { outputOf, pipelineDefinition } from '../src/pipelines/definition.ts';
import { builtInTransforms } from '../src/pipelines/transforms/index.ts';
import { createTestBed, eventually, type TestBed } from './kit.ts';

const text = readFileSync('docs/pipelines.md', 'utf8');
const fences = [...text.matchAll(/^```(\w+)\n(.*?)^```$/gms)].map(([, language, code]) => ({ language, code: code! }));
const graphql = (name: string) =>
  fences.find(({ language, code }) => language === 'graphql' && code.includes(`${name}(`))!.code;
const definition = JSON.parse(fences.find(({ language }) => language === 'json')!.code);

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
    for (const { name } of builtInTransforms) expect(text).toContain(`\`${name}\``);
  });
});

describe('who does what it says', () => {
  let bed: TestBed;
  let variables: { [name: string]: string };
  const ask = async (query: string, more: object = {}) => {
    const { data, errors } = await bed.graphql(query, { ...variables, ...more });
    expect(errors, query).toBeUndefined();
    const [answer] = Object.values<any>(data);
    expect(answer.code ?? answer.issues, query).toBeUndefined();
    return answer;
  };
  beforeAll(async () => {
    bed = await createTestBed({ environment: { ATELIER_ADAPTER_SCRIPTED: '{"enabled":true}' } });
    await setRoute(bed.core, 'generate_text', [{ provider: 'scripted', model: null }]);
    const [project] = await bed.sql<{ id: string }>('select id from project where account_id = $1', [bed.account.uuid]);
    variables = { project: toId('Project', project!.id) };
  });
  afterAll(() => bed.close());

  it('adds items, knowledge and an agent, and starts, watches, reviews and pays a pipeline of his own', async () => {
    expect(await ask(graphql('addItems'))).toMatchObject({ added: 2, skipped: 0 });
    expect((await ask(graphql('addKnowledgeDocument'))).document.passageCount).toBeGreaterThan(0);
    const { agentProfile } = await ask(graphql('createAgentProfile'));
    await ask(
      'mutation ($definition: JSON!) { createPipeline(definition: $definition) { ... on CreatePipelineSuccess { pipeline { version } } ... on UserError { code } ... on ValidationError { issues { path message } } } }',
      { definition },
    );
    const { name, stages } = definition;
    await ask(
      'mutation ($input: UpdatePipelineConfigurationInput!) { updatePipelineConfiguration(input: $input) { ... on UpdatePipelineConfigurationSuccess { configuration { id } } ... on UserError { code message } ... on ValidationError { issues { path message } } } }',
      {
        input: {
          projectId: variables.project,
          pipeline: name,
          stages: [{ key: stages[1].key, agentId: agentProfile.id }],
        },
      },
    );
    await ask(graphql('addItems').replace('"keyword"', '"product"'));
    const { run } = await ask(graphql('startRun').replace('"content_automation"', `"${name}"`));
    const events = bed.subscribe(
      'subscription ($id: ID!) { runEvents(id: $id) { seq __typename ... on RunStatusChanged { status } } }',
      { id: run.id },
    );
    const statuses: string[] = [];
    for await (const { data } of events) {
      const { status } = data.runEvents;
      if (status) statuses.push(status);
      if (status !== 'WAITING_FOR_REVIEW') continue;
      const { nodes } = await ask(
        'query ($project: ID!) { reviews(projectId: $project) { nodes { id item { data } } } }',
      );
      for (const { id } of nodes) {
        await ask(graphql('decideReview'), { id });
      }
    }
    expect(statuses).toEqual(['RUNNING', 'WAITING_FOR_REVIEW', 'COMPLETED']);
    const pages = await ask(
      'query ($project: ID!) { items(projectId: $project, kind: "page") { nodes { state data } } }',
    );
    expect(pages.nodes).toHaveLength(2);
    for (const page of pages.nodes) expect(page).toMatchObject({ state: 'DONE', data: { text: 'Better' } });
  });

  it('runs what comes with Atelier until its review', async () => {
    await setRoute(bed.core, 'generate_text', []);
    await ask(graphql('addItems'));
    const { run } = await ask(graphql('startRun').replace('2026-11-22', '2026-11-23'));
    const waits = await eventually(async () => {
      const { currentStage, status } = await ask('query ($id: ID!) { run(id: $id) { status currentStage } }', {
        id: run.id,
      });
      return status === 'WAITING_FOR_REVIEW' && currentStage;
    }, 60_000);
    expect(waits).toBe('review');
  }, 70_000);
});
