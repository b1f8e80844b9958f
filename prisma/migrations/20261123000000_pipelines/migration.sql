
-- CreateTable
CREATE TABLE "pipeline" (
    "id" UUID NOT NULL DEFAULT uuid_v7(),
    "account_id" UUID,
    "name" TEXT NOT NULL,
    "version" INTEGER NOT NULL,
    "title" TEXT NOT NULL,
    "definition" JSONB NOT NULL,
    "created_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,

    CONSTRAINT "pipeline_pkey" PRIMARY KEY ("id")
);

-- CreateTable
CREATE TABLE "pipeline_configuration" (
    "id" UUID NOT NULL DEFAULT uuid_v7(),
    "account_id" UUID NOT NULL,
    "project_id" UUID NOT NULL,
    "pipeline" TEXT NOT NULL,
    "enabled" BOOLEAN NOT NULL DEFAULT false,
    "cron" TEXT,
    "time_zone" TEXT NOT NULL DEFAULT 'UTC',
    "overlap" TEXT NOT NULL DEFAULT 'SKIP',
    "catch_up" BOOLEAN NOT NULL DEFAULT false,
    "stage_delay_ms" INTEGER NOT NULL DEFAULT 0,
    "max_failures" INTEGER NOT NULL DEFAULT 10,
    "next_run_at" TIMESTAMPTZ(3),
    "queued" BOOLEAN NOT NULL DEFAULT false,
    "created_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,

    CONSTRAINT "pipeline_configuration_pkey" PRIMARY KEY ("id")
);

-- CreateTable
CREATE TABLE "stage" (
    "configuration_id" UUID NOT NULL,
    "key" TEXT NOT NULL,
    "input" TEXT,
    "inlet" TEXT,
    "batch_size" INTEGER,
    "item_delay_ms" INTEGER,
    "max_parallel" INTEGER,
    "agent_id" UUID,
    "provider" TEXT,
    "model" TEXT,
    "waiting" INTEGER NOT NULL DEFAULT 0,
    "running" INTEGER NOT NULL DEFAULT 0,
    "done" INTEGER NOT NULL DEFAULT 0,
    "failed" INTEGER NOT NULL DEFAULT 0,

    CONSTRAINT "stage_pkey" PRIMARY KEY ("configuration_id","key")
);

-- CreateTable
CREATE TABLE "run" (
    "id" UUID NOT NULL DEFAULT uuid_v7(),
    "account_id" UUID NOT NULL,
    "project_id" UUID NOT NULL,
    "configuration_id" UUID NOT NULL,
    "pipeline_id" UUID NOT NULL,
    "status" TEXT NOT NULL DEFAULT 'RUNNING',
    "reason" TEXT,
    "trigger" TEXT NOT NULL,
    "input" JSONB,
    "callback_url" TEXT,
    "idempotency_key" TEXT,
    "input_hash" TEXT,
    "from_stage" TEXT,
    "current_stage" TEXT,
    "children_policy" TEXT,
    "hold_id" UUID,
    "estimated" BIGINT NOT NULL,
    "failures" INTEGER NOT NULL DEFAULT 0,
    "refused" BIGINT,
    "error" JSONB,
    "last_seq" INTEGER NOT NULL DEFAULT 0,
    "due_at" TIMESTAMPTZ(3) DEFAULT CURRENT_TIMESTAMP,
    "lease_until" TIMESTAMPTZ(3),
    "fence" INTEGER NOT NULL DEFAULT 0,
    "wrong_turns" INTEGER NOT NULL DEFAULT 0,
    "rests_until" TIMESTAMPTZ(3),
    "started_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "paused_at" TIMESTAMPTZ(3),
    "cancelled_at" TIMESTAMPTZ(3),
    "completed_at" TIMESTAMPTZ(3),

    CONSTRAINT "run_pkey" PRIMARY KEY ("id")
);

-- CreateTable
CREATE TABLE "stage_run" (
    "run_id" UUID NOT NULL,
    "key" TEXT NOT NULL,
    "position" INTEGER NOT NULL,
    "status" TEXT NOT NULL DEFAULT 'PENDING',
    "waiting" INTEGER,
    "running" INTEGER NOT NULL DEFAULT 0,
    "done" INTEGER NOT NULL DEFAULT 0,
    "failed" INTEGER NOT NULL DEFAULT 0,
    "next_at" TIMESTAMPTZ(3),
    "started_at" TIMESTAMPTZ(3),
    "completed_at" TIMESTAMPTZ(3),

    CONSTRAINT "stage_run_pkey" PRIMARY KEY ("run_id","key")
);

