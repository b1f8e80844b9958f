import { Refusal } from '../errors.ts';
import { fromId, toId } from '../id.ts';
import { createPipeline, listPipelines, type PipelineVersion, pipelinesOf } from '../pipelines/catalog.ts';
import { outputOf, type StageDefinition } from '../pipelines/definition.ts';
import { type GraphContext, requireScope } from './context.ts';
import type { Graph } from './graph.ts';
import { resultUnion } from './result.ts';

/** A version of a pipeline that the caller's account can run, or null. */
export async function findPipelineVersion(context: GraphContext, id: string): Promise<PipelineVersion | null> {
  const uuid = fromId('Pipeline', id);
  const [row] = uuid ? await pipelinesOf(context.core, [uuid]) : [];
  return row && (row.accountId === null || row.accountId === context.caller.accountId) ? row : null;
}

/** Pipeline, PipelineStage, `pipelines`, `createPipeline`. */
export function addPipeline(graph: Graph): void {
  const { builder, registry, Node, TaskType } = graph;
  const StageKind = builder.enumType('StageKind', {
    description: 'What a stage does with its items.',
    values: {
      TASKS: { description: 'A task for each item, or for each batch of items.' },
      TRANSFORM: { description: 'A function that runs here, without a provider and without credits.' },
      RETRIEVE: { description: "Adds what the project's knowledge says of an item." },
      REVIEW: { description: 'A person decides on each item.' },
    } as const,
  });
  const PipelineStage = builder.objectRef<StageDefinition>('PipelineStage').implement({
    description: 'One step of a pipeline.',
    fields: (t) => ({
      key: t.exposeString('key', { description: 'Its name in the pipeline: lower_snake, at most 60 characters.' }),
      title: t.exposeString('title', { description: 'For people.' }),
      kind: t.field({ type: StageKind, description: 'What it does with its items.', resolve: ({ kind }) => kind }),
      input: t.exposeString('input', { nullable: true, description: 'The kind of items that it takes.' }),
      output: t.string({
        nullable: true,
        description: 'The kind of items that it makes; that of `input` where it lets items pass.',
        resolve: outputOf,
      }),
      taskType: t.field({
        type: TaskType,
        nullable: true,
        description:
          'Of which type its tasks are. null for other kinds, and for a task type that is not installed here.',
        resolve: (stage) => (stage.kind === 'TASKS' && registry.taskType(stage.taskType) ? stage.taskType : null),
      }),
    }),
  });
  const Pipeline = builder.objectType('Pipeline', {
    description: 'A version of a list of stages. A run keeps the version that it began with.',
    interfaces: [Node],
    fields: (t) => ({
      id: t.id({ description: 'Id of this version.', resolve: ({ id }) => toId('Pipeline', id) }),
      name: t.exposeString('name', { description: 'By which it is started: lower_snake, at most 60 characters.' }),
      title: t.exposeString('title', { description: 'For people.' }),
      version: t.exposeInt('version', { description: '1, 2, 3 … of its name.' }),
      stages: t.field({
        type: [PipelineStage],
        description: 'First to last, at most 50.',
        resolve: ({ definition }) => definition.stages,
      }),
    }),
  });
  const Success = builder.objectRef<{ pipeline: PipelineVersion }>('CreatePipelineSuccess').implement({
    description: 'The pipeline can be run from now on; runs that are live keep their version.',
    fields: (t) => ({
      pipeline: t.field({ type: Pipeline, description: 'Its newest version.', resolve: ({ pipeline }) => pipeline }),
    }),
  });
  const result = resultUnion(graph, 'CreatePipelineResult', Success, ['ValidationError']);
  builder.queryField('pipelines', (t) =>
    t.field({
      type: [Pipeline],
      description:
        'The newest version of every pipeline that the account can run: its own, and those of Atelier and its plugins. By name. Scope tasks:read.',
      resolve: (_root, _args, context) => {
        requireScope(context, 'tasks:read');
        return listPipelines(context.core, context.caller.accountId);
      },
    }),
  );
  builder.mutationField('createPipeline', (t) =>
    t.field({
      type: result.ref,
      description:
        "Creates a pipeline of the account's own. The same name again makes its next version, unless nothing has changed. Scope tasks:write; not for client tokens that are narrowed.",
      args: {
        definition: t.arg({
          type: 'JSON',
          required: true,
          description: '{ name, title, input?, stages: […] }, at most 1,000,000 bytes of JSON; see docs/pipelines.md.',
        }),
      },
      resolve: (_root, { definition }, context) =>
        result.answer(context, ['tasks:write'], async () => {
          if (context.caller.only) throw narrowed();
          return { pipeline: await createPipeline(context.core, context.caller.accountId, definition) };
        }),
    }),
  );
}

/** What a narrowed token must not do: change what is the whole account's. */
export const narrowed = (): Refusal =>
  new Refusal('ForbiddenError', 'FORBIDDEN', 'This token is narrowed; it changes nothing of the whole account.', {
    requiredScope: 'tasks:write',
  });
