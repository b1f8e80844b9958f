import { notFound, validation } from '../errors.ts';
import { type Created, createTask, estimateTask } from '../lifecycle/create.ts';
import type { TaskRequest } from '../lifecycle/plan.ts';
import { retryTask } from '../lifecycle/retry.ts';
import type { GraphContext } from './context.ts';
import { badRequest } from './error.ts';
import type { Graph } from './graph.ts';
import { projectOf } from './narrow.ts';
import { resultUnion } from './result.ts';
import { findTask } from './task.ts';

const maxTasks = 100;
/** How many of one createTasks are under way at once: a batch must not take every connection of the process. */
const parallel = 8;

/** The mutation's input: a request, with the type and its input as the one member of `task`. */
type CreateTaskInput = Omit<TaskRequest, 'type' | 'input' | 'sent' | 'retryOf' | 'holdId'> & {
  task: Record<string, Record<string, unknown>>;
};

/** `createTask`, `createTasks`, `retryTask`, `estimateTask`. */
export function addCreateTask(graph: Graph): void {
  const { builder, Task } = graph;
  const Input = addInput(graph);
  const Success = builder.objectRef<Created>('CreateTaskSuccess').implement({
    description: 'The task was created and its quote is held.',
    fields: (t) => ({
      task: t.field({ type: Task, description: 'The task.', resolve: ({ task }) => task as never }),
      replayed: t.exposeBoolean('replayed', { description: 'True: an earlier call with this idempotencyKey made it.' }),
      warnings: t.exposeStringList('warnings', {
        description: 'What the chosen model does not support and was left out, and the like.',
      }),
    }),
  });
  const result = resultUnion(graph, 'CreateTaskResult', Success, [
    'ValidationError',
    'InsufficientCreditsError',
    'IdempotencyMismatchError',
    'ProviderUnavailableError',
    'NotFoundError',
    'LimitExceededError',
    'ConflictError',
  ]);
  const submit = async (context: GraphContext, work: () => Promise<Created>) => {
    const answer = await result.answer(context, ['tasks:write'], work);
    const outcome = 'refusal' in answer ? answer.refusal.code : answer.replayed ? 'REPLAYED' : 'CREATED';
    context.metrics.submits.inc({ outcome });
    return answer;
  };
  const create = (context: GraphContext, input: CreateTaskInput) =>
    submit(context, () => createTask(context.core, context.caller, readRequest(graph, context, input)));

  builder.mutationFields((t) => ({
    createTask: t.field({
      type: result.ref,
      description: 'Creates a task and holds its quote. Answers as soon as both are stored. Scope tasks:write.',
      args: { input: t.arg({ type: Input, required: true, description: 'The task.' }) },
      resolve: (_root, { input }, context) => create(context, input as CreateTaskInput),
    }),
    createTasks: t.field({
      type: [result.ref],
      description:
        'Creates up to 100 tasks, each on its own: one that is refused does not touch the others. Each needs its idempotencyKey. Scope tasks:write.',
      args: {
        inputs: t.arg({ type: [Input], required: true, description: 'The tasks; the answers come in the same order.' }),
      },
      resolve: async (_root, { inputs }, context) => {
        if (inputs.length > maxTasks) throw badRequest(`inputs: at most ${maxTasks} tasks at once`);
        return inParallel(inputs as CreateTaskInput[], (input) =>
          input.idempotencyKey == null
            ? submit(context, () =>
                Promise.reject(
                  validation([{ path: ['idempotencyKey'], message: 'createTasks needs one for each task' }]),
                ),
              )
            : create(context, input),
        );
      },
    }),
    retryTask: t.field({
      type: result.ref,
      description:
        'Makes a new task, with a new quote and hold, from one that FAILED, was CANCELLED or EXPIRED. Scope tasks:write.',
      args: {
        id: t.arg.id({ required: true, description: 'Id of the task that ended.' }),
        idempotencyKey: t.arg.string({
          description: '1 to 255 characters. Default: retry:<id>, so that retrying twice at once makes one task.',
        }),
      },
      resolve: (_root, { id, idempotencyKey }, context) =>
        submit(context, async () => {
          projectOf(context, null);
          const task = await findTask(context, id);
          if (!task) throw notFound('task');
          return retryTask(context.core, context.caller, task, idempotencyKey);
        }),
    }),
  }));
  addEstimate(graph, Input);
}

