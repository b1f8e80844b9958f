import { afterEach, expect } from 'vitest';
import type { Item, Run } from '../src/db.ts';
import { setRoute } from '../src/lifecycle/routes.ts';
import { createPipeline } from '../src/pipelines/catalog.ts';
import { configure, type Scope } from '../src/pipelines/configuration.ts';
import { addItems } from '../src/pipelines/items.ts';
import { type RunRequest, startRun } from '../src/pipelines/start.ts';
import { createTestBed, eventually, type TestBed } from './kit.ts';

/** A stage of the kind TASKS with which the scripted engine can be told what to do: by `options` of the item. */
export const text = (key: string, input: string, output: string, more: object = {}) => ({
  key,
  title: key,
  kind: 'TASKS',
  input,
  output,
  taskType: 'generate_text',
  task: { prompt: `${output} of {{${input}.text}}`, maxTokens: 50, options: '{{item.options}}' },
  data: { text: `${output} of {{${input}.text}}` },
  ...more,
});

export const transform = (name: string, input: string, output: string, parameters: object = {}) => ({
  key: name,
  title: name,
  kind: 'TRANSFORM',
  input,
  output,
  transform: name,
  parameters,
});

export const words = (count: number, more: object = {}) =>
  Array.from({ length: count }, (_, index) => ({ text: `word ${index}`, ...more }));

/** A bed for each test of a file, with what tests of pipelines do in it. At its end nothing of a run's hold may be left. */
export function pipelineKit() {
  let bed: TestBed;
  let scope: Scope;
  afterEach(async () => {
    const open = await bed.sql(
      `select r.status, sum(l.held_change)::int from run r join ledger_entry l on l.run_id = r.id where r.completed_at is not null
         and not exists (select from task t where t.hold_id = r.hold_id and t.completed_at is null) group by 1, r.id having sum(l.held_change) <> 0`,
    );
    await bed.close();
    expect(open).toEqual([]);
  });

  const read = async ({ id }: Run): Promise<Run> => (await bed.sql<Run>('select * from run where id = $1', [id]))[0]!;
  const reaches = (run: Run, ...statuses: string[]): Promise<Run> =>
    eventually(async () => {
      const now = await read(run);
      return statuses.includes(now.status) ? now : null;
    }, 30_000);
  return {
    get bed() {
      return bed;
    },
    get scope() {
      return scope;
    },
    async open(workers: number | false = 1, settings: { [name: string]: string } = {}): Promise<void> {
      bed = await createTestBed({
        worker: workers,
        environment: {
          ATELIER_ADAPTER_SCRIPTED: '{"enabled":true}',
          ATELIER_LANE_CONCURRENCY: 'cpu_intensive=50',
          ATELIER_LEASE_SECONDS: '3',
          ATELIER_ALLOWED_HOSTS: '127.0.0.1',
          ...settings,
        },
      });
      await setRoute(bed.core, 'generate_text', [{ provider: 'scripted', model: null }]);
      const [project] = await bed.sql<{ id: string }>('select id from project where account_id = $1', [
        bed.account.uuid,
      ]);
      scope = { accountId: bed.account.uuid, projectId: project!.id };
    },
    async define(stages: object[], name = 'poems'): Promise<void> {
      await createPipeline(bed.core, scope.accountId, { name, title: name, stages });
      await configure(bed.core, scope, name);
    },
    add: (items: unknown[], kind = 'word') => addItems(bed.core, scope, kind, items),
    start: (more: Partial<RunRequest> = {}) =>
      startRun(bed.core, scope, { pipeline: 'poems', trigger: 'MANUAL', ...more }),
    read,
    reaches,
    ended: (run: Run) => reaches(run, 'COMPLETED', 'FAILED', 'CANCELLED'),
    items: (kind: string) => bed.sql<Item>('select * from item where kind = $1 order by id', [kind]),
    tasks: async () => (await bed.sql<{ count: number }>('select count(*)::int from task'))[0]!.count,
    stagesOf: ({ id }: Run) =>
      bed.sql('select key, status, done, failed, running from stage_run where run_id = $1 order by position', [id]),
    configured: (set: string) => bed.sql(`update pipeline_configuration set ${set}`),
  };
}
