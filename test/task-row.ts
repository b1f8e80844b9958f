import type { Task } from '../src/db.ts';
import type { TestBed } from './kit.ts';

/** Writes a task as it is after its last attempt, without the way there. */
export async function insertTask(
  bed: Pick<TestBed, 'sql' | 'account'>,
  row: { type?: string; status?: string; input?: unknown; result?: unknown; error?: unknown; metadata?: unknown } = {},
): Promise<Task> {
  const [task] = await bed.sql<Task>(
    `INSERT INTO task (account_id, project_id, type, lane, status, input, result, error, metadata, route, quoted, held, longest_run_ms, attempt)
    SELECT account_id, id, $2, 'gpu_medium', $3, $4, $5, $6, $7, '[]', 0, 0, 60000, 1 FROM project WHERE account_id = $1 LIMIT 1 RETURNING *`,
    [
      bed.account.uuid,
      row.type ?? 'generate_image',
      row.status ?? 'PROCESSING',
      ...[row.input ?? {}, row.result, row.error, row.metadata].map((value) =>
        value === undefined ? null : JSON.stringify(value),
      ),
    ],
  );
  return task!;
}
