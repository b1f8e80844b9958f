import { setTimeout as wait } from 'node:timers/promises';
import { GraphQLClient } from 'graphql-request';
import { createClient as createSseClient, NetworkError } from 'graphql-sse';
import { OutsideError } from './errors.ts';

const reconnectAttempts = 30;
const longestReconnectWaitMs = 2_000;

/** What the commands and the demo show of a task; `result` is there for the types whose result is text. */
export interface TaskFacts {
  id: string;
  type: string;
  status: string;
  progress: number;
  currentStep: string | null;
  provider: string | null;
  model: string | null;
  warnings: string[];
  error: { code: string; message: string } | null;
  cost: { quoted: number; charged: number; released: number };
  processingTimeMs: number | null;
  assets: AssetFacts[];
  textResult?: { text: string; json: unknown } | null;
  promptResult?: {
    rendered: string;
    text: string;
    passed: boolean;
    missingVariables: string[];
    expectations: { expectation: string; passed: boolean }[];
  } | null;
}

export interface AssetFacts {
  id: string;
  kind: string;
  contentType: string;
  sizeBytes: number;
  width: number | null;
  height: number | null;
  durationMs: number | null;
  url: string;
}

export interface TaskEventFacts {
  seq: number;
  kind: 'TaskStatusChanged' | 'TaskProgressed' | 'TaskOutputAdded' | 'TaskLogged';
  message?: string;
  level?: string;
  task: { status: string; progress: number; currentStep: string | null };
}

export interface RunEventFacts {
  seq: number;
  kind: 'RunStatusChanged' | 'StageProgressed' | 'ItemFinished' | 'RunLogged';
  status?: string;
  reason?: string | null;
  message?: string;
  level?: string;
  stage?: { key: string; status: string; waiting: number; running: number; done: number; failed: number };
  stageKey?: string;
  item?: { kind: string; state: string; data: any };
}

/** A client of our own API, as anybody could write it. @throws OutsideError, from each, when it cannot be reached. */
export interface Client {
  /** @throws ClientError of graphql-request, with the answer, for errors of any kind. */
  request<Data = any>(query: string, variables?: object): Promise<Data>;
  /** @returns the task's id. @throws RefusedError when the API refuses it. */
  createTask(input: object): Promise<string>;
  /** Null when there is none that this key can see. */
  readTask(id: string): Promise<TaskFacts | null>;
  /** Every event of a task after `after` (default 0), each once and in order; ends with the task. Survives lost connections. */
  taskEvents(id: string, after?: number): AsyncIterableIterator<TaskEventFacts>;
  /** The same of a run. */
  runEvents(id: string, after?: number): AsyncIterableIterator<RunEventFacts>;
}

/** A refusal that is a member of a result union: `code` is stable, the message says what to change. */
export class RefusedError extends Error {
  override name = 'RefusedError';
  readonly code: string;
  constructor(refusal: { code: string; message: string }) {
    super(refusal.message);
    this.code = refusal.code;
  }
}

/** @param options.url base URL of the API, as http://127.0.0.1:4000. @param options.key an API key or a client token. */
export function createClient(options: { url: string; key: string }): Client {
  const url = `${options.url.replace(/\/$/, '')}/graphql`;
  const headers = { authorization: `Bearer ${options.key}` };
  const http = new GraphQLClient(url, { headers, fetch: call });
  const sse = createSseClient({
    url,
    headers,
    retryAttempts: reconnectAttempts,
    retry: (attempt) => wait(Math.min(100 * 2 ** attempt, longestReconnectWaitMs) * (0.5 + Math.random())),
  });
  async function* follow<Event extends { seq: number }>(
    query: string,
    field: string,
    id: string,
    after: number,
  ): AsyncIterableIterator<Event> {
    // On a lost connection the client sends the same object again: kept at the last event, it goes on from there.
    const variables = { id, after };
    try {
      for await (const { data, errors } of sse.iterate<{ [field: string]: Event }>({ query, variables })) {
        if (errors?.length) throw new OutsideError(`watching ${id}: ${errors[0]!.message}`, { retryable: false });
        const event = data?.[field];
        if (!event || event.seq <= variables.after) continue;
        variables.after = event.seq;
        yield event;
      }
    } catch (error) {
      if (!(error instanceof NetworkError)) throw error;
      throw new OutsideError(`watching ${id}: ${error.message}`, { retryable: true, cause: error });
    }
  }
  return {
    request: (query, variables) => http.request(query, variables),
    async createTask(input) {
      const { createTask } = await http.request<{ createTask: any }>(createTaskMutation, { input });
      if (!createTask.task) throw new RefusedError(createTask);
      return createTask.task.id;
    },
    async readTask(id) {
      return (await http.request<{ task: TaskFacts | null }>(taskQuery, { id })).task;
    },
    taskEvents: (id, after = 0) => follow<TaskEventFacts>(eventsQuery, 'taskEvents', id, after),
    runEvents: (id, after = 0) => follow<RunEventFacts>(runEventsQuery, 'runEvents', id, after),
  };
}

/** `fetch`, but with an OutsideError that says what was called when nobody answers. */
export async function call(input: string | URL | Request, init?: RequestInit): Promise<Response> {
  try {
    return await fetch(input, init);
  } catch (error) {
    const { origin } = new URL(input instanceof Request ? input.url : input);
    // fetch itself says "fetch failed", and what happened in the cause.
    const { code, message } = ((error as Error).cause ?? error) as Error & { code?: string };
    const what = code === 'ECONNREFUSED' ? 'connection refused; is it running?' : message || code;
    throw new OutsideError(`calling ${origin}: ${what}`, { retryable: true, cause: error });
  }
}

const createTaskMutation = `mutation ($input: CreateTaskInput!) {
  createTask(input: $input) {
    ... on CreateTaskSuccess { task { ... on BaseTask { id } } }
    ... on UserError { code message }
  }
}`;

const taskQuery = `query ($id: ID!) {
  task(id: $id) {
    ... on BaseTask {
      id type status progress currentStep provider model warnings processingTimeMs
      error { code message }
      cost { quoted charged released }
      assets { id kind contentType sizeBytes width height durationMs url }
    }
    ... on GenerateTextTask { textResult: result { text json } }
    ... on TestPromptTask {
      promptResult: result { rendered text passed missingVariables expectations { expectation passed } }
    }
  }
}`;

const eventsQuery = `subscription ($id: ID!, $after: Int) {
  taskEvents(id: $id, after: $after) {
    seq
    kind: __typename
    ... on TaskLogged { level message }
    task { ... on BaseTask { status progress currentStep } }
  }
}`;

const runEventsQuery = `subscription ($id: ID!, $after: Int) {
  runEvents(id: $id, after: $after) {
    seq
    kind: __typename
    ... on RunStatusChanged { status reason }
    ... on StageProgressed { stage { key status waiting running done failed } }
    ... on ItemFinished { stageKey item { kind state data } }
    ... on RunLogged { level message }
  }
}`;
