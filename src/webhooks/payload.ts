import type { Core } from '../core.ts';
import type { Asset, Run, Task, WebhookDelivery } from '../db.ts';
import { toId } from '../id.ts';
import { signAsset } from '../lifecycle/assets.ts';
import { mapFiles } from '../lifecycle/result.ts';

const urlExpiresInSeconds = 24 * 3600;

/** The body of a webhook, about a task or a run. */
export function payloadOf(core: Core, delivery: WebhookDelivery): Promise<string> {
  return delivery.runId === null ? taskPayload(core, delivery) : runPayload(core, delivery, delivery.runId);
}

async function runPayload(core: Core, delivery: WebhookDelivery, runId: string): Promise<string> {
  // Of its own moment: by now the run may stand elsewhere.
  const [run] = await core.db.sql<
    Run & { told: { status: string; reason: string | null }; pipeline: string; creditsUsed: number }
  >(
    `SELECT r.*, e.data AS told, p.name AS pipeline,
       (SELECT coalesce(sum(amount), 0)::float8 FROM ledger_entry WHERE run_id = r.id AND leg = 'CAPTURE' AND created_at <= e.at) AS credits_used
     FROM run r JOIN run_event e ON e.run_id = r.id AND e.seq = $2 JOIN pipeline p ON p.id = r.pipeline_id WHERE r.id = $1`,
    [runId, delivery.sequence],
    'webhook_run',
  );
  return JSON.stringify({
    type: delivery.type,
    timestamp: delivery.createdAt.toISOString(),
    data: {
      run_id: toId('Run', runId),
      project_id: toId('Project', run!.projectId),
      pipeline: run!.pipeline,
      status: run!.told.status,
      reason: run!.told.reason,
      current_stage: run!.currentStage,
      failures: run!.failures,
      credits_used: run!.creditsUsed,
      error: run!.error,
      sequence: delivery.sequence,
    },
  });
}

/**
 * The body of a webhook about a task: names in snake_case, `result` as GraphQL gives it. URLs of assets are signed anew at
 * each call, for 24 hours.
 */
async function taskPayload(core: Core, delivery: WebhookDelivery): Promise<string> {
  const [tasks, rows] = await Promise.all([
    core.db.sql<Task>('SELECT * FROM task WHERE id = $1', [delivery.taskId], 'webhook_task'),
    core.db.sql<Asset>(
      'SELECT * FROM asset WHERE task_id = $1 ORDER BY attempt, output',
      [delivery.taskId],
      'webhook_assets',
    ),
  ]);
  const task = tasks[0];
  if (!task) throw new Error('the task of this webhook was deleted');
  const type = core.registry.taskType(task.type);
  const assets = new Map(await Promise.all(rows.map(async (row) => [row.id, await graphAsset(core, row)] as const)));
  const error = task.error as { code: string; message: string; retryable: boolean; providerRequestId?: string } | null;
  return JSON.stringify({
    type: delivery.type,
    timestamp: delivery.createdAt.toISOString(),
    data: {
      task_id: toId('Task', task.id),
      project_id: toId('Project', task.projectId),
      task_type: task.type,
      status: task.status,
      progress: task.progress,
      result: type
        ? mapFiles(type, task.result, ({ assetId }: { assetId: string }) => assets.get(assetId) ?? null)
        : task.result,
      error: error && {
        code: error.code,
        message: error.message,
        retryable: error.retryable,
        provider_request_id: error.providerRequestId ?? null,
      },
      assets: [...assets.values()].map(({ id, kind, contentType, sizeBytes, sha256, url }) => ({
        id,
        kind,
        content_type: contentType,
        size_bytes: sizeBytes,
        sha256,
        url,
      })),
      metadata: task.metadata,
      sequence: delivery.sequence,
    },
  });
}

async function graphAsset(core: Core, asset: Asset) {
  return {
    id: toId('Asset', asset.id),
    kind: asset.kind,
    contentType: asset.contentType,
    sizeBytes: Number(asset.sizeBytes),
    sha256: asset.sha256,
    width: asset.width,
    height: asset.height,
    durationMs: asset.durationMs === null ? null : Number(asset.durationMs),
    url: await signAsset(core, asset, urlExpiresInSeconds),
  };
}