function addEstimate(graph: Graph, Input: any): void {
  const { builder } = graph;
  const Estimate = builder.objectRef<Awaited<ReturnType<typeof estimateTask>>>('TaskEstimate').implement({
    description: 'What a task would cost. Nothing was written.',
    fields: (t) => ({
      quoted: t.expose('quoted', { type: 'Credits', description: 'The most it can cost: what createTask would hold.' }),
      available: t.expose('available', { type: 'Credits', description: 'What the account can spend now.' }),
      sufficient: t.exposeBoolean('sufficient', { description: 'True when that is enough.' }),
      provider: t.exposeString('provider', { description: 'The adapter that would be asked first.' }),
      model: t.exposeString('model', { nullable: true, description: 'Its model.' }),
      warnings: t.exposeStringList('warnings', {
        description: 'What the chosen model does not support and would be left out.',
      }),
    }),
  });
  const result = resultUnion(graph, 'EstimateTaskResult', Estimate, [
    'ValidationError',
    'ProviderUnavailableError',
    'NotFoundError',
  ]);
  builder.queryField('estimateTask', (t) =>
    t.field({
      type: result.ref,
      description: 'Validates and quotes as createTask does, and writes nothing. Scope tasks:write.',
      args: { input: t.arg({ type: Input, required: true, description: 'The task.' }) },
      resolve: (_root, { input }, context) =>
        result.answer(context, ['tasks:write'], () =>
          estimateTask(context.core, context.caller, readRequest(graph, context, input as CreateTaskInput)),
        ),
    }),
  );
}

function addInput({ builder, taskTypes }: Graph) {
  const TaskInput = builder.inputType('TaskInput', {
    description: 'What is to be done: exactly one member.',
    isOneOf: true,
    fields: (t) =>
      Object.fromEntries(
        taskTypes.map(({ member, input, type }) => [
          member,
          t.field({ type: input as any, required: false, description: type.description }),
        ]),
      ),
  });
  return builder.inputType('CreateTaskInput', {
    description: 'A new task.',
    fields: (t) => ({
      task: t.field({ type: TaskInput, required: true, description: 'What is to be done.' }),
      projectId: t.id({ description: "The project it belongs to. Default: the key's default project." }),
      provider: t.string({
        description: 'Name of an adapter: that one and no other. Default: the route of the task type.',
      }),
      model: t.string({ description: "A model of the provider. Default: the provider's first for the task type." }),
      priority: t.int({ defaultValue: 0, description: '0 to 9; higher first, inside the account.' }),
      runAt: t.field({
        type: 'DateTime',
        description: 'SCHEDULED until then; at most a year ahead. Default: at once.',
      }),
      ttlSeconds: t.int({
        description:
          'EXPIRED when it has not started so long after the later of creation and runAt; 1 to 2,592,000. Default: never.',
      }),
      idempotencyKey: t.string({
        description:
          '1 to 255 characters, unique per account, kept as long as the task: the same input again gives the same task.',
      }),
      callbackUrl: t.field({
        type: 'URL',
        description: 'Gets one signed webhook when the task ends. At most 2,048 characters, no private address.',
      }),
      tags: t.stringList({ description: 'To find it by; at most 20 of 1 to 100 characters.' }),
      metadata: t.field({ type: 'JSON', description: 'Yours; it comes back as it was. At most 16,384 bytes.' }),
      maxCredits: t.field({
        type: 'Credits',
        description: 'Refused when the quote is higher: LimitExceededError, code MAX_CREDITS_EXCEEDED.',
      }),
    }),
  });
}

/** What the lifecycle is asked for. Explicit nulls mean "not given". */
function readRequest(graph: Graph, context: GraphContext, input: CreateTaskInput): TaskRequest {
  const [member, value] = Object.entries(input.task)[0]!;
  const { type, dropNulls } = graph.taskTypes.find((each) => each.member === member)!;
  return {
    ...input,
    type: type.name,
    input: dropNulls(value),
    projectId: projectOf(context, input.projectId),
    sent: input,
  };
}

async function inParallel<Item, Answer>(items: Item[], work: (item: Item) => Promise<Answer>): Promise<Answer[]> {
  const answers: Answer[] = [];
  let next = 0;
  const lane = async () => {
    for (let index = next++; index < items.length; index = next++) answers[index] = await work(items[index]!);
  };
  await Promise.all(Array.from({ length: Math.min(parallel, items.length) }, lane));
  return answers;
}
