-- Time-ordered ids (UUID version 7, RFC 9562 method 3: milliseconds, then 12 bits of the fraction), made in the database:
-- rows written under one lock list in the order in which they were written. Postgres 18 has its own; older ones do not.
CREATE FUNCTION uuid_v7() RETURNS uuid LANGUAGE sql VOLATILE PARALLEL SAFE AS $$
  SELECT encode(
    substring(int8send(us / 1000) FROM 3)
      || int2send((28672 | ((us % 1000) * 4096 / 1000))::int::smallint)
      || set_byte(substring(uuid_send(gen_random_uuid()) FROM 9), 0, (get_byte(uuid_send(gen_random_uuid()), 0) & 63) | 128),
    'hex')::uuid
  FROM (SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint AS us) AS clock
$$;

-- task, task_event and ledger_entry are written on every submit by the functions of the next migration alone and carry no
-- foreign keys: their checks would lock the account's row for each of them.

-- CreateTable
CREATE TABLE "account" (
    "id" UUID NOT NULL DEFAULT uuid_v7(),
    "name" TEXT NOT NULL,
    "available" BIGINT NOT NULL DEFAULT 0,
    "held" BIGINT NOT NULL DEFAULT 0,
    "webhook_secret" TEXT NOT NULL,
    "previous_webhook_secret" TEXT,
    "previous_webhook_secret_until" TIMESTAMPTZ(3),
    "created_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,

    CONSTRAINT "account_pkey" PRIMARY KEY ("id")
);

-- CreateTable
CREATE TABLE "project" (
    "id" UUID NOT NULL DEFAULT uuid_v7(),
    "account_id" UUID NOT NULL,
    "name" TEXT NOT NULL,
    "created_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,

    CONSTRAINT "project_pkey" PRIMARY KEY ("id")
);

-- CreateTable
CREATE TABLE "api_key" (
    "id" UUID NOT NULL DEFAULT uuid_v7(),
    "account_id" UUID NOT NULL,
    "project_id" UUID NOT NULL,
    "name" TEXT NOT NULL,
    "hash" TEXT NOT NULL,
    "hint" TEXT NOT NULL,
    "scopes" TEXT[],
    "created_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "expires_at" TIMESTAMPTZ(3),
    "last_used_at" TIMESTAMPTZ(3),
    "revoked_at" TIMESTAMPTZ(3),

    CONSTRAINT "api_key_pkey" PRIMARY KEY ("id")
);

-- CreateTable
CREATE TABLE "task" (
    "id" UUID NOT NULL DEFAULT uuid_v7(),
    "account_id" UUID NOT NULL,
    "project_id" UUID NOT NULL,
    "type" TEXT NOT NULL,
    "lane" TEXT NOT NULL,
    "status" TEXT NOT NULL,
    "input" JSONB NOT NULL,
    "result" JSONB,
    "priority" SMALLINT NOT NULL DEFAULT 0,
    "tags" TEXT[] DEFAULT ARRAY[]::TEXT[],
    "metadata" JSONB,
    "warnings" TEXT[] DEFAULT ARRAY[]::TEXT[],
    "callback_url" TEXT,
    "retry_of" UUID,
    "created_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "requested_provider" TEXT,
    "requested_model" TEXT,
    "route" JSONB NOT NULL,
    "target_index" INTEGER NOT NULL DEFAULT 0,
    "provider" TEXT,
    "model" TEXT,
    "quoted" BIGINT NOT NULL,
    "held" BIGINT NOT NULL,
    "charged" BIGINT NOT NULL DEFAULT 0,
    "released" BIGINT NOT NULL DEFAULT 0,
    "basis" TEXT,
    "hold_id" UUID,
    "progress" DOUBLE PRECISION NOT NULL DEFAULT 0,
    "current_step" TEXT,
    "error" JSONB,
    "needs_review" BOOLEAN NOT NULL DEFAULT false,
    "last_seq" INTEGER NOT NULL DEFAULT 0,
    "run_at" TIMESTAMPTZ(3),
    "ttl_seconds" INTEGER,
    "expires_at" TIMESTAMPTZ(3),
    "available_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "started_at" TIMESTAMPTZ(3),
    "deadline_at" TIMESTAMPTZ(3),
    "completed_at" TIMESTAMPTZ(3),
    "cancel_requested_at" TIMESTAMPTZ(3),
    "next_poll_at" TIMESTAMPTZ(3),
    "longest_run_ms" INTEGER NOT NULL,
    "dispatch" INTEGER NOT NULL DEFAULT 0,
    "handed_over" BOOLEAN NOT NULL DEFAULT false,
    "attempt" INTEGER NOT NULL DEFAULT 0,
    "failures" INTEGER NOT NULL DEFAULT 0,
    "fence" INTEGER NOT NULL DEFAULT 0,
    "slot" BOOLEAN NOT NULL DEFAULT false,
    "worker_id" UUID,
    "lease_until" TIMESTAMPTZ(3),

    CONSTRAINT "task_pkey" PRIMARY KEY ("id")
);

