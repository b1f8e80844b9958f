import { distance } from 'fastest-levenshtein';
import { z } from 'zod';
import { type FieldIssue, quoted } from '../errors.ts';
import type { PipelineTransform, TaskType } from '../sdk/index.ts';
import { schemaIssues, schemaProblem } from './json-schema.ts';
import { isUnclosed, templateNames } from './template.ts';

const name = (what: string) =>
  z
    .string()
    .regex(
      /^[a-z][a-z0-9_]{0,59}$/,
      `${what} must be lower_snake, at most 60 characters, as my_${what.split(' ').at(-1)}`,
    );

/** What templates say beside the kinds of items. */
const scopeNames = ['item', 'items', 'input', 'passages', 'note'];
/** And of what a task has made. */
const resultNames = ['result', 'each'];

const kind = name('a kind')
  .refine(
    (given) => ![...scopeNames, ...resultNames].includes(given),
    `a kind cannot be called ${[...scopeNames, ...resultNames].join(', ')}: these mean something else in templates`,
  )
  .describe('What kind of items.');
const template = z.string().max(100_000);

const base = {
  key: name('a key').describe('Unique in the pipeline.'),
  title: z.string().min(1).max(200).describe('For people.'),
  input: kind.describe('The kind of items that it takes.'),
  from: name('a key')
    .optional()
    .describe(
      'The earlier stage whose items it takes. Default: the last one before it that gives this kind; none: items come from outside.',
    ),
};

const common = {
  ...base,
  batchSize: z
    .int()
    .min(1)
    .max(1_000)
    .optional()
    .describe('Items that it takes together. Default: 1; of TRANSFORM 1,000.'),
};

const retrieve = z.strictObject({
  query: template.min(1).describe('A template.'),
  first: z.int().min(1).max(20).default(5).describe('How many passages. Default: 5.'),
  category: z.string().max(100).optional().describe('Only documents of this category.'),
  tags: z.array(z.string().max(100)).max(20).optional().describe('Only documents with all of these tags.'),
});

const tasks = z.strictObject({
  ...common,
  kind: z.literal('TASKS'),
  output: kind.describe('The kind of items that its tasks make.'),
  taskType: z.string().describe('As generate_text.'),
  agent: z
    .enum(['WRITER', 'REVIEWER', 'DESIGNER', 'SEO'])
    .optional()
    .describe("Whose default profile does it. Default: nobody's."),
  task: z.record(z.string(), z.json()).describe('The input of the task; its texts are templates.'),
  each: z
    .string()
    .optional()
    .describe(
      'Where in the result the list is of which each is an item, as json.ideas. Default: the result makes one item.',
    ),
  data: z
    .record(z.string(), z.json())
    .optional()
    .describe(
      "The item's data, from `result` and `each`; texts are templates. Default: what `each` gives, else the result without its files.",
    ),
  retrieve: retrieve.optional().describe('What is looked up in the knowledge of the project for it: {{passages}}.'),
  sendBack: z
    .strictObject({
      to: name('a key').describe('The earlier stage that does it again.'),
      unless: z.string().describe('Where in the result a true lets it pass, as json.approved.'),
      note: z.string().describe('Where in the result the reason is: {{note}} of the stage.'),
      atMost: z.int().min(0).max(10).default(2).describe('How often; then it passes. Default: 2.'),
    })
    .optional()
    .describe('Lets the stage send an item back. What passes goes on as it was: `output` must be `input`.'),
  yields: z
    .number()
    .positive()
    .max(1_000)
    .default(1)
    .describe('Items that it makes of one, for the estimate. Default: 1.'),
});

const transform = z.strictObject({
  ...common,
  kind: z.literal('TRANSFORM'),
  output: kind.describe('The kind of items that it makes.'),
  transform: z.string().describe('The name of a function that is built in or that a plugin brings.'),
  parameters: z.record(z.string(), z.json()).default({}).describe('For the function.'),
  yields: z
    .number()
    .positive()
    .max(1_000)
    .default(1)
    .describe('Items that it makes of one, for the estimate. Default: 1.'),
});

