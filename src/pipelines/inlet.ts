import { isDeepStrictEqual } from 'node:util';
import type { FullBatch } from './batch.ts';
import { inletOf, type StageDefinition } from './definition.ts';
import { openSchema } from './json-schema.ts';
import type { Outcome } from './outcome.ts';
import type { Turn } from './stages/stage.ts';

/**
 * Items of the kind of a pipeline's own input must be what a run's input must be, however they came: they get the defaults of its schema, and
 * those that do not fit fail. What was sent back has been checked.
 * @returns the batches that fit, and what became of the others: those of their items that fit wait again.
 */
export async function checkInlet(
  turn: Turn,
  stage: StageDefinition,
  batches: FullBatch[],
): Promise<{ batches: FullBatch[]; outcomes: Outcome[] }> {
  const wanted = turn.definition.input;
  if (!wanted || inletOf(turn.definition, stage) !== wanted.kind) return { batches, outcomes: [] };
  const check = openSchema(wanted.schema, { fills: true });
  const filled: Filled[] = [];
  const problemOf = (item: FullBatch['items'][number]): string | undefined => {
    if (item.sentBack > 0) return undefined;
    const data = structuredClone(item.data);
    const [issue] = check(data, []);
    if (issue)
      return `${[issue.path.join('.'), issue.message].filter(Boolean).join(' ')}, by the input of the pipeline.`;
    if (!isDeepStrictEqual(data, item.data)) filled.push({ id: item.id, data, former: item.data });
    item.data = data;
    return undefined;
  };
  const outcomes: Outcome[] = [];
  const fitting = batches.filter((batch) => {
    const problems = batch.items.map(problemOf);
    const message = problems.find((problem) => problem !== undefined);
    if (message !== undefined) outcomes.push(parted(batch, problems, message));
    else batch.ancestors[wanted.kind] = batch.items[0]!.data;
    return message === undefined;
  });
  await write(turn, filled);
  return { batches: fitting, outcomes };
}

interface Filled {
  id: string;
  data: unknown;
  former: unknown;
}

/** A batch whose items with a problem fail; the others are taken anew. */
function parted(batch: FullBatch, problems: (string | undefined)[], message: string): Outcome {
  return {
    batch: batch.id,
    stage: batch.stage,
    state: 'FAILED',
    error: { code: 'INVALID_INPUT', message, retryable: false },
    items: batch.items.map(({ id }, index) => ({ id, state: problems[index] === undefined ? 'WAITING' : 'FAILED' })),
    outputs: [],
  };
}

async function write({ core, run }: Turn, filled: Filled[]): Promise<void> {
  if (filled.length === 0) return;
  await core.db.sql(
    `with held as materialized (select id from run_held($1, $2)),
       own as materialized (select item.id from item cross join held where item.id = any($3) order by item.id for update of item)
     update item set data = f.data from own join jsonb_to_recordset($4) as f(id uuid, data jsonb, former jsonb) on f.id = own.id
     where item.id = own.id and item.data = f.former`,
    [run.id, run.fence, filled.map(({ id }) => id), JSON.stringify(filled)],
    'inlet_fill',
  );
}
