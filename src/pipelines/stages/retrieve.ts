import pLimit from 'p-limit';
import { toId } from '../../id.ts';
import { searchKnowledge } from '../../knowledge/search.ts';
import { type FullBatch, scopeOf } from '../batch.ts';
import type { RetrieveStage, TasksStage } from '../definition.ts';
import { done, failed, givenBack, type Outcome } from '../outcome.ts';
import type { KeptPassage } from '../passage.ts';
import { fill } from '../template.ts';
import type { StageKind, Turn } from './stage.ts';

const longestQuery = 2_000;
const searchesAtOnce = 4;

/** What the project knows of an item: kept with the item, for the stages after it. */
export const retrieveKind: StageKind<RetrieveStage> = {
  atOnce: 20,
  async begin(turn, stage, batches) {
    const limit = pLimit(searchesAtOnce);
    const outcomes = await Promise.all(batches.map((batch) => limit(() => lookUp(turn, stage, batch))));
    return { begun: 0, outcomes };
  },
  // Begun, it has ended.
  collect: async (_turn, _stage, batches) => batches.map(() => null),
  giveUp: async (_turn, batches) => batches.map(givenBack),
};

async function lookUp(turn: Turn, stage: RetrieveStage, batch: FullBatch): Promise<Outcome> {
  turn.signal.throwIfAborted();
  try {
    const passages = await retrieve(turn, stage, batch);
    const made = batch.items.map(({ id, data }) => ({ data: { ...(data as object), passages }, from: [id] }));
    return done(turn.definition, stage, batch, made);
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    return failed(batch, { code: 'INPUT_TOO_LARGE', message: error.message, retryable: false });
  }
}

/** Looks up what a stage asks for, with a batch's items filled in. */
export async function retrieve(
  { core, run }: Turn,
  how: NonNullable<TasksStage['retrieve']>,
  batch: FullBatch,
): Promise<KeptPassage[]> {
  const query = String(fill(how.query, scopeOf(batch, run.input)) ?? '').slice(0, longestQuery);
  if (!query.trim()) return [];
  const { first, category, tags } = how;
  const found = await searchKnowledge(core, run, { query, first, category, tags });
  return found.map(({ document, text, score, fullTextScore, trigramScore, semanticScore, weight }) => ({
    documentId: toId('KnowledgeDocument', document.id),
    title: document.title,
    text,
    score,
    fullTextScore,
    trigramScore,
    semanticScore,
    weight,
  }));
}