-- CreateTable
CREATE TABLE "item" (
    "id" UUID NOT NULL DEFAULT uuid_v7(),
    "account_id" UUID NOT NULL,
    "project_id" UUID NOT NULL,
    "kind" TEXT NOT NULL,
    "state" TEXT NOT NULL DEFAULT 'WAITING',
    "data" JSONB NOT NULL,
    "digest" TEXT,
    "origin" UUID[] DEFAULT ARRAY[]::UUID[],
    "batch_id" UUID,
    "place" INTEGER,
    "task_id" UUID,
    "asset_ids" UUID[] DEFAULT ARRAY[]::UUID[],
    "created_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,

    CONSTRAINT "item_pkey" PRIMARY KEY ("id")
);

-- CreateTable
CREATE TABLE "work" (
    "item_id" UUID NOT NULL,
    "configuration_id" UUID NOT NULL,
    "stage" TEXT NOT NULL,
    "round" INTEGER NOT NULL DEFAULT 1,
    "state" TEXT NOT NULL DEFAULT 'WAITING',
    "batch_id" UUID,
    "note" TEXT,
    "sent_back" INTEGER NOT NULL DEFAULT 0,

    CONSTRAINT "work_pkey" PRIMARY KEY ("item_id","configuration_id","stage","round")
);

-- CreateTable
CREATE TABLE "batch" (
    "id" UUID NOT NULL DEFAULT uuid_v7(),
    "run_id" UUID NOT NULL,
    "stage" TEXT NOT NULL,
    "state" TEXT NOT NULL DEFAULT 'STARTING',
    "task_id" UUID,
    "agent" JSONB,
    "passages" JSONB,
    "error" JSONB,
    "due_at" TIMESTAMPTZ(3),
    "created_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "ended_at" TIMESTAMPTZ(3),

    CONSTRAINT "batch_pkey" PRIMARY KEY ("id")
);

-- CreateTable
CREATE TABLE "review" (
    "id" UUID NOT NULL DEFAULT uuid_v7(),
    "account_id" UUID NOT NULL,
    "project_id" UUID NOT NULL,
    "batch_id" UUID NOT NULL,
    "item_id" UUID NOT NULL,
    "form" JSONB,
    "expires_at" TIMESTAMPTZ(3),
    "outcome" TEXT,
    "edits" JSONB,
    "note" TEXT,
    "decided_at" TIMESTAMPTZ(3),
    "created_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,

    CONSTRAINT "review_pkey" PRIMARY KEY ("id")
);

-- CreateTable
CREATE TABLE "run_event" (
    "run_id" UUID NOT NULL,
    "seq" INTEGER NOT NULL,
    "kind" TEXT NOT NULL,
    "at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "data" JSONB NOT NULL,

    CONSTRAINT "run_event_pkey" PRIMARY KEY ("run_id","seq")
);

-- CreateTable
CREATE TABLE "agent_profile" (
    "id" UUID NOT NULL DEFAULT uuid_v7(),
    "account_id" UUID,
    "project_id" UUID,
    "name" TEXT NOT NULL,
    "role" TEXT NOT NULL,
    "version" INTEGER NOT NULL DEFAULT 1,
    "system_prompt" TEXT NOT NULL,
    "task_type" TEXT NOT NULL,
    "provider" TEXT,
    "model" TEXT,
    "parameters" JSONB,
    "response_schema" JSONB,
    "created_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "updated_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,

    CONSTRAINT "agent_profile_pkey" PRIMARY KEY ("id")
);

-- CreateIndex
CREATE UNIQUE INDEX "pipeline_configuration_project_id_pipeline_key" ON "pipeline_configuration"("project_id", "pipeline");

-- CreateIndex
CREATE INDEX "run_project_id_id_idx" ON "run"("project_id", "id" DESC);

-- CreateIndex
CREATE INDEX "run_configuration_id_id_idx" ON "run"("configuration_id", "id" DESC);

-- CreateIndex
CREATE UNIQUE INDEX "run_account_id_idempotency_key_key" ON "run"("account_id", "idempotency_key");

-- CreateIndex
CREATE INDEX "item_project_id_id_idx" ON "item"("project_id", "id");

-- CreateIndex
CREATE INDEX "item_project_id_kind_id_idx" ON "item"("project_id", "kind", "id");

-- CreateIndex
CREATE INDEX "item_project_id_state_id_idx" ON "item"("project_id", "state", "id");

-- CreateIndex
CREATE UNIQUE INDEX "item_project_id_kind_digest_key" ON "item"("project_id", "kind", "digest");

-- CreateIndex
CREATE UNIQUE INDEX "item_batch_id_place_key" ON "item"("batch_id", "place");

-- CreateIndex
CREATE INDEX "work_batch_id_idx" ON "work"("batch_id");

-- CreateIndex
CREATE UNIQUE INDEX "batch_task_id_key" ON "batch"("task_id");

-- CreateIndex
CREATE UNIQUE INDEX "review_batch_id_key" ON "review"("batch_id");

-- CreateIndex
CREATE INDEX "agent_profile_account_id_id_idx" ON "agent_profile"("account_id", "id");

