import type { Task } from '../db.ts';
import { toId } from '../id.ts';
import type { FrozenTarget } from '../lifecycle/plan.ts';
import { mapFiles } from '../lifecycle/result.ts';
import type { TaskError } from '../lifecycle/status.ts';
import { usualDurationMs } from './duration.ts';
import { badRequest } from './error.ts';
import type { Graph } from './graph.ts';
import type { TaskTypeRefs } from './task-type.ts';

/** BaseTask with what hangs on it, and a member of the union `Task` for each task type. */
export function addBaseTask(graph: Graph): void {
  const { builder, Node, TaskType, TaskStatus } = graph;
  const TaskErrorRef = builder.objectRef<TaskError>('TaskError').implement({
    description: 'Why a task or an attempt ended without a result.',
    fields: (t) => ({
      code: t.exposeString('code', { description: 'Stable, UPPER_SNAKE: DEADLINE_EXCEEDED, CONTENT_POLICY, …' }),
      message: t.exposeString('message', { description: 'For people.' }),
      retryable: t.boolean({
        description: 'True when retryTask can help.',
        resolve: (error) => error.retryable ?? false,
      }),
      providerRequestId: t.exposeString('providerRequestId', {
        nullable: true,
        description: "The provider's own name for the request, for its support.",
      }),
    }),
  });
  builder.prismaObject('Attempt', {
    name: 'TaskAttempt',
    description: 'One try of a task at one provider; at most one paid call.',
    fields: (t) => ({
      number: t.exposeInt('number', { description: '1, 2, 3, …' }),
      provider: t.exposeString('provider', { description: 'Name of the adapter.' }),
      model: t.exposeString('model', { nullable: true, description: "The provider's model." }),
      startedAt: t.expose('startedAt', { type: 'DateTime', description: 'When a worker took it up.' }),
      endedAt: t.expose('endedAt', { type: 'DateTime', nullable: true, description: 'When it ended, however it did.' }),
      error: t.field({
        type: TaskErrorRef,
        nullable: true,
        description: 'Why it failed; null when it did not.',
        resolve: (attempt) => attempt.error as unknown as TaskError | null,
      }),
    }),
  });
  const CostBasis = builder.enumType('CostBasis', {
    description: 'What a charge goes by.',
    values: {
      USAGE: { description: 'What the provider reported.' },
      QUOTE: { description: 'It reported nothing: the quote.' },
    },
  });
  const TaskCost = builder.objectRef<Task>('TaskCost').implement({
    description: 'The whole story of what a task costs.',
    fields: (t) => ({
      quoted: t.expose('quoted', { type: 'Credits', description: 'The most it can cost; held when it was created.' }),
      charged: t.expose('charged', { type: 'Credits', description: 'What it did cost; 0 until it ended.' }),
      released: t.expose('released', { type: 'Credits', description: 'What went back.' }),
      basis: t.field({
        type: CostBasis,
        nullable: true,
        description: 'What the charge went by; null until it ended.',
        resolve: (task) => task.basis as 'USAGE' | 'QUOTE' | null,
      }),
      ledger: t.field({
        type: ['LedgerEntry'],
        description: 'Its entries in the ledger, oldest first.',
        resolve: (task, _args, { core }) =>
          core.db.prisma.ledgerEntry.findMany({ where: { taskId: task.id }, orderBy: { id: 'asc' } }),
      }),
    }),
  });

  const BaseTask = builder.prismaInterface('Task', {
    name: 'BaseTask',
    description: 'What tasks of all types have in common.',
    interfaces: [Node],
    resolveType: (task) => graph.taskMembers.get(task.type),
    fields: (t) => ({
      id: t.id({ description: 'Id of the task.', resolve: (task) => toId('Task', task.id) }),
      type: t.field({ type: TaskType, description: 'What kind of work it is.', resolve: (task) => task.type }),
      status: t.field({ type: TaskStatus, description: 'Where it stands.', resolve: (task) => task.status as never }),
      progress: t.exposeFloat('progress', { description: '0 to 1; never falls.' }),
      currentStep: t.exposeString('currentStep', {
        nullable: true,
        description: 'What is being done, in one or two words.',
      }),
      queuePosition: t.int({
        nullable: true,
        description:
          "Its place in the account's own backlog of its lane, 1 = next; null behind the first 100, and when it does not wait.",
        resolve: async (task, _args, { load }) => {
          if (task.status !== 'QUEUED') return null;
          const place = (await load.backlog.load(`${task.lane} ${task.accountId}`)).indexOf(task.id);
          return place < 0 ? null : place + 1;
        },
      }),
      estimatedDurationMs: t.field({
        type: 'SafeInt',
        nullable: true,
        description:
          'How long such a task takes: the median of the last 50 that were completed with the same type, provider and model. null until one was.',
        resolve: (task, _args, { core }) => {
          const target = (task.route as unknown as FrozenTarget[])[task.targetIndex];
          return usualDurationMs(core, task.type, task.provider ?? target?.provider, task.model ?? target?.model);
        },
      }),
      priority: t.exposeInt('priority', {
        description: '0 to 9; higher first, inside one account. No account can starve another.',
      }),
      provider: t.exposeString('provider', {
        nullable: true,
        description: 'Name of the adapter; null until one was chosen.',
      }),
      model: t.exposeString('model', {
        nullable: true,
        description: "The provider's model; null until one was chosen.",
      }),
      project: t.relation('project', { description: 'The project it belongs to.' }),
      tags: t.exposeStringList('tags', { description: 'As they were given.' }),
      metadata: t.expose('metadata', { type: 'JSON', nullable: true, description: 'As it was given.' }),
      error: t.field({
        type: TaskErrorRef,
        nullable: true,
        description: 'Why it FAILED or EXPIRED.',
        resolve: (task) => task.error as unknown as TaskError | null,
      }),
      warnings: t.exposeStringList('warnings', {
        description: 'What the chosen model does not support and was left out, and the like.',
      }),
      needsReview: t.exposeBoolean('needsReview', {
        description: 'The answer to a paid call was lost; reviewTask or the deadline settles it.',
      }),
      cancelRequestedAt: t.expose('cancelRequestedAt', {
        type: 'DateTime',
        nullable: true,
        description: 'When its end was asked for. From then on it cannot complete.',
      }),
      retryOf: t.id({
        nullable: true,
        description: 'The task that this one retries.',
        resolve: (task) => (task.retryOf ? toId('Task', task.retryOf) : null),
      }),
      assets: t.relation('assets', {
        description: 'The files that it made.',
        // Below 0 are previews.
        query: { where: { output: { gte: 0 } }, orderBy: [{ attempt: 'asc' }, { output: 'asc' }] },
      }),
      attempts: t.relation('attempts', {
        description: 'Its tries, oldest first.',
        query: { orderBy: { number: 'asc' } },
      }),
      cost: t.field({ type: TaskCost, description: 'What it costs.', resolve: (task) => task }),
      webhookDeliveries: t.relation('deliveries', {
        description: 'Webhooks about it, oldest first.',
        query: { orderBy: { sequence: 'asc' } },
      }),
      lastSeq: t.exposeInt('lastSeq', {
        description: 'The seq of its newest event: subscribe with it as `after` to go on from here.',
      }),
      events: t.field({
        type: [graph.TaskEvent],
        description: 'Its events in order.',
        args: {
          after: t.arg.int({ defaultValue: 0, description: 'Only those with a higher seq.' }),
          first: t.arg.int({ defaultValue: 100, description: 'How many, 1 to 1,000.' }),
        },
        resolve: (task, { after, first }, { core }) => {
          const take = first ?? 100;
          if (take < 1 || take > 1_000) throw badRequest('first must be from 1 to 1000');
          return core.db.prisma.taskEvent.findMany({
            where: { taskId: task.id, seq: { gt: after ?? 0 } },
            orderBy: { seq: 'asc' },
            take,
          });
        },
      }),
      createdAt: t.expose('createdAt', { type: 'DateTime', description: 'When it was created.' }),
      runAt: t.expose('runAt', {
        type: 'DateTime',
        nullable: true,
        description: 'Not before this moment, as it was asked for.',
      }),
      startedAt: t.expose('startedAt', {
        type: 'DateTime',
        nullable: true,
        description: 'When it was first taken up.',
      }),
      deadlineAt: t.expose('deadlineAt', {
        type: 'DateTime',
        nullable: true,
        description:
          'When it fails with DEADLINE_EXCEEDED; in review, when the review ends by itself. null until it started.',
      }),
      completedAt: t.expose('completedAt', {
        type: 'DateTime',
        nullable: true,
        description: 'When it reached a terminal status.',
      }),
      processingTimeMs: t.field({
        type: 'SafeInt',
        nullable: true,
        description: 'From the first start to the end, in milliseconds; null until then.',
        resolve: (task) =>
          task.startedAt && task.completedAt ? task.completedAt.getTime() - task.startedAt.getTime() : null,
      }),
    }),
  });
  for (const refs of graph.taskTypes) graph.taskMembers.set(refs.type.name, addMember(graph, BaseTask, refs));
}

function addMember(
  { builder, Node }: Graph,
  BaseTask: any,
  { type, name, parameters, result, defaults }: TaskTypeRefs,
) {
  return builder.prismaObject('Task', {
    variant: `${name}Task` as never,
    description: type.description,
    // The later one gives the fields that both have.
    interfaces: [Node, BaseTask],
    fields: (t) => ({
      input: t.field({
        type: parameters,
        description: 'What was asked for, defaults filled in.',
        resolve: (task) => ({ ...defaults, ...(task.input as Record<string, unknown>) }),
      }),
      result: t.field({
        type: result,
        nullable: true,
        select: { assets: true },
        description: 'What it gave; null until COMPLETED.',
        resolve: ({ result, assets }) =>
          mapFiles(
            type,
            result,
            ({ assetId }: { assetId: string }) => assets.find((asset) => asset.id === assetId) ?? null,
          ) as Record<string, unknown> | null,
      }),
    }),
  });
}
