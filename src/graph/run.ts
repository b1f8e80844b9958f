import type { ObjectRef } from '@pothos/core';
import type { Prisma, Run, Task } from '../db.ts';
import { fromId, toId } from '../id.ts';
import { isStorable } from '../lifecycle/storable.ts';
import { logsOf, type RunLog, tasksOf } from '../pipelines/run.ts';
import type { StageStanding } from '../pipelines/standing.ts';
import { endedStatuses } from '../pipelines/status.ts';
import { type GraphContext, requireScope } from './context.ts';
import type { Graph } from './graph.ts';
import { readableProject, within } from './narrow.ts';
import { bySeq, connection, type Page, pageArgs, readPage, toPage } from './page.ts';

/** A run that the caller reaches, or null. */
export async function findRun(context: GraphContext, id: string): Promise<Run | null> {
  requireScope(context, 'tasks:read', 'tasks:write');
  const uuid = fromId('Run', id);
  return uuid ? context.core.db.prisma.run.findFirst({ where: { id: uuid, ...within(context) } }) : null;
}

/** RunStatus, StageRun and PipelineRun. */
export function addRun(
  graph: Graph,
  { TaskConnection, LogLevel }: { TaskConnection: ObjectRef<any, Page<Task> & { feedCursor: string }>; LogLevel: any },
) {
  const { builder, Node } = graph;
  const RunStatus = builder.enumType('RunStatus', {
    description: 'Where a run stands. It is live in all but the last three.',
    values: {
      RUNNING: { description: 'Its stages work.' },
      PAUSING: { description: 'Begins nothing more; PAUSED when what is begun has ended.' },
      PAUSED: { description: 'Waits for resumeRun; `reason` says why when nobody asked for it.' },
      WAITING_FOR_REVIEW: { description: 'Nothing is left to do but for people.' },
      CANCELLING: { description: 'Begins nothing more; CANCELLED when what is begun has ended.' },
      COMPLETED: { description: 'Every item that could be was taken through. Some may have failed.' },
      FAILED: { description: 'Ended by itself before that; error says why.' },
      CANCELLED: { description: 'Cancelled on request. What it made stays.' },
    } as const,
  });
  const RunTrigger = builder.enumType('RunTrigger', {
    description: 'What started a run.',
    values: { MANUAL: { description: 'A client.' }, SCHEDULED: { description: 'The schedule.' } } as const,
  });
  const StageStatus = builder.enumType('StageStatus', {
    description: 'Where a stage of a run stands.',
    values: {
      PENDING: { description: 'Has not begun.' },
      RUNNING: { description: 'Has begun.' },
      COMPLETED: { description: 'Has nothing left to do. It begins again when something comes back to it.' },
      FAILED: { description: 'The run ended while it was at it.' },
      SKIPPED: { description: 'The run ended before it, or began behind it.' },
    } as const,
  });
  const StageRun = builder.objectRef<StageStanding>('StageRun').implement({
    description: 'A stage of a run: how far it is, and what it gave.',
    fields: (t) => ({
      key: t.exposeString('key', { description: 'Which stage.' }),
      status: t.field({
        type: StageStatus,
        description: 'Where it stands.',
        resolve: ({ status }) => status as 'PENDING',
      }),
      waiting: t.exposeInt('waiting', {
        description: 'Items that wait for it, whichever run brings them; of a run that has ended, those that it left.',
      }),
      running: t.exposeInt('running', { description: 'Items that it is at.' }),
      done: t.exposeInt('done', {
        description: 'Items that it is done with in this run, those that it turned down too.',
      }),
      failed: t.exposeInt('failed', { description: 'Items that failed in it, in this run.' }),
      partial: t.boolean({
        description: 'True when it is over, and items failed in it or still wait for it.',
        resolve: ({ status, failed, waiting }) =>
          ['COMPLETED', 'FAILED'].includes(status) && (failed > 0 || waiting > 0),
      }),
      creditsUsed: t.field({
        type: 'Credits',
        description: 'What its tasks have been charged in this run, by the ledger.',
        resolve: async ({ runId, key }, _args, { load }) => (await load.stageCredits.load(runId)).get(key) ?? 0n,
      }),
      startedAt: t.expose('startedAt', { type: 'DateTime', nullable: true, description: 'When it began.' }),
      completedAt: t.expose('completedAt', { type: 'DateTime', nullable: true, description: 'When it was over.' }),
    }),
  });
  const RunLogRef = builder.objectRef<RunLog>('RunLog').implement({
    description: "A line of a run's log.",
    fields: (t) => ({
      at: t.expose('at', { type: 'DateTime', description: 'When it was written.' }),
      level: t.field({ type: LogLevel, description: 'How much it matters.', resolve: ({ level }) => level as never }),
      stage: t.exposeString('stage', { nullable: true, description: 'About which stage; null: about the run.' }),
      message: t.exposeString('message', { description: 'The line, at most 2,000 characters.' }),
    }),
  });
  const RunLogConnection = connection<RunLog>(graph, 'RunLog', bySeq, RunLogRef, 'Lines of a log, oldest first.');
  const PipelineRun = builder.objectType('PipelineRun', {
    description: 'One execution of a pipeline in a project. At most one of them is live.',
    interfaces: [Node],
    fields: (t) => ({
      id: t.id({ description: 'Id of the run.', resolve: ({ id }) => toId('Run', id) }),
      project: t.field({
        type: 'Project',
        description: 'In which project.',
        resolve: async ({ projectId }, _args, { load }) => (await load.project.load(projectId))!,
      }),
      pipeline: t.field({
        type: 'Pipeline',
        description: 'The version that it began with.',
        resolve: async ({ pipelineId }, _args, { load }) => (await load.pipeline.load(pipelineId))!,
      }),
      status: t.field({
        type: RunStatus,
        description: 'Where it stands.',
        resolve: ({ status }) => status as 'RUNNING',
      }),
      reason: t.exposeString('reason', {
        nullable: true,
        description:
          'Why it came into this status by itself: LOW_CREDITS, WENT_WRONG (PAUSED), TOO_MANY_FAILURES (FAILED); of a scheduled start that was refused, the code of the refusal, as INSUFFICIENT_CREDITS. null when it was asked for.',
      }),
      trigger: t.field({
        type: RunTrigger,
        description: 'What started it.',
        resolve: ({ trigger }) => trigger as 'MANUAL',
      }),
      input: t.expose('input', {
        type: 'JSON',
        nullable: true,
        description: "As it was given, with the defaults of the pipeline's own input.",
      }),
      currentStage: t.exposeString('currentStage', {
        nullable: true,
        description: 'The stage that worked last; null until one did.',
      }),
      stages: t.field({
        type: [StageRun],
        description: 'Its stages, first to last.',
        resolve: ({ id }, _args, { load }) => load.stages.load(id),
      }),
      lastSeq: t.exposeInt('lastSeq', {
        description: 'The seq of its newest event: subscribe to runEvents with it as `after` to go on from here.',
      }),
      creditsEstimated: t.expose('estimated', {
        type: 'Credits',
        description: 'What it was estimated to cost when it started; ceil(1.2 × this) was held.',
      }),
      creditsHeld: t.field({
        type: 'Credits',
        description: 'What it holds now, its tasks included, by the ledger. 0 when all of it has ended.',
        resolve: async ({ id }, _args, { load }) => (await load.runCredits.load(id)).held,
      }),
      creditsUsed: t.field({
        type: 'Credits',
        description: 'What it has been charged, by the ledger: the sum of its stages.',
        resolve: async ({ id }, _args, { load }) => (await load.runCredits.load(id)).used,
      }),
      tasks: t.field({
        type: TaskConnection,
        description: 'Its tasks, newest first.',
        args: pageArgs(builder, 20),
        resolve: async ({ id }, args, { core, events }) => {
          const page = readPage('Task', args, 20);
          const feedCursor = await events.feedCursor();
          return { ...toPage(await tasksOf(core, id, page), page), feedCursor };
        },
      }),
      logs: t.field({
        type: RunLogConnection,
        description: 'Its log, oldest first.',
        args: pageArgs(builder, 50),
        resolve: async ({ id }, args, { core }) => {
          const page = readPage(bySeq, args, 50);
          return toPage(await logsOf(core, id, page), page);
        },
      }),
      startedAt: t.expose('startedAt', { type: 'DateTime', description: 'When it was started.' }),
      pausedAt: t.expose('pausedAt', {
        type: 'DateTime',
        nullable: true,
        description: 'Since when it is PAUSED; null when it is not.',
      }),
      cancelledAt: t.expose('cancelledAt', { type: 'DateTime', nullable: true, description: 'When it was CANCELLED.' }),
      completedAt: t.expose('completedAt', { type: 'DateTime', nullable: true, description: 'When it ended.' }),
      error: t.field({
        type: 'TaskError',
        nullable: true,
        description: 'Why it FAILED.',
        resolve: ({ error }) => error as never,
      }),
    }),
  });
  addQueries(graph);
  return { PipelineRun, StageRun, RunStatus };
}

