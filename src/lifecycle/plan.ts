import { randomInt } from 'node:crypto';
import type { z } from 'zod';
import type { Core } from '../core.ts';
import { type FieldIssue, notFound, Refusal, validation } from '../errors.ts';
import type { LoadedAdapter } from '../registry.ts';
import {
  type AdapterModel,
  isAdapterFailure,
  type PayloadTransformer,
  type RequestContext,
  type TaskType,
  type Usage,
} from '../sdk/index.ts';
import { readCatalog } from './catalog.ts';
import { checkInputAssets } from './inputs.ts';
import { creditsFor, pricesFor, type UnitPrice } from './prices.ts';
import { targetsFor } from './routes.ts';
import { isStorable } from './storable.ts';

/** Who creates: the account that pays, and the project of tasks that name none. */
export interface Caller {
  accountId: string;
  projectId: string;
  /** What a client token is narrowed to: he reaches nothing of another project. Undefined: the whole account. */
  only?: { projectId?: string };
}

export interface TaskRequest {
  /** `generate_image`. */
  type: string;
  /** The member of the `@oneOf`, nulls dropped. */
  input: unknown;
  /** null: an id that cannot be one of a project. */
  projectId?: string | null;
  provider?: string | null;
  model?: string | null;
  /** 0..9, default 0. */
  priority?: number | null;
  runAt?: Date | null;
  ttlSeconds?: number | null;
  idempotencyKey?: string | null;
  callbackUrl?: string | null;
  tags?: string[] | null;
  metadata?: unknown;
  maxCredits?: number | null;
  retryOf?: string;
  /** A run's hold that this task draws on. Default: the account's own balance. */
  holdId?: string;
  /** The whole request as it was sent, for telling whether an idempotency key is used with the same input. */
  sent: unknown;
}

/** One target of a task's route with all that was decided when it was created: later price changes do not touch it. */
export interface FrozenTarget {
  provider: string;
  model: string;
  runs: 'here' | 'vendor';
  resubmit: 'safe' | 'keyed' | 'never';
  prices: UnitPrice[];
  quote: number;
}

export interface Plan {
  type: TaskType<any, any>;
  projectId: string;
  /** Checked, with defaults and a seed. */
  input: Record<string, unknown>;
  route: FrozenTarget[];
  /** The most that any target of the route may cost. */
  quoted: number;
  warnings: string[];
}

export const limits = {
  tags: 20,
  tagLength: 100,
  metadataBytes: 16_384,
  ttlSeconds: 30 * 86_400,
  runAheadMs: 366 * 86_400_000,
  idempotencyKeyLength: 255,
  callbackUrlLength: 2_048,
};

/** Everything that can be said about a request before it is written. Throws a Refusal. */
export async function planTask(core: Core, caller: Caller, request: TaskRequest): Promise<Plan> {
  if (request.projectId === null) throw notFound('project');
  const type = core.registry.taskType(request.type);
  if (!type) throw validation([{ path: ['task'], message: `no task type "${request.type}"` }]);
  const member = ['task', memberName(type.name)];

  const issues = [
    ...checkRequest(core, request),
    ...checkText(request.input, member),
    ...checkText({ tags: request.tags, metadata: request.metadata, callbackUrl: request.callbackUrl }, []),
  ];
  if (issues.length > 0) throw validation(issues);
  const parsed = type.input.safeParse(request.input);
  if (!parsed.success)
    throw validation(
      parsed.error.issues.map((issue: z.core.$ZodIssue) => ({
        path: [...member, ...issue.path.map(String)],
        message: issue.message,
      })),
    );
  const input = parsed.data as Record<string, unknown>;

  const found = await targetsFor(core, type.name, request.provider, request.model);
  const inside = [...(type.check?.(input) ?? []), ...(await checkInputAssets(core, caller, type, input))].map(
    (issue) => ({ ...issue, path: [...member, ...issue.path] }),
  );
  const wrong = [...found.issues, ...inside];
  for (const { model } of found.targets)
    wrong.push(...checkOptions(model, input).map((issue) => ({ ...issue, path: [...member, ...issue.path] })));
  if (wrong.length > 0) throw validation(wrong);

  const { prices } = await readCatalog(core);
  const now = new Date();
  const route: FrozenTarget[] = [];
  const warnings: string[] = [];
  for (const { loaded, model } of found.targets) {
    const estimated = estimate(loaded, model, type, input);
    if (route.length === 0) warnings.push(...dryRun(loaded, model, type, input));
    const frozen = pricesFor(prices, type.name, loaded.adapter.name, model.id, now);
    const quote = estimated && creditsFor(estimated, frozen);
    if (quote === null) continue;
    route.push({
      provider: loaded.adapter.name,
      model: model.id,
      runs: loaded.adapter.runs,
      resubmit: loaded.adapter.resubmit,
      prices: frozen,
      quote,
    });
  }
  if (route.length === 0) {
    const [target] = found.targets;
    const [code, message] = target
      ? [
          'NO_PRICE',
          `${type.name} by ${target.loaded.adapter.name} has no price for what it would use; the operator sets one with setPrice (0 is a price).`,
        ]
      : ['NO_PROVIDER', `Nothing that is installed makes ${type.name}.`];
    throw new Refusal('ProviderUnavailableError', code!, message!, { provider: target?.loaded.adapter.name });
  }
  // Chosen once per task, so that every attempt makes the same thing; after the dry run, which warns of what the client asked for.
  if ('seed' in type.input.shape && input.seed === undefined) input.seed = randomInt(2 ** 31);
  const quoted = Math.max(...route.map((target) => target.quote));
  if (request.maxCredits != null && quoted > request.maxCredits) {
    throw new Refusal(
      'LimitExceededError',
      'MAX_CREDITS_EXCEEDED',
      `This is quoted at ${quoted} credits, above maxCredits ${request.maxCredits}.`,
      { limit: request.maxCredits },
    );
  }
  return { type, projectId: request.projectId ?? caller.projectId, input, route, quoted, warnings };
}

