import { setTimeout as wait } from 'node:timers/promises';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { Review, Run, Task } from '../../src/db.ts';
import { Refusal } from '../../src/errors.ts';
import { cancelTask } from '../../src/lifecycle/cancel.ts';
import { changeCredits } from '../../src/lifecycle/credits.ts';
import { deleteTask } from '../../src/lifecycle/delete.ts';
import { setRoute } from '../../src/lifecycle/routes.ts';
import { createPipeline } from '../../src/pipelines/catalog.ts';
import { cancelRun, pauseRun, rerunFrom, resumeRun } from '../../src/pipelines/command.ts';
import { configure, type Scope } from '../../src/pipelines/configuration.ts';
import { decideReview } from '../../src/pipelines/decide-review.ts';
import { addItems } from '../../src/pipelines/items.ts';
import { startRun } from '../../src/pipelines/start.ts';
import { updateConfiguration } from '../../src/pipelines/update-configuration.ts';
import { createTestBed, eventually, type TestBed } from '../kit.ts';
import { pipelines, word } from './changing-pipelines.ts';
import { always, atRest, findBroken } from './invariants.ts';
import { type Chance, seeded } from './seeded.ts';

/** What is asked is the same each time; who is first is not. SEED=2 asks something else. */
const seed = Number(process.env.SEED ?? 1);
const commandCount = 60;
const atOnce = 3;
const longestWaitMs = 80;

let bed: TestBed;
let scope: Scope;
beforeAll(async () => {
  bed = await createTestBed({
    worker: 2,
    environment: {
      ATELIER_ADAPTER_SCRIPTED: '{"enabled":true}',
      ATELIER_LANE_CONCURRENCY: 'cpu_intensive=50',
      ATELIER_LEASE_SECONDS: '3',
      ATELIER_ALLOWED_HOSTS: '127.0.0.1',
    },
  });
  await setRoute(bed.core, 'generate_text', [{ provider: 'scripted', model: null }]);
  const [project] = await bed.sql<{ id: string }>('select id from project where account_id = $1', [bed.account.uuid]);
  scope = { accountId: bed.account.uuid, projectId: project!.id };
});
afterAll(() => bed.close());

const names = Object.keys(pipelines);
const versions = new Map<string, number>();

async function define(name: string): Promise<void> {
  const version = versions.get(name) ?? 0;
  versions.set(name, version + 1);
  await createPipeline(bed.core, scope.accountId, { name, title: name, stages: pipelines[name]!(version) });
}

type Command = (chance: Chance) => Promise<unknown>;

const runsAre = (...statuses: string[]) =>
  bed.sql<Run>('select * from run where status = any($1) order by id', [statuses]);
const live = ['RUNNING', 'PAUSING', 'PAUSED', 'WAITING_FOR_REVIEW', 'CANCELLING'];

/** Does it to one of these, if there is any. */
async function toOne<Row>(chance: Chance, rows: Row[], work: (row: Row) => Promise<unknown>): Promise<void> {
  if (rows.length > 0) await work(chance.pick(rows));
}

const grant = (credits: number, key: string) =>
  changeCredits(bed.core, {
    accountId: scope.accountId,
    leg: credits > 0 ? 'GRANT' : 'ADJUST',
    change: credits,
    idempotencyKey: key,
    note: 'x',
  });

