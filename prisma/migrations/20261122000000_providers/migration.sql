-- AlterTable
ALTER TABLE "task" ADD COLUMN "attempt_key" TEXT,
ADD COLUMN "credential" TEXT,
ADD COLUMN "resend" BOOLEAN NOT NULL DEFAULT false,
ADD COLUMN "waits_for" TEXT;

-- AlterTable
ALTER TABLE "attempt" ADD COLUMN "cost" JSONB,
ADD COLUMN "credential" TEXT,
ADD COLUMN "seek_until" TIMESTAMPTZ(3);

-- CreateTable
CREATE TABLE "circuit" (
    "provider" TEXT NOT NULL,
    "credential" TEXT NOT NULL,
    "model" TEXT NOT NULL DEFAULT '',
    "failures" INTEGER NOT NULL DEFAULT 0,
    "reason" TEXT NOT NULL,
    "message" TEXT NOT NULL,
    "open_until" TIMESTAMPTZ(3),
    "failed_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,

    CONSTRAINT "circuit_pkey" PRIMARY KEY ("provider", "credential", "model")
);

-- CreateTable
CREATE TABLE "provider_callback" (
    "task_id" UUID NOT NULL,
    "attempt" INTEGER NOT NULL,
    "digest" TEXT NOT NULL,
    "headers" JSONB NOT NULL,
    "query" JSONB NOT NULL,
    "body" BYTEA NOT NULL,
    "received_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "applied" BOOLEAN NOT NULL DEFAULT false,

    CONSTRAINT "provider_callback_pkey" PRIMARY KEY ("task_id", "attempt", "digest")
);

-- What follows, Prisma's schema language cannot say.

-- What is under way goes on.
UPDATE task SET attempt_key = id || '-' || attempt WHERE status = 'PROCESSING';

-- Attempts that count against what a credential may have in flight.
CREATE INDEX attempt_in_flight ON attempt (provider, credential, model) WHERE phase IN ('preparing', 'calling', 'parked', 'seeking');

-- A task that waits for a place at its provider is out of the backlog until there is one.
DROP INDEX task_backlog;
CREATE INDEX task_backlog ON task (lane, account_id, priority DESC, id) WHERE status = 'QUEUED' AND waits_for IS NULL;
CREATE INDEX task_waits_for ON task (lane, waits_for, account_id, priority DESC, id) WHERE status = 'QUEUED' AND waits_for IS NOT NULL;