/** generate_image → generateImage: the name of the type's member in the `@oneOf`. */
export function memberName(taskType: string): string {
  return taskType.replace(/_([a-z0-9])/g, (_, letter: string) => letter.toUpperCase());
}

/** What the adapter's transformer is given for an input. Its options are filled in from the model's own schema. */
export function providerInput(model: AdapterModel, input: Record<string, unknown>): Record<string, unknown> {
  return { ...input, options: model.options ? model.options.parse(input.options ?? {}) : {} };
}

function checkRequest(core: Core, request: TaskRequest): FieldIssue[] {
  const issues: FieldIssue[] = [];
  const refuse = (condition: boolean, path: string[], message: string) => {
    if (condition) issues.push({ path, message });
  };
  const { priority, ttlSeconds, idempotencyKey, callbackUrl, tags, metadata, runAt } = request;
  refuse(priority != null && (priority < 0 || priority > 9), ['priority'], 'must be from 0 to 9');
  refuse(
    ttlSeconds != null && (ttlSeconds < 1 || ttlSeconds > limits.ttlSeconds),
    ['ttlSeconds'],
    `must be from 1 to ${limits.ttlSeconds}`,
  );
  refuse(
    runAt != null && (runAt.getTime() < 0 || runAt.getTime() > Date.now() + limits.runAheadMs),
    ['runAt'],
    'must be within a year from now',
  );
  refuse(
    idempotencyKey != null &&
      (idempotencyKey.length < 1 || idempotencyKey.length > limits.idempotencyKeyLength || !isStorable(idempotencyKey)),
    ['idempotencyKey'],
    `must be 1 to ${limits.idempotencyKeyLength} characters`,
  );
  refuse((tags?.length ?? 0) > limits.tags, ['tags'], `at most ${limits.tags}`);
  for (const [index, tag] of (tags ?? []).entries()) {
    refuse(
      tag.length < 1 || tag.length > limits.tagLength,
      ['tags', String(index)],
      `must be 1 to ${limits.tagLength} characters`,
    );
  }
  refuse(
    metadata != null && Buffer.byteLength(JSON.stringify(metadata)) > limits.metadataBytes,
    ['metadata'],
    `must be at most ${limits.metadataBytes} bytes of JSON`,
  );
  if (callbackUrl != null) {
    const reason =
      callbackUrl.length > limits.callbackUrlLength
        ? `must be at most ${limits.callbackUrlLength} characters`
        : core.outbound.refuses(callbackUrl);
    if (reason) issues.push({ path: ['callbackUrl'], message: reason });
  }
  return issues;
}

function checkText(value: unknown, path: string[]): FieldIssue[] {
  if (typeof value === 'string')
    return isStorable(value) ? [] : [{ path, message: 'must be valid Unicode without the NUL character' }];
  if (value === null || typeof value !== 'object') return [];
  return Object.entries(value).flatMap(([key, each]) =>
    isStorable(key) ? checkText(each, [...path, key]) : [{ path, message: 'has a key with the NUL character' }],
  );
}

function checkOptions(model: AdapterModel, input: Record<string, unknown>): FieldIssue[] {
  const options = (input.options ?? {}) as Record<string, unknown>;
  if (!model.options)
    return Object.keys(options).length > 0
      ? [{ path: ['options'], message: `the model "${model.id}" takes no options` }]
      : [];
  const parsed = model.options.safeParse(options);
  return parsed.success
    ? []
    : parsed.error.issues.map((issue) => ({ path: ['options', ...issue.path.map(String)], message: issue.message }));
}

/** Null when the adapter cannot say: its own mistake must not look like the client's. */
function estimate(
  loaded: LoadedAdapter,
  model: AdapterModel,
  type: TaskType<any, any>,
  input: Record<string, unknown>,
): Usage[] | null {
  const transformer = loaded.adapter.transformers[type.name] as PayloadTransformer;
  try {
    return (
      transformer.estimate?.(providerInput(model, input), model.id, loaded.config) ?? type.estimate(input as never)
    );
  } catch {
    return null;
  }
}

/** The transformer runs once when a task is created: what the model cannot do is told before it is paid for. */
function dryRun(
  loaded: LoadedAdapter,
  model: AdapterModel,
  type: TaskType<any, any>,
  input: Record<string, unknown>,
): string[] {
  const transformer = loaded.adapter.transformers[type.name] as PayloadTransformer;
  const files = Object.fromEntries(
    (type.files ?? []).map((file) => {
      const count = [input[file.urls], input[file.assetIds]].flatMap(
        (list) => (list as string[] | undefined) ?? [],
      ).length;
      return [
        file.urls,
        Array.from({ length: count }, (_, index) => ({ assetReference: index, kind: file.kinds[0]! })),
      ];
    }),
  );
  const context: RequestContext = { config: loaded.config, attemptKey: 'dry-run', files };
  try {
    return transformer.toProvider(providerInput(model, input), model.id, context).warnings;
  } catch (error) {
    if (isAdapterFailure(error) && error.facts.class === 'invalid_input') {
      const { issues = [{ path: [], message: error.message }] } = error.facts;
      throw validation(
        issues.map((issue) => ({ path: ['task', memberName(type.name), ...issue.path], message: issue.message })),
      );
    }
    // An adapter that cannot transform fails its attempt, where the failure is logged and told.
    return [];
  }
}