-- CreateTable
CREATE TABLE "idempotency_key" (
    "account_id" UUID NOT NULL,
    "key" TEXT NOT NULL,
    "input_hash" TEXT NOT NULL,
    "task_id" UUID NOT NULL,

    CONSTRAINT "idempotency_key_pkey" PRIMARY KEY ("account_id","key")
);

-- CreateTable
CREATE TABLE "attempt" (
    "task_id" UUID NOT NULL,
    "number" INTEGER NOT NULL,
    "provider" TEXT NOT NULL,
    "model" TEXT,
    "key" TEXT NOT NULL,
    "phase" TEXT NOT NULL,
    "resubmit" TEXT NOT NULL,
    "handle" JSONB,
    "due_again" BOOLEAN NOT NULL DEFAULT false,
    "started_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "ended_at" TIMESTAMPTZ(3),
    "error" JSONB,
    "usage" JSONB,

    CONSTRAINT "attempt_pkey" PRIMARY KEY ("task_id","number")
);

-- CreateTable
CREATE TABLE "task_event" (
    "task_id" UUID NOT NULL,
    "seq" INTEGER NOT NULL,
    "account_id" UUID NOT NULL,
    "xid" BIGINT NOT NULL,
    "kind" TEXT NOT NULL,
    "at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "data" JSONB NOT NULL,

    CONSTRAINT "task_event_pkey" PRIMARY KEY ("task_id","seq")
);

-- CreateTable
CREATE TABLE "hold" (
    "id" UUID NOT NULL DEFAULT uuid_v7(),
    "account_id" UUID NOT NULL,
    "run_id" UUID NOT NULL,
    "number" INTEGER NOT NULL DEFAULT 1,
    "remaining" BIGINT NOT NULL,
    "created_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "closed_at" TIMESTAMPTZ(3),

    CONSTRAINT "hold_pkey" PRIMARY KEY ("id")
);

-- CreateTable
CREATE TABLE "ledger_entry" (
    "id" UUID NOT NULL DEFAULT uuid_v7(),
    "account_id" UUID NOT NULL,
    "leg" TEXT NOT NULL,
    "amount" BIGINT NOT NULL,
    "available_change" BIGINT NOT NULL,
    "held_change" BIGINT NOT NULL,
    "available_after" BIGINT NOT NULL,
    "held_after" BIGINT NOT NULL,
    "task_id" UUID,
    "hold_id" UUID,
    "run_id" UUID,
    "number" INTEGER NOT NULL DEFAULT 1,
    "idempotency_key" TEXT,
    "note" TEXT,
    "created_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,

    CONSTRAINT "ledger_entry_pkey" PRIMARY KEY ("id")
);

-- CreateTable
CREATE TABLE "price" (
    "id" UUID NOT NULL DEFAULT uuid_v7(),
    "task_type" TEXT NOT NULL,
    "provider" TEXT,
    "model" TEXT,
    "unit" TEXT NOT NULL,
    "credits_per_unit" DECIMAL(30,12) NOT NULL,
    "effective_from" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,

    CONSTRAINT "price_pkey" PRIMARY KEY ("id")
);

-- CreateTable
CREATE TABLE "route" (
    "task_type" TEXT NOT NULL,
    "targets" JSONB NOT NULL,

    CONSTRAINT "route_pkey" PRIMARY KEY ("task_type")
);

-- CreateTable
CREATE TABLE "lane" (
    "name" TEXT NOT NULL,
    "concurrency" INTEGER NOT NULL,
    "paused" BOOLEAN NOT NULL DEFAULT false,
    "turn_after" UUID,

    CONSTRAINT "lane_pkey" PRIMARY KEY ("name")
);

-- CreateTable
CREATE TABLE "asset" (
    "id" UUID NOT NULL DEFAULT uuid_v7(),
    "account_id" UUID NOT NULL,
    "project_id" UUID NOT NULL,
    "task_id" UUID,
    "attempt" INTEGER,
    "output" INTEGER,
    "kind" TEXT NOT NULL,
    "content_type" TEXT NOT NULL,
    "size_bytes" BIGINT NOT NULL,
    "sha256" TEXT NOT NULL,
    "width" INTEGER,
    "height" INTEGER,
    "duration_ms" BIGINT,
    "key" TEXT NOT NULL,
    "expires_at" TIMESTAMPTZ(3),
    "created_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,

    CONSTRAINT "asset_pkey" PRIMARY KEY ("id")
);

