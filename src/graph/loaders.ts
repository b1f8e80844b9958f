import DataLoader from 'dataloader';
import type { Core } from '../core.ts';
import type { AgentProfile, Asset, Batch, Item, Project, Run, Task } from '../db.ts';
import { type PipelineVersion, pipelinesOf } from '../pipelines/catalog.ts';
import { creditsOfRuns, creditsOfStages, type StageStanding, stagesOfRuns } from '../pipelines/standing.ts';

/**
 * Rows by UUID, those that are asked for together in one query. Nothing is remembered: a subscription lives long, and the task
 * in an event is the task as it is now.
 */
export interface Loaders {
  task: DataLoader<string, Task | null>;
  asset: DataLoader<string, Asset | null>;
  project: DataLoader<string, Project | null>;
  pipeline: DataLoader<string, PipelineVersion | null>;
  run: DataLoader<string, Run | null>;
  batch: DataLoader<string, Batch | null>;
  item: DataLoader<string, Item | null>;
  agent: DataLoader<string, AgentProfile | null>;
  /** By role: the one that comes with Atelier. */
  defaultAgent: DataLoader<string, AgentProfile | null>;
  /** By the UUID of a run: its stages, first to last. */
  stages: DataLoader<string, StageStanding[]>;
  /** By the UUID of a run: what it holds and has been charged. */
  runCredits: DataLoader<string, { held: bigint; used: bigint }>;
  /** By the UUID of a run: what each of its stages has been charged. */
  stageCredits: DataLoader<string, Map<string, bigint>>;
  /** By `<lane> <account>`: the UUIDs of the first 100 that wait there, in the order in which they run. */
  backlog: DataLoader<string, string[]>;
}

export function createLoaders(core: Core): Loaders {
  const { prisma } = core.db;
  return {
    task: byId((ids) => prisma.task.findMany({ where: { id: { in: ids } } })),
    asset: byId((ids) => prisma.asset.findMany({ where: { id: { in: ids } } })),
    project: byId((ids) => prisma.project.findMany({ where: { id: { in: ids } } })),
    pipeline: byId((ids) => pipelinesOf(core, ids)),
    run: byId((ids) => prisma.run.findMany({ where: { id: { in: ids } } })),
    batch: byId((ids) => prisma.batch.findMany({ where: { id: { in: ids } } })),
    item: byId((ids) => prisma.item.findMany({ where: { id: { in: ids } } })),
    agent: byId((ids) => prisma.agentProfile.findMany({ where: { id: { in: ids } } })),
    defaultAgent: by(
      (roles) => prisma.agentProfile.findMany({ where: { accountId: null, role: { in: roles } } }),
      ({ role }) => role,
      ([agent]) => agent ?? null,
    ),
    stages: by(
      (ids) => stagesOfRuns(core, ids),
      ({ runId }) => runId,
      (stages) => stages,
    ),
    runCredits: by(
      (ids) => creditsOfRuns(core, ids),
      ({ runId }) => runId,
      ([credits]) => credits ?? { held: 0n, used: 0n },
    ),
    stageCredits: by(
      (ids) => creditsOfStages(core, ids),
      ({ runId }) => runId,
      (rows) => new Map(rows.map(({ stage, used }) => [stage, used])),
    ),
    backlog: new DataLoader(
      async (keys) => {
        const read = new Map([...new Set(keys)].map((key) => [key, readBacklog(core, key)]));
        return Promise.all(keys.map((key) => read.get(key)!));
      },
      { cache: false },
    ),
  };
}

const byId = <Row extends { id: string }>(read: (ids: string[]) => Promise<Row[]>): DataLoader<string, Row | null> =>
  by(
    read,
    ({ id }) => id,
    ([row]) => row ?? null,
  );

/** @param give what a key is answered with: of the rows that have it, in the order in which they were read. */
function by<Row, Value>(
  read: (keys: string[]) => Promise<Row[]>,
  keyOf: (row: Row) => string,
  give: (rows: Row[]) => Value,
): DataLoader<string, Value> {
  return new DataLoader(
    async (keys) => {
      const rows = new Map<string, Row[]>(keys.map((key) => [key, []]));
      for (const row of await read([...rows.keys()])) rows.get(keyOf(row))?.push(row);
      return keys.map((key) => give(rows.get(key)!));
    },
    { cache: false, maxBatchSize: 1_000 },
  );
}

async function readBacklog({ db }: Core, key: string): Promise<string[]> {
  const rows = await db.sql<{ id: string }>(
    `select id from task where lane = $1 and account_id = $2 and status = 'QUEUED' order by priority desc, id limit 100`,
    key.split(' '),
    'task_backlog',
  );
  return rows.map((row) => row.id);
}
