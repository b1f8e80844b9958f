import type { Configured } from '../pipelines/configuration.ts';
import { requireScope } from './context.ts';
import type { Graph } from './graph.ts';
import { readConfigured } from './pipeline-configuration.ts';

/** PipelineOverview, StageOverview, `pipelineOverview`. */
export function addPipelineOverview({ builder }: Graph): void {
  const Stage = builder
    .objectRef<{ key: string; waiting: number; running: number; done: number; failed: number }>('StageOverview')
    .implement({
      description: 'How many items stand where at a stage, over all runs of the project.',
      fields: (t) => ({
        key: t.exposeString('key', { description: 'Of which stage.' }),
        waiting: t.exposeInt('waiting', { description: 'Items that wait for it.' }),
        running: t.exposeInt('running', {
          description: 'Items that it is at; in a review, those that wait for a person.',
        }),
        done: t.exposeInt('done', { description: 'Items that it is done with, those that it turned down too.' }),
        failed: t.exposeInt('failed', { description: 'Items that failed in it, and were not taken again.' }),
      }),
    });
  const Overview = builder.objectRef<Configured>('PipelineOverview').implement({
    description: 'How much of the work of a pipeline stands where, in a project.',
    fields: (t) => ({
      pipeline: t.field({
        type: 'Pipeline',
        description: 'Of which pipeline, in its newest version.',
        resolve: ({ pipeline }) => pipeline,
      }),
      stages: t.field({
        type: [Stage],
        description: 'First to last.',
        resolve: ({ pipeline: { definition }, stages }) => definition.stages.map(({ key }) => stages.get(key)!),
      }),
    }),
  });
  builder.queryField('pipelineOverview', (t) =>
    t.field({
      type: Overview,
      nullable: true,
      description:
        'How much of the work of a pipeline stands where; null when there is no such project or pipeline for this caller. It costs the same for any number of items. Scope tasks:read.',
      args: {
        projectId: t.arg.id({ required: true, description: 'In which project.' }),
        pipeline: t.arg.string({ required: true, description: 'Name of the pipeline.' }),
      },
      resolve: (_root, { projectId, pipeline }, context) => {
        requireScope(context, 'tasks:read');
        return readConfigured(context, projectId, pipeline);
      },
    }),
  );
}
