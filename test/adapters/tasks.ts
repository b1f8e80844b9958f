import { eventually, type GraphqlAnswer, type TestBed } from '../kit.ts';

/** Takes `input`. */
export const createTask = `mutation ($input: CreateTaskInput!) {
  createTask(input: $input) {
    ... on CreateTaskSuccess { task { ... on BaseTask { id warnings } } }
    ... on UserError { code message }
    ... on ValidationError { issues { path message } }
  }
}`;
const readTask = `query ($id: ID!) {
  task(id: $id) {
    ... on BaseTask {
      id status progress currentStep needsReview error { code message providerRequestId }
      cost { quoted charged released basis } assets { id kind contentType width height durationMs url }
    }
    ... on GenerateImageTask { imageResult: result { seed images { kind } } }
    ... on GenerateVideoTask { videoResult: result { durationSeconds } }
    ... on GenerateTextTask { textResult: result { text json } }
    ... on TestPromptTask { promptResult: result { rendered text passed missingVariables expectations { passed } } }
    ... on GenerateCharacterVoiceTask { voiceResult: result { durationSeconds } }
  }
}`;
const watchTask = `subscription ($id: ID!) {
  taskEvents(id: $id) {
    __typename
    ... on TaskProgressed { progress step }
    ... on TaskLogged { message }
    ... on TaskOutputAdded { text asset { kind contentType } }
  }
}`;
const createUpload = `mutation ($input: CreateUploadInput!) {
  createUpload(input: $input) { ... on CreateUploadSuccess { id url headers } }
}`;
const completeUpload = `mutation ($id: ID!) {
  completeUpload(id: $id) { ... on CompleteUploadSuccess { asset { id } } }
}`;

/** What a client does with tasks, over GraphQL. Errors of GraphQL are thrown. */
export interface Tasks {
  /** What createTask answers: `task`, with its id and warnings, or an error. @param model default: the one of {@link tasksOf}. */
  create(task: object, model?: string): Promise<any>;
  /** The id of a new task. Throws when it is refused. */
  submit(task: object, model?: string): Promise<string>;
  /** The task as it is; its result is `imageResult`, `textResult` and so on. */
  read(id: string): Promise<any>;
  /** The task when its status is a last one. */
  ended(id: string): Promise<any>;
  /** The task when it has ended or waits for a review. */
  settled(id: string): Promise<any>;
  /** Submits a task; gives it as it settled, with the `warnings` of its creation. */
  run(task: object, model?: string): Promise<any>;
  cancel(id: string): Promise<void>;
  /** Its events, until it ends. Break out of the loop to end them. */
  events(id: string): AsyncIterable<any>;
  /** The id of a new asset. */
  upload(bytes: Buffer, contentType: string): Promise<string>;
}

/**
 * Tasks of one provider in a bed, which may be opened later.
 * @param target `provider` and `model` of createTask's input. Default: where the route goes.
 * @param timeoutMs how long a task may take to end or to settle.
 */
export function tasksOf(
  bed: () => TestBed,
  target: { provider?: string; model?: string } = {},
  timeoutMs = 20_000,
): Tasks {
  const ask = async (query: string, variables: object) => {
    const { data, errors }: GraphqlAnswer = await bed().graphql(query, variables);
    if (errors) throw new Error(JSON.stringify(errors));
    return data;
  };
  const when = (id: string, isSo: (task: any) => boolean) =>
    eventually(async () => {
      const task = await tasks.read(id);
      return isSo(task) ? task : null;
    }, timeoutMs);
  const hasEnded = ({ status }: { status: string }) => /COMPLETED|FAILED|CANCELLED/.test(status);
  const created = async (task: object, model?: string) => {
    const answer = await tasks.create(task, model);
    if (!answer.task) throw new Error(`not created: ${JSON.stringify(answer)}`);
    return answer.task;
  };
  const tasks: Tasks = {
    create: async (task, model = target.model) =>
      (await ask(createTask, { input: { task, provider: target.provider, model } })).createTask,
    submit: async (task, model) => (await created(task, model)).id,
    read: async (id) => (await ask(readTask, { id })).task,
    ended: (id) => when(id, hasEnded),
    settled: (id) => when(id, (task) => task.needsReview || hasEnded(task)),
    async run(task, model) {
      const { id, warnings } = await created(task, model);
      return { ...(await tasks.settled(id)), warnings };
    },
    cancel: (id) => ask('mutation ($id: ID!) { cancelTask(id: $id) { __typename } }', { id }),
    async *events(id) {
      for await (const { data } of bed().subscribe(watchTask, { id })) yield data.taskEvents;
    },
    async upload(bytes, contentType) {
      const { id, url, headers } = (await ask(createUpload, { input: { contentType, sizeBytes: bytes.length } }))
        .createUpload;
      await fetch(url, { method: 'PUT', headers, body: new Uint8Array(bytes) });
      return (await ask(completeUpload, { id })).completeUpload.asset.id;
    },
  };
  return tasks;
}