-- AddForeignKey
ALTER TABLE "pipeline_configuration" ADD CONSTRAINT "pipeline_configuration_project_id_fkey" FOREIGN KEY ("project_id") REFERENCES "project"("id") ON DELETE RESTRICT ON UPDATE CASCADE;

-- AddForeignKey
ALTER TABLE "stage" ADD CONSTRAINT "stage_configuration_id_fkey" FOREIGN KEY ("configuration_id") REFERENCES "pipeline_configuration"("id") ON DELETE RESTRICT ON UPDATE CASCADE;

-- AddForeignKey
ALTER TABLE "run" ADD CONSTRAINT "run_project_id_fkey" FOREIGN KEY ("project_id") REFERENCES "project"("id") ON DELETE RESTRICT ON UPDATE CASCADE;

-- AddForeignKey
ALTER TABLE "run" ADD CONSTRAINT "run_configuration_id_fkey" FOREIGN KEY ("configuration_id") REFERENCES "pipeline_configuration"("id") ON DELETE RESTRICT ON UPDATE CASCADE;

-- AddForeignKey
ALTER TABLE "run" ADD CONSTRAINT "run_pipeline_id_fkey" FOREIGN KEY ("pipeline_id") REFERENCES "pipeline"("id") ON DELETE RESTRICT ON UPDATE CASCADE;

-- AddForeignKey
ALTER TABLE "stage_run" ADD CONSTRAINT "stage_run_run_id_fkey" FOREIGN KEY ("run_id") REFERENCES "run"("id") ON DELETE RESTRICT ON UPDATE CASCADE;

-- AddForeignKey
ALTER TABLE "item" ADD CONSTRAINT "item_project_id_fkey" FOREIGN KEY ("project_id") REFERENCES "project"("id") ON DELETE RESTRICT ON UPDATE CASCADE;

-- AddForeignKey
ALTER TABLE "batch" ADD CONSTRAINT "batch_run_id_fkey" FOREIGN KEY ("run_id") REFERENCES "run"("id") ON DELETE RESTRICT ON UPDATE CASCADE;

-- AddForeignKey
ALTER TABLE "review" ADD CONSTRAINT "review_batch_id_fkey" FOREIGN KEY ("batch_id") REFERENCES "batch"("id") ON DELETE RESTRICT ON UPDATE CASCADE;

-- AddForeignKey
ALTER TABLE "run_event" ADD CONSTRAINT "run_event_run_id_fkey" FOREIGN KEY ("run_id") REFERENCES "run"("id") ON DELETE RESTRICT ON UPDATE CASCADE;

-- A webhook is about a task or a run.
ALTER TABLE "webhook_delivery" ADD COLUMN "run_id" UUID, ALTER COLUMN "task_id" DROP NOT NULL;
CREATE UNIQUE INDEX "webhook_delivery_run_id_sequence_key" ON "webhook_delivery"("run_id", "sequence");
ALTER TABLE "webhook_delivery" ADD CONSTRAINT "webhook_delivery_run_id_fkey" FOREIGN KEY ("run_id") REFERENCES "run"("id") ON DELETE SET NULL ON UPDATE CASCADE;
ALTER TABLE webhook_delivery ADD CONSTRAINT webhook_delivery_subject CHECK ((task_id IS NULL) <> (run_id IS NULL));

-- One live run for each pipeline of a project.
CREATE UNIQUE INDEX run_live ON run (configuration_id) WHERE status NOT IN ('COMPLETED', 'FAILED', 'CANCELLED');
CREATE INDEX run_due ON run (due_at) WHERE status NOT IN ('COMPLETED', 'FAILED', 'CANCELLED');
CREATE INDEX pipeline_configuration_due ON pipeline_configuration (next_run_at) WHERE enabled AND next_run_at IS NOT NULL;
CREATE INDEX pipeline_configuration_queued ON pipeline_configuration (id) WHERE queued;
CREATE UNIQUE INDEX pipeline_name ON pipeline (account_id, name, version) NULLS NOT DISTINCT;
CREATE UNIQUE INDEX agent_profile_default ON agent_profile (role) WHERE account_id IS NULL;

-- What waits at a stage, in the order in which it is taken; what of a run goes on, and what of that has ended.
CREATE INDEX work_waiting ON work (configuration_id, stage, item_id) WHERE state = 'WAITING';
CREATE INDEX batch_live ON batch (run_id, id) WHERE state IN ('STARTING', 'RUNNING');
CREATE INDEX batch_due ON batch (run_id, due_at) WHERE due_at IS NOT NULL;
CREATE INDEX batch_task ON batch (run_id, task_id DESC) WHERE task_id IS NOT NULL;
CREATE INDEX review_waiting ON review (project_id, id) WHERE decided_at IS NULL;
CREATE INDEX run_event_log ON run_event (run_id, seq) WHERE kind = 'logged';
CREATE INDEX ledger_entry_run ON ledger_entry (run_id) WHERE run_id IS NOT NULL;
