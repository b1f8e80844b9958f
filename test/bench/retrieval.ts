import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { addDocument } from '../../src/knowledge/document.ts';
import { embedDue } from '../../src/knowledge/embed-due.ts';
import { searchKnowledge } from '../../src/knowledge/search.ts';
import { toBytes, toUnit } from '../../src/knowledge/vector.ts';
import { type Bench, percentile, startBench } from './processes.ts';

const documents = 100;
const passagesEach = 100;
const queries = 100;
const rounds = 3;

/** A search over 10,000 passages, the query's embedding and all, beside Postgres's full text alone, in turns. */
export async function benchRetrieval(): Promise<void> {
  const bench = await startBench({ worker: false });
  try {
    const { accountId, projectId } = await bench.createKey();
    const scope = { accountId, projectId };
    const random = randomOf(1);
    const texts = readTexts();
    await fill(bench, scope, texts, random);
    /** A few words that follow each other somewhere. */
    const ask = (length: number) => {
      const words = texts[Math.floor(random() * texts.length)]!.match(/[a-zA-Z]+/g)!;
      const from = Math.floor(random() * Math.max(1, words.length - length));
      return words.slice(from, from + length).join(' ');
    };
    // Child and vectors are there from the first search on.
    const begun = performance.now();
    await searchKnowledge(bench.core, scope, { query: 'first', first: 5 });
    console.log(
      `  the first search of a process: ${(performance.now() - begun).toFixed(0)} ms, with the model and the vectors to load`,
    );
    for (let round = 0; round < rounds; round++) {
      const times = { search: [] as number[], again: [] as number[], plain: [] as number[] };
      for (let each = 0; each < queries; each++) {
        const query = ask(3 + (each % 6));
        times.plain.push(await timed(() => plainFullText(bench, projectId, query)));
        times.search.push(await timed(() => searchKnowledge(bench.core, scope, { query, first: 5 })));
        times.again.push(await timed(() => searchKnowledge(bench.core, scope, { query, first: 5 })));
      }
      const [search, again, plain] = [times.search, times.again, times.plain].map((each) => each.sort((a, b) => a - b));
      const told = (sorted: number[]) =>
        `p50 ${percentile(sorted, 0.5).toFixed(1)} p95 ${percentile(sorted, 0.95).toFixed(1)} ms`;
      console.log(
        `  ${documents * passagesEach} passages: new query ${told(search!)}, asked again ${told(again!)}, plain full text ${told(plain!)}; a new query takes ${(percentile(search!, 0.5) / percentile(plain!, 0.5)).toFixed(1)} times plain full text`,
      );
    }
    const measured = { title: 'Measured', text: texts.slice(0, 20).join('\n\n'), contentType: 'text/plain' };
    const { passageCount } = await addDocument(bench.core, scope, measured);
    const started = performance.now();
    while (await embedDue(bench.core, 16));
    console.log(`  embedding: ${((performance.now() - started) / passageCount).toFixed(0)} ms a passage`);
  } finally {
    await bench.core.db.sql('truncate knowledge_document, knowledge_passage, knowledge_word, knowledge_revision');
    await bench.close();
  }
}

/** Vectors by chance, for the model would take twenty minutes: as many are compared, and as long ones. */
async function fill(
  bench: Bench,
  scope: { accountId: string; projectId: string },
  texts: string[],
  random: () => number,
) {
  const { sql } = bench.core.db;
  await sql('truncate knowledge_document, knowledge_passage, knowledge_word, knowledge_revision');
  const begun = performance.now();
  for (let from = 0; from < texts.length; from += passagesEach) {
    const sections = texts.slice(from, from + passagesEach).map((text) => `# Section\n\n${text}`);
    const text = sections.join('\n\n');
    await addDocument(bench.core, scope, { title: `Document ${from}`, text, contentType: 'text/plain' });
  }
  const ms = performance.now() - begun;
  const rows = await sql<{ id: string }>('select id from knowledge_passage');
  for (let from = 0; from < rows.length; from += 1_000) {
    const ids = rows.slice(from, from + 1_000).map(({ id }) => id);
    const vectors = ids.map(() => toBytes(toUnit(Array.from({ length: 512 }, () => random() - 0.5))));
    await sql(
      `update knowledge_passage set embedding = given.embedding, embedding_model = 'energetic-ai/en', revision = 1
      from unnest($1::uuid[], $2::bytea[]) as given (id, embedding) where knowledge_passage.id = given.id`,
      [ids, vectors],
    );
  }
  await sql(`update knowledge_document set embed_due_at = null, embedding_model = 'energetic-ai/en'`);
  await sql('vacuum analyze knowledge_passage');
  console.log(`  ${rows.length} passages in ${documents} documents, added in ${(ms / rows.length).toFixed(2)} ms each`);
}

function plainFullText({ core }: Bench, projectId: string, query: string): Promise<unknown> {
  return core.db.sql(
    `select text, ts_rank(search, words) as rank from knowledge_passage, (
      select replace(plainto_tsquery('english', $2)::text, ' & ', ' | ')::tsquery as words) as asked
    where project_id = $1 and search @@ words order by rank desc limit 5`,
    [projectId, query],
    'bench_plain',
  );
}

async function timed(work: () => Promise<unknown>): Promise<number> {
  const begun = performance.now();
  await work();
  return performance.now() - begun;
}

/** What the packages here say of themselves, in pieces of a passage's length. */
function readTexts(): string[] {
  const texts: string[] = [];
  for (const name of readdirSync('node_modules', { recursive: true, encoding: 'utf8' }).sort()) {
    if (!/(^|\/)README\.md$/i.test(name)) continue;
    const text = readFileSync(join('node_modules', name), 'utf8').replace(/[^\x20-\x7e]+|#/g, ' ');
    for (let at = 0; at + 780 <= text.length; at += 780) {
      const piece = text.slice(at, at + 780);
      if ((piece.match(/[a-zA-Z]+/g)?.length ?? 0) >= 60) texts.push(piece);
      if (texts.length === documents * passagesEach) return texts;
    }
  }
  // Fewer packages: their words in another order are as good.
  for (let at = 0; texts.length < documents * passagesEach; at++) texts.push(texts[at]!.split(' ').reverse().join(' '));
  return texts;
}

/** Park and Miller's generator: the same texts each time. */
function randomOf(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state * 48_271) % 2_147_483_647;
    return state / 2_147_483_647;
  };
}