-- CreateTable
CREATE TABLE "upload" (
    "id" UUID NOT NULL DEFAULT uuid_v7(),
    "account_id" UUID NOT NULL,
    "project_id" UUID NOT NULL,
    "content_type" TEXT NOT NULL,
    "size_bytes" BIGINT NOT NULL,
    "key" TEXT NOT NULL,
    "expires_at" TIMESTAMPTZ(3) NOT NULL,
    "asset_id" UUID,
    "created_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,

    CONSTRAINT "upload_pkey" PRIMARY KEY ("id")
);

-- CreateTable
CREATE TABLE "orphan" (
    "key" TEXT NOT NULL,
    "due_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,

    CONSTRAINT "orphan_pkey" PRIMARY KEY ("key")
);

-- CreateTable
CREATE TABLE "webhook_delivery" (
    "id" UUID NOT NULL DEFAULT uuid_v7(),
    "account_id" UUID NOT NULL,
    "task_id" UUID NOT NULL,
    "sequence" INTEGER NOT NULL,
    "url" TEXT NOT NULL,
    "type" TEXT NOT NULL,
    "attempts" INTEGER NOT NULL DEFAULT 0,
    "delivered_at" TIMESTAMPTZ(3),
    "next_attempt_at" TIMESTAMPTZ(3),
    "last_status" INTEGER,
    "last_error" TEXT,
    "exhausted" BOOLEAN NOT NULL DEFAULT false,
    "created_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,

    CONSTRAINT "webhook_delivery_pkey" PRIMARY KEY ("id")
);

-- CreateTable
CREATE TABLE "worker" (
    "id" UUID NOT NULL,
    "host" TEXT NOT NULL,
    "started_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "seen_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "processing" INTEGER NOT NULL DEFAULT 0,

    CONSTRAINT "worker_pkey" PRIMARY KEY ("id")
);

-- CreateIndex
CREATE INDEX "project_account_id_id_idx" ON "project"("account_id", "id");

-- CreateIndex
CREATE UNIQUE INDEX "api_key_hash_key" ON "api_key"("hash");

-- CreateIndex
CREATE INDEX "api_key_account_id_id_idx" ON "api_key"("account_id", "id");

-- CreateIndex
CREATE INDEX "task_account_id_id_idx" ON "task"("account_id", "id" DESC);

-- CreateIndex
CREATE INDEX "task_account_id_project_id_id_idx" ON "task"("account_id", "project_id", "id" DESC);

-- CreateIndex
CREATE INDEX "task_account_id_status_id_idx" ON "task"("account_id", "status", "id" DESC);

-- CreateIndex
CREATE INDEX "task_type_provider_model_completed_at_idx" ON "task"("type", "provider", "model", "completed_at" DESC);

-- CreateIndex
CREATE INDEX "idempotency_key_task_id_idx" ON "idempotency_key"("task_id");

-- CreateIndex
CREATE INDEX "task_event_account_id_xid_task_id_seq_idx" ON "task_event"("account_id", "xid", "task_id", "seq");

-- CreateIndex
CREATE UNIQUE INDEX "hold_run_id_key" ON "hold"("run_id");

-- CreateIndex
CREATE INDEX "hold_account_id_idx" ON "hold"("account_id");

-- CreateIndex
CREATE INDEX "ledger_entry_account_id_id_idx" ON "ledger_entry"("account_id", "id" DESC);

-- CreateIndex
CREATE INDEX "price_task_type_unit_idx" ON "price"("task_type", "unit");

-- CreateIndex
CREATE UNIQUE INDEX "asset_key_key" ON "asset"("key");

-- CreateIndex
CREATE INDEX "asset_account_id_id_idx" ON "asset"("account_id", "id");

-- CreateIndex
CREATE UNIQUE INDEX "asset_task_id_attempt_output_key" ON "asset"("task_id", "attempt", "output");

-- CreateIndex
CREATE UNIQUE INDEX "upload_key_key" ON "upload"("key");

-- CreateIndex
CREATE INDEX "upload_expires_at_idx" ON "upload"("expires_at");

-- CreateIndex
CREATE INDEX "webhook_delivery_account_id_id_idx" ON "webhook_delivery"("account_id", "id");

-- CreateIndex
CREATE UNIQUE INDEX "webhook_delivery_task_id_sequence_key" ON "webhook_delivery"("task_id", "sequence");

-- AddForeignKey
ALTER TABLE "project" ADD CONSTRAINT "project_account_id_fkey" FOREIGN KEY ("account_id") REFERENCES "account"("id") ON DELETE RESTRICT ON UPDATE CASCADE;

-- AddForeignKey
ALTER TABLE "api_key" ADD CONSTRAINT "api_key_account_id_fkey" FOREIGN KEY ("account_id") REFERENCES "account"("id") ON DELETE RESTRICT ON UPDATE CASCADE;