const retrieval = z.strictObject({ ...common, kind: z.literal('RETRIEVE'), ...retrieve.shape });

const review = z.strictObject({
  ...base,
  kind: z.literal('REVIEW'),
  form: z.record(z.string(), z.json()).optional().describe('A JSON Schema of what may be edited. Default: everything.'),
  timeoutSeconds: z
    .int()
    .min(1)
    .max(366 * 86_400)
    .optional()
    .describe('How long it waits. Default: for ever.'),
  onTimeout: z.enum(['APPROVE', 'REJECT']).default('REJECT').describe('What happens then. Default: REJECT.'),
});

/** One step of a pipeline. */
export const stageDefinition = z.discriminatedUnion('kind', [tasks, transform, retrieval, review]);
export type StageDefinition = z.output<typeof stageDefinition>;
export type StageDefinitionInput = z.input<typeof stageDefinition>;
export type TasksStage = z.output<typeof tasks>;
export type TransformStage = z.output<typeof transform>;
export type RetrieveStage = z.output<typeof retrieval>;
export type ReviewStage = z.output<typeof review>;

/** A pipeline as it is written down, and kept with each of its versions. */
export const pipelineDefinition = z.strictObject({
  name: name('a name').describe('The same name again is the next version.'),
  title: z.string().min(1).max(200).describe('For people.'),
  input: z
    .strictObject({
      kind,
      schema: z.record(z.string(), z.json()).describe('A JSON Schema of it.'),
    })
    .optional()
    .describe(
      "What a run's input must be, and the kind of the item that is made of it. Default: runs take what is in the project.",
    ),
  stages: z.array(stageDefinition).min(1).max(50).describe('First to last.'),
});
export type PipelineDefinition = z.output<typeof pipelineDefinition>;
export type PipelineDefinitionInput = z.input<typeof pipelineDefinition>;

/** The kind of items that come out of a stage. */
export function outputOf(stage: StageDefinition): string {
  return 'output' in stage ? stage.output : stage.input;
}

/** True for a stage through which items go as they are, each one further or not. */
export const isGate = (stage: StageDefinition): boolean => outputOf(stage) === stage.input;

/** The stage whose items a stage takes. Undefined: they come from outside. */
export function sourceOf({ stages }: PipelineDefinition, stage: StageDefinition): StageDefinition | undefined {
  const before = stages.slice(0, stages.indexOf(stage));
  if (stage.from) return before.find(({ key }) => key === stage.from);
  return before.findLast((earlier) => outputOf(earlier) === stage.input);
}

/** The stages that take the items of a stage. */
export function nextOf(definition: PipelineDefinition, stage: StageDefinition): string[] {
  return definition.stages.filter((each) => sourceOf(definition, each) === stage).map(({ key }) => key);
}

/** The kind of items from outside that go into a stage: the first of the pipeline that takes it has it. */
export function inletOf({ stages }: PipelineDefinition, stage: StageDefinition): string | null {
  return stages.find(({ input }) => input === stage.input) === stage ? stage.input : null;
}

/** Where the first stage is that a run which begins at a stage may come to: an earlier one, where a later one sends back to it. -1: no such stage. */
export function firstOf({ stages }: PipelineDefinition, key: string): number {
  let first = stages.findIndex((stage) => stage.key === key);
  for (let index = stages.length - 1; first >= 0 && index >= first; index--) {
    const stage = stages[index]!;
    const to = 'sendBack' in stage && stage.sendBack?.to;
    if (to)
      first = Math.min(
        first,
        stages.findIndex((each) => each.key === to),
      );
  }
  return first;
}

/** What the definition names must be there. */
export interface Known {
  taskType(name: string): TaskType | undefined;
  transform(name: string): PipelineTransform | undefined;
}

