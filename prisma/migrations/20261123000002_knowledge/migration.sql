-- CreateTable
CREATE TABLE "knowledge_document" (
    "id" UUID NOT NULL DEFAULT uuid_v7(),
    "account_id" UUID NOT NULL,
    "project_id" UUID NOT NULL,
    "title" TEXT NOT NULL,
    "category" TEXT,
    "tags" TEXT[] DEFAULT ARRAY[]::TEXT[],
    "weight" DOUBLE PRECISION NOT NULL DEFAULT 1,
    "content_type" TEXT NOT NULL,
    "size_bytes" BIGINT NOT NULL,
    "passage_count" INTEGER NOT NULL DEFAULT 0,
    "version" INTEGER NOT NULL DEFAULT 0,
    "staged" INTEGER NOT NULL DEFAULT 1,
    "staged_at" TIMESTAMPTZ(3) DEFAULT CURRENT_TIMESTAMP,
    "embedding_model" TEXT,
    "embed_due_at" TIMESTAMPTZ(3),
    "created_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "updated_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,

    CONSTRAINT "knowledge_document_pkey" PRIMARY KEY ("id")
);

-- CreateTable
CREATE TABLE "knowledge_passage" (
    "id" UUID NOT NULL DEFAULT uuid_v7(),
    "document_id" UUID NOT NULL,
    "project_id" UUID NOT NULL,
    "version" INTEGER NOT NULL,
    "place" INTEGER NOT NULL,
    "text" TEXT NOT NULL,
    "search" tsvector NOT NULL,
    "embedding" BYTEA,
    "embedding_model" TEXT,
    "revision" BIGINT,

    CONSTRAINT "knowledge_passage_pkey" PRIMARY KEY ("id")
);

-- CreateTable
CREATE TABLE "knowledge_word" (
    "project_id" UUID NOT NULL,
    "word" TEXT NOT NULL,
    "passages" INTEGER NOT NULL,

    CONSTRAINT "knowledge_word_pkey" PRIMARY KEY ("project_id","word")
);

-- CreateTable
CREATE TABLE "knowledge_revision" (
    "project_id" UUID NOT NULL,
    "revision" BIGINT NOT NULL,

    CONSTRAINT "knowledge_revision_pkey" PRIMARY KEY ("project_id")
);

-- CreateIndex
CREATE INDEX "knowledge_document_project_id_id_idx" ON "knowledge_document"("project_id", "id" DESC);

-- CreateIndex
CREATE UNIQUE INDEX "knowledge_passage_document_id_version_place_key" ON "knowledge_passage"("document_id", "version", "place");

-- AddForeignKey
ALTER TABLE "knowledge_document" ADD CONSTRAINT "knowledge_document_project_id_fkey" FOREIGN KEY ("project_id") REFERENCES "project"("id") ON DELETE RESTRICT ON UPDATE CASCADE;

-- AddForeignKey
ALTER TABLE "knowledge_passage" ADD CONSTRAINT "knowledge_passage_document_id_fkey" FOREIGN KEY ("document_id") REFERENCES "knowledge_document"("id") ON DELETE CASCADE ON UPDATE CASCADE;

CREATE INDEX knowledge_document_embed ON knowledge_document (embed_due_at) WHERE embed_due_at IS NOT NULL;
CREATE INDEX knowledge_document_staged ON knowledge_document (staged_at) WHERE staged_at IS NOT NULL;
CREATE INDEX knowledge_passage_revision ON knowledge_passage (project_id, revision, id) WHERE revision IS NOT NULL;
-- What waits in a pending list slows every search down until it is merged.
CREATE INDEX knowledge_passage_search ON knowledge_passage USING gin (search) WITH (fastupdate = off);

-- Floats do not compress: it is not tried.
ALTER TABLE knowledge_passage ALTER COLUMN embedding SET STORAGE EXTERNAL;

-- Each passage that comes or goes, by whatever statement, counts for the words it has. In order, so that two who have the same ones never
-- wait for each other; room on each page, for a count that changes to stay on it.
ALTER TABLE knowledge_word SET (fillfactor = 50);
CREATE FUNCTION knowledge_count_words() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
  gone knowledge_word[];