-- AddForeignKey
ALTER TABLE "api_key" ADD CONSTRAINT "api_key_project_id_fkey" FOREIGN KEY ("project_id") REFERENCES "project"("id") ON DELETE RESTRICT ON UPDATE CASCADE;

-- AddForeignKey
ALTER TABLE "attempt" ADD CONSTRAINT "attempt_task_id_fkey" FOREIGN KEY ("task_id") REFERENCES "task"("id") ON DELETE CASCADE ON UPDATE CASCADE;

-- AddForeignKey
ALTER TABLE "asset" ADD CONSTRAINT "asset_task_id_fkey" FOREIGN KEY ("task_id") REFERENCES "task"("id") ON DELETE CASCADE ON UPDATE CASCADE;

-- AddForeignKey
ALTER TABLE "upload" ADD CONSTRAINT "upload_project_id_fkey" FOREIGN KEY ("project_id") REFERENCES "project"("id") ON DELETE RESTRICT ON UPDATE CASCADE;

-- AddForeignKey
ALTER TABLE "webhook_delivery" ADD CONSTRAINT "webhook_delivery_task_id_fkey" FOREIGN KEY ("task_id") REFERENCES "task"("id") ON DELETE CASCADE ON UPDATE CASCADE;

-- What the database itself refuses.
ALTER TABLE account
  ADD CHECK (available >= 0),
  ADD CHECK (held >= 0),
  ADD CHECK (available + held <= 9007199254740991);
ALTER TABLE hold ADD CHECK (remaining >= 0);
ALTER TABLE lane ADD CHECK (concurrency >= 0);
ALTER TABLE price ADD CHECK (credits_per_unit >= 0);
ALTER TABLE task
  ADD CHECK (status IN ('SCHEDULED', 'QUEUED', 'PROCESSING', 'COMPLETED', 'FAILED', 'CANCELLED', 'EXPIRED')),
  ADD CHECK (priority BETWEEN 0 AND 9),
  ADD CHECK (progress BETWEEN 0 AND 1),
  ADD CHECK (quoted >= 0 AND held >= 0 AND charged >= 0 AND released >= 0 AND held + charged + released = quoted);
ALTER TABLE ledger_entry
  ADD CHECK (leg IN ('GRANT', 'ADJUST', 'HOLD', 'DRAW', 'CAPTURE', 'RELEASE')),
  ADD CHECK (amount >= 0);

-- Each leg at most once.
CREATE UNIQUE INDEX ledger_entry_task_leg ON ledger_entry (task_id, leg) WHERE task_id IS NOT NULL AND leg NOT IN ('GRANT', 'ADJUST');
CREATE UNIQUE INDEX ledger_entry_hold_leg ON ledger_entry (hold_id, leg, number) WHERE task_id IS NULL AND hold_id IS NOT NULL;
CREATE UNIQUE INDEX ledger_entry_idempotency ON ledger_entry (account_id, idempotency_key) WHERE leg IN ('GRANT', 'ADJUST');
CREATE INDEX ledger_entry_task ON ledger_entry (task_id) WHERE task_id IS NOT NULL;

-- One price for one thing at one time.
CREATE UNIQUE INDEX price_target ON price (task_type, coalesce(provider, ''), coalesce(model, ''), unit, effective_from);

-- The backlog in the order of dispatch, and the rows that are due.
CREATE INDEX task_backlog ON task (lane, account_id, priority DESC, id) WHERE status = 'QUEUED';
CREATE INDEX task_handed_over ON task (lane, available_at) WHERE status = 'QUEUED' AND handed_over;
CREATE INDEX task_slot ON task (lane, account_id) WHERE slot;
CREATE INDEX task_run_at ON task (run_at) WHERE status = 'SCHEDULED';
CREATE INDEX task_expires_at ON task (expires_at) WHERE status IN ('SCHEDULED', 'QUEUED') AND started_at IS NULL;
CREATE INDEX task_deadline_at ON task (deadline_at) WHERE status IN ('QUEUED', 'PROCESSING');
CREATE INDEX task_lease_until ON task (lease_until) WHERE status = 'PROCESSING';
CREATE INDEX task_next_poll_at ON task (next_poll_at) WHERE status = 'PROCESSING';
CREATE INDEX task_cancel_requested_at ON task (cancel_requested_at) WHERE status = 'PROCESSING';
CREATE INDEX task_needs_review ON task (account_id, id DESC) WHERE needs_review;
CREATE INDEX webhook_delivery_due ON webhook_delivery (next_attempt_at) WHERE next_attempt_at IS NOT NULL;
CREATE INDEX asset_expires_at ON asset (expires_at) WHERE expires_at IS NOT NULL;

-- The ledger is append-only, whoever asks.
CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION 'the ledger is append-only: write an ADJUST entry instead';
END $$;
CREATE TRIGGER ledger_entry_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON ledger_entry
  FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
