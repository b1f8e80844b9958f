import { isDeepStrictEqual } from 'node:util';
import type { FullBatch } from './batch.ts';
import { inletOf, type StageDefinition } from './definition.ts';
import { openSchema } from './json-schema.ts';
import { failed, type Outcome } from './outcome.ts';
import type { Turn } from './stages/stage.ts';

/**
 * Items of the kind of a pipeline's own input must be what a run's input must be, however they came: they get the defaults of its schema, and
 * those that do not fit fail.
 * @returns the batches that fit, and what became of the others.
 */
export async function checkInlet(
  { core, definition }: Turn,
  stage: StageDefinition,
  batches: FullBatch[],
): Promise<{ batches: FullBatch[]; outcomes: Outcome[] }> {
  const wanted = definition.input;
  if (!wanted || inletOf(definition, stage) !== wanted.kind) return { batches, outcomes: [] };
  const check = openSchema(wanted.schema, { fills: true });
  const outcomes: Outcome[] = [];
  const filled: { id: string; data: unknown }[] = [];
  const fitting = batches.filter((batch) => {
    for (const item of batch.items) {
      const data = structuredClone(item.data);
      const [issue] = check(data, []);
      if (issue) {
        const message = `${[issue.path.join('.'), issue.message].filter(Boolean).join(' ')}, by the input of the pipeline.`;
        outcomes.push(failed(batch, { code: 'INVALID_INPUT', message, retryable: false }));
        return false;
      }
      if (isDeepStrictEqual(data, item.data)) continue;
      filled.push({ id: item.id, data });
      item.data = data;
    }
    batch.ancestors[wanted.kind] = batch.items[0]!.data;
    return true;
  });
  if (filled.length > 0)
    await core.db.sql(
      'update item set data = f.data from jsonb_to_recordset($1) as f(id uuid, data jsonb) where item.id = f.id',
      [JSON.stringify(filled)],
      'inlet_fill',
    );
  return { batches: fitting, outcomes };
}
