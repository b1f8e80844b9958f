import type { Core } from '../core.ts';
import type { Task } from '../db.ts';

/** A line of a run's log. */
export interface RunLog {
  seq: number;
  at: Date;
  level: string;
  stage: string | null;
  message: string;
}

/** What is read of a list: so many, behind this. */
interface Slice {
  take: number;
  after: string | null;
}

/** The lines of a run's log, oldest first. @param slice.after a seq. */
export function logsOf(core: Core, runId: string, { take, after }: Slice): Promise<RunLog[]> {
  return core.db.sql<RunLog>(
    `select seq, at, data->>'level' as level, data->>'stage' as stage, data->>'message' as message
     from run_event where run_id = $1 and kind = 'logged' and seq > $2 order by seq limit $3`,
    [runId, Number(after ?? 0), take],
    'run_logs',
  );
}

/** The tasks of a run, newest first, of the types that are installed. @param slice.after a task's UUID. */
export function tasksOf(core: Core, runId: string, { take, after }: Slice): Promise<Task[]> {
  const types = core.registry.taskTypes.map(({ name }) => name);
  return core.db.sql<Task>(
    `select t.* from batch b join task t on t.id = b.task_id
     where b.run_id = $1 and b.task_id is not null and ($2::uuid is null or b.task_id < $2) and t.type = any($3) order by b.task_id desc limit $4`,
    [runId, after, types, take],
    'run_tasks',
  );
}
