import { randomUUID } from 'node:crypto';
import type { Core } from '../core.ts';
import type { Run } from '../db.ts';
import { conflict, notFound, quoted, Refusal, validation } from '../errors.ts';
import { toId } from '../id.ts';
import { raised, raisedBy, tooFewCredits } from '../lifecycle/credits.ts';
import { isStorable, isStorableJson, notStorable } from '../lifecycle/storable.ts';
import { type Configured, configure, type Scope, stagesIn } from './configuration.ts';
import { firstOf } from './definition.ts';
import { estimateRun } from './estimate.ts';
import { checkInput } from './input.ts';
import { digestOf } from './items.ts';
import { runsChannel } from './wake.ts';

export interface RunRequest {
  pipeline: string;
  input?: unknown;
  idempotencyKey?: string | null;
  trigger: 'MANUAL' | 'SCHEDULED';
  /** Goes on where an earlier run failed: from this stage, with what failed in it. */
  rerun?: { runId: string; stage: string };
}

/**
 * Starts a run: estimates it, then one transaction that holds ceil(1.2 × the estimate) and writes the run, its stages and the items of its input.
 * @throws Refusal: RunAlreadyActiveError, ValidationError, InsufficientCreditsError, IdempotencyMismatchError, NotFoundError; ConflictError
 *   for a scheduled start that another worker has made.
 */
export async function startRun(core: Core, scope: Scope, request: RunRequest): Promise<Run> {
  const { idempotencyKey, rerun, trigger } = request;
  if (
    idempotencyKey != null &&
    (idempotencyKey.length < 1 || idempotencyKey.length > 255 || !isStorable(idempotencyKey))
  )
    throw validation([{ path: ['idempotencyKey'], message: 'must be 1 to 255 characters' }]);
  if (!isStorableJson(request.input)) throw validation([{ path: ['input'], message: notStorable }]);
  const inputHash = digestOf([scope.projectId, request.pipeline, request.input ?? null, rerun ?? null]);
  // A key that was used answers before any other check: what was fine then is not refused now.
  const earlier = await findEarlier(core, scope, idempotencyKey, inputHash);
  if (earlier) return earlier;
  const configured = await configure(core, scope, request.pipeline);
  const { definition } = configured.pipeline;
  const first = rerun ? firstOf(definition, rerun.stage) : 0;
  if (first < 0)
    throw validation([
      {
        path: ['stage'],
        message: `no stage ${quoted(rerun!.stage)}; there is ${definition.stages.map(({ key }) => key).join(', ')}`,
      },
    ]);
  // Taken up again, what its input brought is there already.
  const taken = rerun ? { ...definition, input: undefined } : definition;
  const { input, items, callbackUrl } = checkInput(core, taken, request.input);
  const from = rerun && definition.stages[first]!.key;
  const failed = rerun ? await failedIn(core, rerun.runId) : new Map<string, number>();
  const estimate = await estimateRun(core, scope, withFailed(configured, failed), {
    input,
    added: items,
    from,
  });
  const row = {
    accountId: scope.accountId,
    projectId: scope.projectId,
    configurationId: configured.configuration.id,
    pipelineId: configured.pipeline.id,
    trigger,
    input,
    callbackUrl,
    idempotencyKey,
    inputHash,
    fromStage: from,
    rerunOf: rerun?.runId,
    estimated: estimate.total,
    held: estimate.required,
    stages: stagesIn(definition).map((stage, index) => ({ ...stage, status: index < first ? 'SKIPPED' : 'PENDING' })),
    // What is asked for twice is wanted twice.
    items: items.map((item) => ({ ...item, digest: randomUUID() })),
  };
  try {
    const [made] = await core.db.sql<Run & { replayed: boolean }>(
      'select s.replayed, (s.made).* from run_start($1) s',
      [JSON.stringify(row)],
      'run_start',
    );
    if (!made) throw conflict('STARTED_ALREADY', 'Another worker has made this scheduled start.');
    const { replayed: _, ...run } = made;
    core.bus.wake(runsChannel, { runId: run.id });
    return run;
  } catch (error) {
    throw refusalOf(error);
  }
}

async function findEarlier(
  core: Core,
  { accountId }: Scope,
  key: string | null | undefined,
  inputHash: string,
): Promise<Run | undefined> {
  if (key == null) return undefined;
  const [earlier] = await core.db.sql<Run>('select * from run where account_id = $1 and idempotency_key = $2', [
    accountId,
    key,
  ]);
  if (earlier && earlier.inputHash !== inputHash) throw keyUsed(earlier.id);
  return earlier;
}

/** What waits again when a run is taken up once more, by stage. */
async function failedIn(core: Core, runId: string): Promise<Map<string, number>> {
  const rows = await core.db.sql<{ stage: string; count: number }>(
    `select w.stage, count(*)::int from work w join batch b on b.id = w.batch_id where b.run_id = $1 and w.state = 'FAILED' group by 1`,
    [runId],
  );
  return new Map(rows.map(({ stage, count }) => [stage, count]));
}

function withFailed(configured: Configured, failed: Map<string, number>): Configured {
  const stages = [...configured.stages].map(
    ([key, stage]) => [key, { ...stage, waiting: stage.waiting + (failed.get(key) ?? 0) }] as const,
  );
  return { ...configured, stages: new Map(stages) };
}

/** @param uuid of the live one. */
export function runIsLive(uuid: string): Refusal {
  const runId = toId('Run', uuid);
  const message = `The run ${runId} of this pipeline is live; watch it, or cancel it first.`;
  return new Refusal('RunAlreadyActiveError', 'RUN_ALREADY_ACTIVE', message, { runId });
}

function keyUsed(uuid: string): Refusal {
  const existingId = toId('Run', uuid);
  const message = `This key started ${existingId} with another input; use a new key for a new run.`;
  return new Refusal('IdempotencyMismatchError', 'IDEMPOTENCY_MISMATCH', message, { existingId });
}

function refusalOf(error: unknown): unknown {
  const refusal = raisedBy(error);
  if (!refusal) return error;
  const { code, detail } = refusal;
  if (code === raised.noProject) return notFound('project');
  if (code === raised.runIsLive) return runIsLive(detail);
  if (code === raised.keyUsed) return keyUsed(detail);
  if (code === raised.tooFewCredits) {
    const { required, available } = JSON.parse(detail) as { required: number; available: number };
    return tooFewCredits(required, available);
  }
  return error;
}
