import type { z } from 'zod';
import type { Core } from '../core.ts';
import type { Stage } from '../db.ts';
import { type FieldIssue, Refusal, validation } from '../errors.ts';
import { estimateTask } from '../lifecycle/create.ts';
import { agentFor } from './agent.ts';
import { scopeOf } from './batch.ts';
import { type Configured, type Scope, type StageSettings, settingsOf } from './configuration.ts';
import { type PipelineDefinition, type StageDefinition, sourceOf, type TasksStage } from './definition.ts';
import { targetOf, taskInput } from './stages/tasks.ts';
import { templateNames } from './template.ts';

export interface RunEstimate {
  stages: { key: string; items: number; credits: number }[];
  total: number;
  /** What a run holds when it starts: a fifth more. */
  required: number;
}

/** As many as can be counted in GraphQL. */
const mostItems = 2 ** 31 - 1;

/**
 * What a run would cost at most: for each stage the items that wait there, and those that the stages before it will make, times the quote of a
 * task, and times how often a later stage may send them back.
 * @param added items that the run's input brings, by kind. @param from the first stage that is counted.
 * @throws Refusal ValidationError that names the stage whose task cannot be made, as when no provider makes it.
 */
export async function estimateRun(
  core: Core,
  scope: Scope,
  { pipeline: { definition }, stages }: Pick<Configured, 'pipeline' | 'stages'>,
  { input, added = [], from }: { input: unknown; added?: { kind: string; data: unknown }[]; from?: string },
): Promise<RunEstimate> {
  const counts = new Map<string, number>();
  const estimates: RunEstimate['stages'] = [];
  let isCounted = from === undefined;
  for (const stage of definition.stages) {
    isCounted ||= stage.key === from;
    if (!isCounted) continue;
    const set = stages.get(stage.key);
    const source = sourceOf(definition, stage);
    const brought = set?.inlet ? added.filter(({ kind }) => kind === set.inlet).length : 0;
    const items = (set?.waiting ?? 0) + brought + Math.ceil((source && counts.get(source.key)) ?? 0);
    if (items > mostItems)
      throw validation([
        {
          path: ['stages', stage.key],
          message: `would take more than ${mostItems} items, by what the stages before it yield`,
        },
      ]);
    counts.set(stage.key, 'yields' in stage ? items * stage.yields : items);
    let credits = 0;
    if (stage.kind === 'TASKS' && items > 0) {
      const settings = settingsOf(stage, set);
      const times = Math.ceil(items / settings.batchSize) * roundsOf(definition, stage);
      const given = added.filter(({ kind }) => kind === stage.input).map(({ data }) => data);
      credits = times * (await quote(core, scope, stage, { set, settings, input, given }));
    }
    estimates.push({ key: stage.key, items, credits });
  }
  const total = estimates.reduce((sum, { credits }) => sum + credits, 0);
  // In whole numbers: 1.2 has no exact one.
  const required = Math.ceil((total * 6) / 5);
  if (!Number.isSafeInteger(required))
    throw validation([{ path: ['stages'], message: 'would cost more credits than an account can have' }]);
  return { stages: estimates, total, required };
}

/** How often a stage does an item at most: again each time that a later one sends it back. */
function roundsOf({ stages }: PipelineDefinition, stage: StageDefinition): number {
  const place = stages.indexOf(stage);
  const over = stages.filter((each, index): each is TasksStage => {
    const sendBack = 'sendBack' in each ? each.sendBack : undefined;
    return sendBack !== undefined && index >= place && stages.findIndex(({ key }) => key === sendBack.to) <= place;
  });
  return over.reduce((rounds, { sendBack }) => rounds * (1 + sendBack!.atMost), 1);
}

/**
 * Of one task, by an item that the run's input brings or that waits for the stage, else by one of its kind. One of which no task could be made
 * says nothing: it will fail, and the others will not.
 */
async function quote(
  core: Core,
  scope: Scope,
  stage: TasksStage,
  {
    set,
    settings,
    input,
    given,
  }: { set: Stage | undefined; settings: StageSettings; input: unknown; given: unknown[] },
): Promise<number> {
  const agent = await agentFor(core, scope, stage, settings);
  const items = await samplesOf(core, scope, stage, set);
  const fixed: Record<string, unknown> = { ...(agent?.parameters as object | null), ...stage.task };
  for (const data of [...given, ...items, {}]) {
    const filled = scopeOf({ items: [{ data, note: null }], ancestors: { [stage.input]: data } }, input);
    try {
      const { quoted } = await estimateTask(core, scope, {
        type: stage.taskType,
        input: withSamples(core, stage.taskType, taskInput(core, stage, agent, filled)),
        projectId: scope.projectId,
        ...targetOf(settings, agent),
        sent: {},
      });
      return quoted;
    } catch (error) {
      if (error instanceof RangeError) continue;
      if (!(error instanceof Refusal)) throw error;
      const issues: FieldIssue[] =
        'issues' in error.facts ? error.facts.issues : [{ path: [], message: error.message }];
      // `task.generateText.maxTokens`: what no item brings, none can mend.
      const isOfItem = ({ path: [first, , field = ''] }: FieldIssue) =>
        first === 'task' && (!(field in fixed) || templateNames(fixed[field]).length > 0);
      if (issues.every(isOfItem)) continue;
      throw validation(issues.map(({ path, message }) => ({ path: ['stages', stage.key, ...path], message })));
    }
  }
  return 0;
}

/** Data of some items that wait for a stage, and of some of its kind, the newest first. */
async function samplesOf(
  core: Core,
  { projectId }: Scope,
  { key, input }: TasksStage,
  set: Stage | undefined,
): Promise<unknown[]> {
  const rows = await core.db.sql<{ data: unknown }>(
    `(select i.data from work w join item i on i.id = w.item_id where w.configuration_id = $1 and w.stage = $2 and w.state = 'WAITING' order by w.item_id desc limit $5)
     union all (select data from item where project_id = $3 and kind = $4 order by id desc limit $5)`,
    [set?.configurationId ?? null, key, projectId, input, samples],
    'estimate_samples',
  );
  return rows.map(({ data }) => data);
}

/** What a task must have and no item says yet, so that it can be quoted: the first of these that fits. */
function withSamples(core: Core, taskType: string, input: Record<string, unknown>): Record<string, unknown> {
  const shape: Record<string, z.ZodType> = core.registry.taskType(taskType)?.input.shape ?? {};
  const added = Object.entries(shape)
    .filter(([field, schema]) => !input[field] && !schema.safeParse(input[field]).success)
    .map(([field, schema]) => [field, stopgaps.find((each) => schema.safeParse(each).success)]);
  return { ...input, ...Object.fromEntries(added) };
}

const samples = 5;
const stopgaps = ['sample', 1, 64, 1024, true, ['sample'], {}];