BEGIN
  WITH found AS MATERIALIZED (
    SELECT project_id, lexeme, count(*) FROM changed, unnest(tsvector_to_array(search)) AS lexeme GROUP BY project_id, lexeme
  ), counted AS (
    INSERT INTO knowledge_word AS known (project_id, word, passages)
    SELECT project_id, lexeme, CASE TG_OP WHEN 'INSERT' THEN count ELSE -count END FROM found
    WHERE length(lexeme) BETWEEN 4 AND 32 AND lexeme !~ '[[:digit:][:punct:]]' ORDER BY project_id, lexeme
    ON CONFLICT (project_id, word) DO UPDATE SET passages = known.passages + excluded.passages
    RETURNING known
  )
  SELECT array_agg(known) FILTER (WHERE (known).passages = 0) INTO gone FROM counted;
  DELETE FROM knowledge_word USING unnest(gone) AS each
  WHERE knowledge_word.project_id = each.project_id AND knowledge_word.word = each.word;
  RETURN NULL;
END $$;
CREATE TRIGGER knowledge_words_come AFTER INSERT ON knowledge_passage
  REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION knowledge_count_words();
CREATE TRIGGER knowledge_words_go AFTER DELETE ON knowledge_passage
  REFERENCING OLD TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION knowledge_count_words();

-- For words that are spelled otherwise. Where the role may not make extensions, searches compare the words themselves.
DO $$ BEGIN
  CREATE EXTENSION IF NOT EXISTS pg_trgm;
  CREATE INDEX knowledge_word_trigrams ON knowledge_word USING gin (word gin_trgm_ops);
EXCEPTION WHEN OTHERS THEN
  RAISE NOTICE 'knowledge does without pg_trgm: %', SQLERRM;
END $$;

-- pgvector 0.8 or newer, where the database has it: searches ask it for the nearest. Elsewhere they compare in the process. All of
-- this or nothing: that the function exists says which. The index serves the model that comes with Atelier, of 512 dimensions.
DO $$ BEGIN
  CREATE EXTENSION IF NOT EXISTS vector;
  ALTER TABLE knowledge_passage ADD COLUMN vector vector;
  CREATE INDEX knowledge_passage_vector ON knowledge_passage USING hnsw ((vector::vector(512)) vector_cosine_ops)
    WHERE vector_dims(vector) = 512;
  EXECUTE $define$
    CREATE FUNCTION knowledge_nearest(project uuid, model text, query vector, documents uuid[], most int)
    RETURNS TABLE (id uuid, similarity float8) LANGUAGE plpgsql STABLE SET hnsw.iterative_scan = 'strict_order' AS $body$
    BEGIN
      IF vector_dims(query) = 512 THEN
        RETURN QUERY SELECT p.id, 1 - (p.vector::vector(512) <=> query::vector(512))
          FROM knowledge_passage p JOIN knowledge_document d ON d.id = p.document_id AND d.version = p.version
          WHERE p.project_id = project AND p.embedding_model = model AND vector_dims(p.vector) = 512
            AND (documents IS NULL OR p.document_id = ANY (documents)) AND d.weight > 0
          ORDER BY p.vector::vector(512) <=> query::vector(512) LIMIT most;
      ELSE
        RETURN QUERY SELECT p.id, 1 - (p.vector <=> query)
          FROM knowledge_passage p JOIN knowledge_document d ON d.id = p.document_id AND d.version = p.version
          WHERE p.project_id = project AND p.embedding_model = model AND vector_dims(p.vector) = vector_dims(query)
            AND (documents IS NULL OR p.document_id = ANY (documents)) AND d.weight > 0
          ORDER BY p.vector <=> query LIMIT most;
      END IF;
    END $body$
  $define$;
EXCEPTION WHEN OTHERS THEN
  RAISE NOTICE 'knowledge does without pgvector: %', SQLERRM;
END $$;