/** What people, workers and operators do, and how often. */
const commands: [number, Command][] = [
  [
    7,
    (chance) =>
      addItems(
        bed.core,
        scope,
        chance.pick(['word', 'word', 'word', 'poem', 'title']),
        Array.from({ length: 1 + chance.below(5) }, () => word(chance)),
      ),
  ],
  [
    12,
    (chance) => {
      const input = chance.is(0.5) ? { callbackUrl: 'http://127.0.0.1:9/runs' } : undefined;
      return startRun(bed.core, scope, { pipeline: chance.pick(names), trigger: 'MANUAL', input });
    },
  ],
  [
    6,
    async (chance) => toOne(chance, await runsAre('RUNNING', 'WAITING_FOR_REVIEW'), (run) => pauseRun(bed.core, run)),
  ],
  [
    5,
    async (chance) =>
      toOne(chance, await runsAre('PAUSED', 'PAUSING'), (run) =>
        Promise.all([resumeRun(bed.core, run), resumeRun(bed.core, run)]),
      ),
  ],
  [
    1,
    async (chance) =>
      toOne(chance, await runsAre(...live), (run) => cancelRun(bed.core, run, chance.pick(['CANCEL', 'FINISH']))),
  ],
  [
    4,
    async (chance) =>
      toOne(chance, await runsAre('COMPLETED', 'FAILED', 'CANCELLED'), async (run) => {
        const stages = await bed.sql<{ key: string }>('select key from stage_run where run_id = $1 order by position', [
          run.id,
        ]);
        await toOne(chance, stages, ({ key }) => rerunFrom(bed.core, run, { stage: key }));
      }),
  ],
  [
    14,
    async (chance) =>
      toOne(chance, await bed.sql<Review>('select * from review where outcome is null order by id'), (each) => {
        const outcome = chance.pick(['APPROVE', 'APPROVE', 'REJECT', 'EDIT'] as const);
        return decideReview(bed.core, each, { outcome, edits: outcome === 'EDIT' ? { text: 'edited' } : undefined });
      }),
  ],
  [
    4,
    async (chance) => {
      const name = chance.pick(names);
      const { pipeline } = await configure(bed.core, scope, name);
      await updateConfiguration(bed.core, scope, name, {
        maxFailures: chance.pick([0, 5, 50]),
        stageDelayMs: chance.pick([0, 0, 100]),
        stages: pipeline.definition.stages.map(({ key, kind }) => ({
          key,
          itemDelayMs: chance.pick([0, 0, 50]),
          maxParallel: chance.pick([1, 2, 10]),
          batchSize: kind === 'REVIEW' ? null : chance.pick([null, 1, 3]),
        })),
      });
    },
  ],
  [
    4,
    async (chance) => {
      const name = chance.pick(names);
      await define(name);
      if (chance.is(0.7)) await configure(bed.core, scope, name);
    },
  ],
  // Its worker was away for too long.
  [6, () => bed.sql(`update run set lease_until = now() - interval '1 second' where lease_until is not null`)],
  [1, (chance) => bed.sql('update price set credits_per_unit = credits_per_unit * $1', [chance.pick([0.5, 2, 3])])],
  [
    1,
    async (chance) => {
      const [account] = await bed.sql<{ available: bigint }>('select available from account where id = $1', [
        scope.accountId,
      ]);
      const rest = chance.below(60);
      if (account!.available > rest) await grant(rest - Number(account!.available), `drain ${chance.below(1e9)}`);
    },
  ],
  [3, (chance) => grant(20_000, `grant ${chance.below(1e9)}`)],
  [
    1,
    async (chance) =>
      toOne(chance, await bed.sql<Task>('select * from task where completed_at is null order by id'), ({ id }) =>
        cancelTask(bed.core, id),
      ),
  ],
  [
    1,
    async (chance) =>
      toOne(
        chance,
        await bed.sql<Task>('select * from task where completed_at is not null order by id desc limit 3'),
        ({ id }) => deleteTask(bed.core, id),
      ),
  ],
  [
    2,
    async (chance) => {
      const name = chance.pick(names);
      const overlap = chance.pick(['SKIP', 'QUEUE', 'CANCEL_OLD'] as const);
      await updateConfiguration(bed.core, scope, name, { enabled: true, cron: '0 3 * * *', overlap });
      await bed.sql('update pipeline_configuration set next_run_at = now() where pipeline = $1', [name]);
    },
  ],
];

const each = commands.flatMap(([weight, command]) => Array<Command>(weight).fill(command));

/** Refusals are answers; all else is a fault. */
async function ask(chance: Chance, faults: unknown[]): Promise<void> {
  try {
    await chance.pick(each)(chance);
  } catch (error) {
    if (!(error instanceof Refusal)) faults.push(error);
  }
}

/** With credits for all, and everybody back at work. */
async function allEnd(): Promise<void> {
  await eventually(async () => {
    const rows = await runsAre(...live);
    for (const run of rows) if (run.status === 'PAUSED') await resumeRun(bed.core, run);
    expect(rows, 'every run comes to an end').toEqual([]);
    return true;
  }, 30_000);
}

it(`keeps every item, task and credit whatever ${commandCount} commands do at the same time, as with seed ${seed}`, {
  timeout: 90_000,
}, async () => {
  for (const name of names) {
    await define(name);
    await configure(bed.core, scope, name);
  }
  const first = seeded(seed, commandCount);
  await addItems(
    bed.core,
    scope,
    'word',
    Array.from({ length: 6 }, () => word(first)),
  );
  for (const pipeline of names) await startRun(bed.core, scope, { pipeline, trigger: 'MANUAL' });
  const faults: unknown[] = [];
  const underWay = new Set<Promise<void>>();
  const pace = seeded(seed);
  for (let index = 0; index < commandCount; index++) {
    const asked = ask(seeded(seed, index), faults).finally(() => underWay.delete(asked));
    underWay.add(asked);
    if (underWay.size === atOnce) await Promise.race(underWay);
    await wait(pace.below(longestWaitMs));
    if (index % 10 === 9) expect(await findBroken(bed, always)).toEqual([]);
  }
  await Promise.all(underWay);
  expect(faults).toEqual([]);

  await bed.sql(
    'update pipeline_configuration set enabled = false, queued = false, max_failures = 1000, stage_delay_ms = 0',
  );
  await bed.sql('update stage set item_delay_ms = 0');
  await grant(1_000_000, 'the end');
  await allEnd();
  // What still waits is the next run's.
  const last: string[] = [];
  for (const pipeline of names) last.push((await startRun(bed.core, scope, { pipeline, trigger: 'MANUAL' })).id);
  await allEnd();
  expect((await runsAre('COMPLETED')).slice(-names.length).map(({ id }) => id)).toEqual(last);
  expect(await findBroken(bed, [...always, ...atRest])).toEqual([]);
});
