import type { Core } from '../core.ts';
import type { Near } from './nearest.ts';
import { dot, fromBytes } from './vector.ts';

/** Of more passages a process compares none: the database needs pgvector then. 50,000 of 512 dimensions take 100 MB. */
const mostPassages = 50_000;
/** Of all projects together; the one that was searched longest ago goes first. */
const mostBytes = 256 * 1024 * 1024;
const pageSize = 2_000;

/** Which documents a search looks at. */
export interface Chosen {
  category?: string;
  /** Those that have all of them. */
  tags?: string[];
}

interface DocumentFacts {
  version: number;
  weight: number;
  category: string | null;
  tags: string[];
}

/** The vectors of a project's passages as of a revision of its knowledge. */
export interface Vectors {
  nearest(query: Float32Array, options: { chosen: Chosen | null; most: number }): Near[];
}

/** The vectors of a project, brought up to date: only what came since the last time is read. */
export async function openVectors(core: Core, projectId: string, model: string): Promise<Vectors> {
  const stores = caches.get(core) ?? new Map<string, Store>();
  caches.set(core, stores);
  const key = `${projectId} ${model}`;
  const store = stores.get(key) ?? createStore(core, projectId, model);
  // At the end of the order: it was asked for last.
  stores.delete(key);
  stores.set(key, store);
  await store.refresh();
  let bytes = [...stores.values()].reduce((sum, each) => sum + each.bytes(), 0);
  for (const [each, old] of stores) {
    if (bytes <= mostBytes || old === store) break;
    bytes -= old.bytes();
    stores.delete(each);
  }
  return store;
}

const caches = new WeakMap<Core, Map<string, Store>>();

interface Store extends Vectors {
  refresh(): Promise<void>;
  bytes(): number;
}

/** Passages of a document, as they were read together; their vectors lie behind each other. */
interface Chunk {
  ids: string[];
  dimensions: number;
  vectors: Float32Array;
}

/** By document: the version of its text, and what is known of that. */
type Known = Map<string, { version: number; chunks: Chunk[] }>;

function createStore(core: Core, projectId: string, model: string): Store {
  let revision = 0n;
  /** Of the vectors; behind the other while there are too many. */
  let vectorsRevision = 0n;
  let documents = new Map<string, DocumentFacts>();
  const known: Known = new Map();
  let current: Promise<void> | undefined;
  let following: Promise<void> | undefined;

  async function readNews(): Promise<void> {
    const [row] = await core.db.sql<{ revision: bigint; passages: bigint }>(
      `SELECT revision, (SELECT coalesce(sum(passage_count), 0)::int8 FROM knowledge_document WHERE project_id = $1 AND version > 0) AS passages
      FROM knowledge_revision WHERE project_id = $1 AND revision > $2`,
      [projectId, revision],
      'knowledge_revision',
    );
    if (!row) return;
    const rows = await core.db.sql<DocumentFacts & { id: string }>(
      'SELECT id, version, weight, category, tags FROM knowledge_document WHERE project_id = $1 AND version > 0',
      [projectId],
      'knowledge_documents',
    );
    documents = new Map(rows.map((each) => [each.id, each]));
    for (const [id, { version }] of known) if (documents.get(id)?.version !== version) known.delete(id);
    if (row.passages > BigInt(mostPassages)) {
      core.log.warn(
        { projectId, passages: Number(row.passages) },
        'too many passages to find by meaning without pgvector',
      );
      known.clear();
      vectorsRevision = 0n;
    } else {
      const passages = await readBetween(vectorsRevision, row.revision);
      remember(passages);
      vectorsRevision = row.revision;
    }
    revision = row.revision;
  }

  /** None beyond the later one: they come with the next reading, and would be there twice. */
  async function readBetween(since: bigint, until: bigint): Promise<Passage[]> {
    const passages: Passage[] = [];
    for (let after = { revision: since + 1n, id: '00000000-0000-0000-0000-000000000000' }; ; ) {
      const rows = await core.db.sql<Passage>(
        `SELECT id, document_id, version, embedding, revision FROM knowledge_passage
        WHERE project_id = $1 AND (revision, id) > ($2, $3) AND revision <= $4 AND embedding_model = $5
        ORDER BY revision, id LIMIT $6`,
        [projectId, after.revision, after.id, until, model, pageSize],
        'knowledge_vectors',
      );
      passages.push(...rows);
      const last = rows.at(-1);
      if (!last || rows.length < pageSize) return passages;
      after = { revision: last.revision, id: last.id };
    }
  }

  function remember(passages: Passage[]): void {
    const groups = new Map<string, Passage[]>();
    for (const passage of passages) {
      if (documents.get(passage.documentId)?.version !== passage.version) continue;
      const group = groups.get(passage.documentId);
      if (group) group.push(passage);
      else groups.set(passage.documentId, [passage]);
    }
    for (const [documentId, group] of groups) {
      const { version } = group[0]!;
      const document = known.get(documentId) ?? { version, chunks: [] };
      document.chunks.push(toChunk(group));
      known.set(documentId, document);
    }
  }

  const begin = () => {
    current = readNews().finally(() => {
      current = undefined;
    });
    return current;
  };
  return {
    // What was committed before a search began it finds: those that come while others read share the next reading.
    refresh() {
      if (!current) return begin();
      following ??= current
        .catch(() => {})
        .then(() => {
          following = undefined;
          return begin();
        });
      return following;
    },
    bytes: () => bytesOf(known),
    nearest: (query, options) => compare(known, documents, query, options),
  };
}

interface Passage {
  id: string;
  documentId: string;
  version: number;
  embedding: Buffer;
  revision: bigint;
}

function toChunk(passages: Passage[]): Chunk {
  const dimensions = passages[0]!.embedding.length / 4;
  const vectors = new Float32Array(passages.length * dimensions);
  passages.forEach(({ embedding }, index) => {
    vectors.set(fromBytes(embedding), index * dimensions);
  });
  return { ids: passages.map(({ id }) => id), dimensions, vectors };
}

function bytesOf(known: Known): number {
  let bytes = 0;
  for (const { chunks } of known.values()) for (const { vectors } of chunks) bytes += vectors.byteLength;
  return bytes;
}

function compare(
  known: Known,
  documents: Map<string, DocumentFacts>,
  query: Float32Array,
  { chosen, most }: { chosen: Chosen | null; most: number },
): Near[] {
  const best: (Near & { rank: number })[] = [];
  for (const [documentId, { version, chunks }] of known) {
    const document = documents.get(documentId);
    if (document?.version !== version || document.weight <= 0 || (chosen && !isChosen(document, chosen))) continue;
    for (const { ids, dimensions, vectors } of chunks) {
      if (dimensions !== query.length) continue;
      for (let index = 0; index < ids.length; index++) {
        const similarity = dot(query, vectors, index * dimensions);
        const rank = similarity * document.weight;
        if (rank <= (best.length < most ? 0 : best.at(-1)!.rank)) continue;
        const place = best.findIndex((each) => each.rank < rank);
        best.splice(place < 0 ? best.length : place, 0, { id: ids[index]!, similarity, rank });
        if (best.length > most) best.pop();
      }
    }
  }
  return best;
}

const isChosen = (document: DocumentFacts, { category, tags }: Chosen): boolean =>
  (category === undefined || document.category === category) &&
  (tags === undefined || tags.every((tag) => document.tags.includes(tag)));