function addQueries(graph: Graph): void {
  const { builder } = graph;
  const RunConnection = connection<Run>(graph, 'PipelineRun', 'Run', 'PipelineRun', 'Runs, newest first.');
  builder.queryFields((t) => ({
    run: t.field({
      type: 'PipelineRun',
      nullable: true,
      description: 'One run; null when there is none with this id for this caller. Scope tasks:read.',
      args: { id: t.arg.id({ required: true, description: 'Id of the run.' }) },
      resolve: (_root, { id }, context) => {
        requireScope(context, 'tasks:read');
        return findRun(context, id);
      },
    }),
    currentRun: t.field({
      type: 'PipelineRun',
      nullable: true,
      description: 'The live run of a pipeline in a project; null when none is. Scope tasks:read.',
      args: {
        projectId: t.arg.id({ required: true, description: 'In which project.' }),
        pipeline: t.arg.string({ required: true, description: 'Name of the pipeline.' }),
      },
      resolve: async (_root, { projectId, pipeline }, context) => {
        requireScope(context, 'tasks:read');
        const where = await runsWhere(context, projectId, pipeline);
        return where && context.core.db.prisma.run.findFirst({ where: { ...where, status: { notIn: endedStatuses } } });
      },
    }),
    runs: t.field({
      type: RunConnection,
      description: 'The runs of a project, newest first. Scope tasks:read.',
      args: {
        projectId: t.arg.id({ required: true, description: 'In which project.' }),
        pipeline: t.arg.string({ description: 'Only of this pipeline. Default: all.' }),
        ...pageArgs(builder, 20),
      },
      resolve: async (_root, { projectId, pipeline, ...args }, context) => {
        requireScope(context, 'tasks:read');
        const page = readPage('Run', args, 20);
        const where = await runsWhere(context, projectId, pipeline);
        if (!where) return toPage([], page);
        const rows = await context.core.db.prisma.run.findMany({
          where: { ...where, ...(page.after && { id: { lt: page.after } }) },
          orderBy: { id: 'desc' },
          take: page.take,
        });
        return toPage(rows, page);
      },
    }),
  }));
}

/** Null: none can be meant. */
async function runsWhere(
  context: GraphContext,
  projectId: string,
  pipeline: string | null | undefined,
): Promise<Prisma.RunWhereInput | null> {
  const scope = await readableProject(context, projectId);
  if (!scope || (pipeline != null && !isStorable(pipeline))) return null;
  if (pipeline == null) return { projectId: scope.projectId };
  // By the configuration there is an index that knows which is newest.
  const where = { projectId_pipeline: { projectId: scope.projectId, pipeline } };
  const configuration = await context.core.db.prisma.pipelineConfiguration.findUnique({ where, select: { id: true } });
  return configuration && { configurationId: configuration.id };
}