/**
 * Reads a definition.
 * @returns the definition with its defaults, or what is wrong with it, with paths from `path` down.
 */
export function readDefinition(
  given: unknown,
  known: Known,
  path: string[] = ['definition'],
): { definition: PipelineDefinition } | { issues: FieldIssue[] } {
  const parsed = pipelineDefinition.safeParse(given);
  if (!parsed.success)
    return {
      issues: parsed.error.issues.map((issue) => ({
        path: [...path, ...issue.path.map(String)],
        message: issue.message,
      })),
    };
  const issues = parsed.data.stages
    .flatMap((stage, index) =>
      checkStage(parsed.data, stage, known).map((issue) => ({
        ...issue,
        path: ['stages', String(index), ...issue.path],
      })),
    )
    .map((issue) => ({ ...issue, path: [...path, ...issue.path] }));
  const problem = parsed.data.input && schemaProblem(parsed.data.input.schema);
  if (problem) issues.push({ path: [...path, 'input', 'schema'], message: problem });
  return issues.length > 0 ? { issues } : { definition: parsed.data };
}

function checkStage(definition: PipelineDefinition, stage: StageDefinition, known: Known): FieldIssue[] {
  const { stages } = definition;
  const index = stages.indexOf(stage);
  const before = stages.slice(0, index);
  const issues: FieldIssue[] = [];
  const refuse = (condition: boolean, field: string, message: string) => {
    if (condition) issues.push({ path: [field], message });
  };
  refuse(
    before.some(({ key }) => key === stage.key),
    'key',
    `there is a stage "${stage.key}" already`,
  );
  issues.push(...checkReference(definition, stage, 'from', stage.from, stage.input));
  const source = sourceOf(definition, stage);
  const later = stages.slice(index + 1).find((each) => outputOf(each) === stage.input);
  const isFromOutside = inletOf(definition, stage) !== null;
  refuse(
    !source && !isFromOutside,
    'input',
    `nothing gives it items: another stage takes what comes of the kind ${stage.input}; say with \`from\` which stage gives them`,
  );
  refuse(
    !source && later !== undefined && before.length > 0,
    'input',
    `a cycle: ${stage.input} is made by "${later?.key}", which comes after it; put the stages in the order in which they work`,
  );
  if (stage.kind === 'TASKS') {
    const type = known.taskType(stage.taskType);
    refuse(!type, 'taskType', `no task type ${quoted(stage.taskType)} is installed`);
    if (type) issues.push(...checkTask(type, stage));
    if (stage.sendBack) {
      const missing = checkReference(definition, stage, 'sendBack', stage.sendBack.to);
      const problem = missing.length === 0 ? lineProblem(definition, stage, stage.sendBack.to) : undefined;
      issues.push(...missing);
      refuse(problem !== undefined, 'sendBack', problem ?? '');
      refuse(
        !isGate(stage),
        'output',
        'a stage that can send back lets items pass as they are: its output must be its input',
      );
    }
    issues.push(...checkNames(definition, stage, 'task', stage.task));
    issues.push(...checkNames(definition, stage, 'data', stage.data, stage.each ? resultNames : ['result']));
    if (stage.retrieve) issues.push(...checkNames(definition, stage, 'retrieve', stage.retrieve.query));
  }
  if (stage.kind === 'REVIEW') {
    const problem = stage.form && schemaProblem(stage.form);
    refuse(problem !== undefined, 'form', problem ?? '');
  }
  if (stage.kind === 'TRANSFORM') {
    const transform = known.transform(stage.transform);
    refuse(!transform, 'transform', `no transform ${quoted(stage.transform)} is installed`);
    if (transform?.parameters) issues.push(...schemaIssues(transform.parameters, stage.parameters, ['parameters']));
  }
  if (stage.kind === 'RETRIEVE') issues.push(...checkNames(definition, stage, 'query', stage.query));
  return issues;
}

