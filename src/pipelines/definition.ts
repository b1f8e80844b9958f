import { z } from 'zod';

const name = (what: string) =>
  z
    .string()
    .regex(
      /^[a-z][a-z0-9_]{0,59}$/,
      `${what} must be lower_snake, at most 60 characters, as my_${what.split(' ').at(-1)}`,
    );

/** What templates say beside the kinds of items. */
export const scopeNames = ['item', 'items', 'input', 'passages', 'note'];
/** And of what a task has made. */
export const resultNames = ['result', 'each'];

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