/** What no item can mend: a field that the task type does not have, one that it must have, a value that never fits. */
function checkTask(type: TaskType, { task, agent }: TasksStage): FieldIssue[] {
  const shape: Record<string, z.ZodType> = type.input.shape;
  const fields = Object.keys(shape);
  const given = Object.entries(task).flatMap(([field, value]) => {
    const path = ['task', field];
    const schema = Object.hasOwn(shape, field) ? shape[field] : undefined;
    if (!schema) return [{ path, message: `${type.name} has no such input${meant(field, fields)}` }];
    if (templateNames(value).length > 0) return [];
    const issues = schema.safeParse(value).error?.issues ?? [];
    return issues.map((issue) => ({ path: [...path, ...issue.path.map(String)], message: issue.message }));
  });
  // An agent may bring it.
  const missing = fields.filter((field) => !agent && !(field in task) && !shape[field]!.safeParse(undefined).success);
  return [...given, ...missing.map((field) => ({ path: ['task', field], message: `${type.name} needs it` }))];
}

/** Why what a stage sends back could not be done again without doing more: between the two stands one item for one. */
function lineProblem(definition: PipelineDefinition, judge: StageDefinition, to: string): string | undefined {
  for (
    let stage = judge, source = sourceOf(definition, judge);
    ;
    stage = source, source = sourceOf(definition, source)
  ) {
    if (!source) return `"${judge.key}" does not take what comes of "${to}"`;
    const beside = nextOf(definition, source).find((key) => key !== stage.key);
    if (beside) return `what "${source.key}" gives also goes to "${beside}", which would have it again each time`;
    if ('each' in source && source.each !== undefined)
      return `"${source.key}" makes several of one (each): all would be made again for one that is sent back`;
    if (source.kind === 'TRANSFORM' && !isGate(source))
      return `"${source.key}" is a TRANSFORM that may make several of one: all would be made again for one that is sent back`;
    if (source.key === to) return undefined;
  }
}

function checkReference(
  { stages }: PipelineDefinition,
  stage: StageDefinition,
  field: string,
  key: string | undefined,
  kindOfIt?: string,
): FieldIssue[] {
  if (key === undefined) return [];
  const refuse = (message: string) => [{ path: [field], message }];
  const found = stages.find((each) => each.key === key);
  if (!found)
    return refuse(
      `no stage ${quoted(key)}${meant(
        key,
        stages.map((each) => each.key),
      )}`,
    );
  if (stages.indexOf(found) >= stages.indexOf(stage))
    return refuse(`a cycle: "${key}" does not come before "${stage.key}"; a stage takes items of earlier ones`);
  if (kindOfIt && outputOf(found) !== kindOfIt)
    return refuse(`"${key}" gives ${outputOf(found)}, and this stage takes ${kindOfIt}`);
  return [];
}

/** A template can say what an item is, or what it was made from: its own kind, and those of the stages before. */
function checkNames(
  definition: PipelineDefinition,
  stage: StageDefinition,
  field: string,
  templates: unknown,
  more: string[] = [],
): FieldIssue[] {
  const kinds = new Set([stage.input]);
  for (let source = sourceOf(definition, stage); source; source = sourceOf(definition, source)) kinds.add(source.input);
  const known = [...kinds, ...scopeNames, ...more];
  if (isUnclosed(templates)) return [{ path: [field], message: 'a placeholder is not closed: {{name}}' }];
  return templateNames(templates)
    .filter((each) => !known.includes(each))
    .map((each) => ({
      path: [field],
      message: `{{${each}}} is unknown here${meant(each, known)}; there is ${known.join(', ')}`,
    }));
}

function meant(given: string, known: string[]): string {
  const nearest = known.map((each) => ({ each, far: distance(given, each) })).sort((a, b) => a.far - b.far)[0];
  return nearest && nearest.far <= 3 ? `; did you mean ${nearest.each}?` : '';
}
