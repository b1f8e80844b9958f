-- The writes of a task's life, each one round trip. Due times are compared with now(), which an index can use; clock_timestamp(),
-- which moves on while a statement waits for a lock, is for values.
-- lifecycle/create.ts calls task_create; lifecycle/status.ts all others.
-- Lock order everywhere: task, hold, account. Expected refusals are raised with a SQLSTATE of class AT:
-- AT402 too few credits, AT404 no such project, AT409 idempotency key used with another input, AT422 balance out of range.

CREATE FUNCTION task_event_add(t task, kind text, data jsonb) RETURNS void LANGUAGE sql AS $$
  INSERT INTO task_event (task_id, seq, account_id, xid, kind, at, data)
  VALUES (t.id, t.last_seq, t.account_id, pg_current_xact_id()::text::bigint, kind, clock_timestamp(), data)
$$;

CREATE FUNCTION task_create(p jsonb) RETURNS TABLE (replayed boolean, made task) LANGUAGE plpgsql AS $$
DECLARE
  v_account uuid := (p->>'accountId')::uuid;
  v_quoted bigint := (p->>'quoted')::bigint;
  v_hold uuid := (p->>'holdId')::uuid;
  v_run_at timestamptz := (p->>'runAt')::timestamptz;
  -- Columns round to milliseconds; rounded up, a task would not be available yet when its wake-up comes.
  v_now timestamptz := date_trunc('milliseconds', clock_timestamp());
  v_key idempotency_key;
  v_task task;
  v_id uuid := uuid_v7();
  v_available bigint;
  v_held bigint;
BEGIN
  IF p->>'idempotencyKey' IS NOT NULL THEN
    -- A concurrent first call with the same key is waited for here; it then is found below.
    INSERT INTO idempotency_key (account_id, key, input_hash, task_id)
      VALUES (v_account, p->>'idempotencyKey', p->>'inputHash', v_id) ON CONFLICT DO NOTHING;
    IF NOT FOUND THEN
      SELECT * INTO v_key FROM idempotency_key k WHERE k.account_id = v_account AND k.key = p->>'idempotencyKey';
      IF v_key.input_hash <> p->>'inputHash' THEN
        RAISE EXCEPTION 'idempotency key used with another input' USING ERRCODE = 'AT409', DETAIL = v_key.task_id;
      END IF;
      RETURN QUERY SELECT true, t FROM task t WHERE t.id = v_key.task_id;
      RETURN;
    END IF;
  END IF;

  PERFORM FROM project WHERE id = (p->>'projectId')::uuid AND account_id = v_account;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'no such project' USING ERRCODE = 'AT404';
  END IF;

  INSERT INTO task (id, account_id, project_id, type, lane, status, input, priority, tags, metadata, warnings, callback_url, retry_of,
    requested_provider, requested_model, route, quoted, held, hold_id, last_seq, run_at, ttl_seconds, expires_at, available_at, created_at, longest_run_ms)
  VALUES (v_id, v_account, (p->>'projectId')::uuid, p->>'type', p->>'lane',
    CASE WHEN v_run_at > v_now THEN 'SCHEDULED' ELSE 'QUEUED' END,
    p->'input', (p->>'priority')::smallint,
    ARRAY(SELECT jsonb_array_elements_text(p->'tags')), nullif(p->'metadata', 'null'), ARRAY(SELECT jsonb_array_elements_text(p->'warnings')),
    p->>'callbackUrl', (p->>'retryOf')::uuid, p->>'requestedProvider', p->>'requestedModel', p->'route',
    v_quoted, v_quoted, v_hold, 1, v_run_at, (p->>'ttlSeconds')::int,
    greatest(v_now, v_run_at) + (p->>'ttlSeconds')::int * interval '1 second', v_now, v_now, (p->>'longestRunMs')::int)
  RETURNING * INTO v_task;
  PERFORM task_event_add(v_task, 'status_changed', jsonb_build_object('status', v_task.status, 'previous', NULL));

  -- The account last: its row is the one that submits of one account contend for.
  IF v_hold IS NOT NULL THEN
    UPDATE hold SET remaining = remaining - v_quoted
      WHERE id = v_hold AND account_id = v_account AND closed_at IS NULL AND remaining >= v_quoted;
    IF NOT FOUND THEN
      SELECT remaining INTO v_available FROM hold WHERE id = v_hold AND closed_at IS NULL;
      RAISE EXCEPTION 'too few credits in the hold' USING ERRCODE = 'AT402',
        DETAIL = jsonb_build_object('required', v_quoted, 'available', coalesce(v_available, 0));
    END IF;
    SELECT available, held INTO v_available, v_held FROM account WHERE id = v_account;
  ELSE
    UPDATE account SET available = available - v_quoted, held = held + v_quoted
      WHERE id = v_account AND available >= v_quoted RETURNING available, held INTO v_available, v_held;
    IF NOT FOUND THEN
      SELECT available INTO v_available FROM account WHERE id = v_account;
      RAISE EXCEPTION 'too few credits' USING ERRCODE = 'AT402',
        DETAIL = jsonb_build_object('required', v_quoted, 'available', v_available);
    END IF;
  END IF;
  IF v_quoted > 0 THEN
    INSERT INTO ledger_entry (account_id, leg, amount, available_change, held_change, available_after, held_after, task_id, hold_id, run_id)
      VALUES (v_account, CASE WHEN v_hold IS NULL THEN 'HOLD' ELSE 'DRAW' END, v_quoted,
        CASE WHEN v_hold IS NULL THEN -v_quoted ELSE 0 END, CASE WHEN v_hold IS NULL THEN v_quoted ELSE 0 END, v_available, v_held,
        v_id, v_hold, (SELECT run_id FROM hold WHERE id = v_hold));
  END IF;
  RETURN QUERY SELECT false, v_task;
END $$;

-- SCHEDULED tasks whose time has come.
CREATE FUNCTION task_release_scheduled(p_limit int) RETURNS SETOF task LANGUAGE plpgsql AS $$
DECLARE v_task task;
BEGIN
  FOR v_task IN
    UPDATE task SET status = 'QUEUED', available_at = date_trunc('milliseconds', clock_timestamp()), last_seq = last_seq + 1
    WHERE id IN (SELECT id FROM task WHERE status = 'SCHEDULED' AND run_at <= now() ORDER BY run_at LIMIT p_limit FOR UPDATE SKIP LOCKED)
    RETURNING *
  LOOP
    PERFORM task_event_add(v_task, 'status_changed', jsonb_build_object('status', 'QUEUED', 'previous', 'SCHEDULED'));
    RETURN NEXT v_task;
  END LOOP;
END $$;

-- One round of dispatch for one lane. Accounts take turns, the least busy first; inside an account priority, then age.
-- At most 256 accounts are looked at, from the one behind where the last round stopped, so a round costs the same however many wait.
-- available_at doubles as the time at which an unclaimed hand-over is repeated.
CREATE FUNCTION task_dispatch(p_lane text, p_redeliver_ms int) RETURNS TABLE (id uuid, dispatch int) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
  v_lane lane;
  v_free int;
  v_accounts uuid[];
  v_ids uuid[];
  v_dispatches int[];
  v_last uuid;
  v_now timestamptz := clock_timestamp();
BEGIN
  SELECT * INTO v_lane FROM lane WHERE name = p_lane FOR UPDATE SKIP LOCKED;
  IF NOT FOUND OR v_lane.paused THEN RETURN; END IF;
  SELECT v_lane.concurrency
    - (SELECT count(*) FROM task WHERE lane = p_lane AND slot)
    - (SELECT count(*) FROM task WHERE lane = p_lane AND status = 'QUEUED' AND handed_over AND available_at > v_now)
    INTO v_free;
  IF v_free <= 0 THEN RETURN; END IF;

  WITH RECURSIVE behind AS (
    (SELECT t.account_id, 1 AS n FROM task t WHERE t.lane = p_lane AND t.status = 'QUEUED'
       AND t.account_id > coalesce(v_lane.turn_after, '00000000-0000-0000-0000-000000000000') ORDER BY t.account_id LIMIT 1)
    UNION ALL
    SELECT next.account_id, b.n + 1 FROM behind b CROSS JOIN LATERAL (
      SELECT t.account_id FROM task t WHERE t.lane = p_lane AND t.status = 'QUEUED' AND t.account_id > b.account_id ORDER BY t.account_id LIMIT 1
    ) next WHERE b.n < 256
  ), before AS (
    (SELECT t.account_id, (SELECT count(*) FROM behind) + 1 AS n FROM task t WHERE t.lane = p_lane AND t.status = 'QUEUED'
       AND t.account_id <= v_lane.turn_after AND (SELECT count(*) FROM behind) < 256 ORDER BY t.account_id LIMIT 1)
    UNION ALL
    SELECT next.account_id, b.n + 1 FROM before b CROSS JOIN LATERAL (
      SELECT t.account_id FROM task t WHERE t.lane = p_lane AND t.status = 'QUEUED' AND t.account_id > b.account_id
        AND t.account_id <= v_lane.turn_after ORDER BY t.account_id LIMIT 1
    ) next WHERE b.n < 256
  )
  SELECT array_agg(account_id ORDER BY n) INTO v_accounts FROM (SELECT * FROM behind UNION ALL SELECT * FROM before) waiting;
  IF v_accounts IS NULL THEN RETURN; END IF;
  WITH turns AS (
    SELECT candidate.id, a.account_id, a.place,
      busy.count + row_number() OVER (PARTITION BY a.account_id ORDER BY candidate.priority DESC, candidate.id) AS turn
    FROM unnest(v_accounts) WITH ORDINALITY AS a(account_id, place)
    CROSS JOIN LATERAL (SELECT count(*) FROM task t WHERE t.lane = p_lane AND t.account_id = a.account_id AND t.slot) AS busy
    CROSS JOIN LATERAL (
      SELECT t.id, t.priority FROM task t
      WHERE t.lane = p_lane AND t.account_id = a.account_id AND t.status = 'QUEUED' AND t.available_at <= v_now
      ORDER BY t.priority DESC, t.id LIMIT v_free
    ) AS candidate
  ), picked AS (
    SELECT * FROM turns ORDER BY turn, place LIMIT v_free
  ), handed AS (
    UPDATE task t SET handed_over = true, dispatch = t.dispatch + 1, available_at = v_now + p_redeliver_ms * interval '1 millisecond'
    FROM picked WHERE t.id = picked.id AND t.status = 'QUEUED'
    RETURNING t.id, t.dispatch, t.account_id, picked.turn, picked.place
  )
  SELECT array_agg(id ORDER BY turn, place), array_agg(dispatch ORDER BY turn, place), (array_agg(account_id ORDER BY turn DESC, place DESC))[1]
    INTO v_ids, v_dispatches, v_last FROM handed;
  -- Where there was not enough for all, the next round begins behind the account that was last.
  IF coalesce(cardinality(v_ids), 0) < v_free THEN
    v_last := v_accounts[256];
  END IF;
  IF v_lane.turn_after IS DISTINCT FROM v_last THEN
    UPDATE lane SET turn_after = v_last WHERE name = p_lane;
  END IF;
  RETURN QUERY SELECT unnest(v_ids), unnest(v_dispatches);
END $$;

-- Takes the task of one hand-over for one worker: no row = another has it, or it may not run now.
CREATE FUNCTION task_claim(p_id uuid, p_dispatch int, p_worker uuid, p_lease_ms int) RETURNS SETOF task LANGUAGE plpgsql AS $$
DECLARE
  v_task task;
  v_now timestamptz := clock_timestamp();
BEGIN
  UPDATE task t SET status = 'PROCESSING', handed_over = false, attempt = t.attempt + 1, fence = t.fence + 1, worker_id = p_worker,
    lease_until = v_now + p_lease_ms * interval '1 millisecond', slot = coalesce(t.route->t.target_index->>'runs', 'here') = 'here',
    provider = t.route->t.target_index->>'provider', model = t.route->t.target_index->>'model',
    started_at = coalesce(t.started_at, v_now), deadline_at = coalesce(t.deadline_at, v_now + t.longest_run_ms * interval '1 millisecond'),
    last_seq = t.last_seq + 1
  WHERE t.id = p_id AND t.status = 'QUEUED' AND t.dispatch = p_dispatch
    AND (t.started_at IS NOT NULL OR t.expires_at IS NULL OR t.expires_at > v_now)
    AND (t.deadline_at IS NULL OR t.deadline_at > v_now)
    AND NOT EXISTS (SELECT FROM lane WHERE name = t.lane AND paused)
  RETURNING t.* INTO v_task;
  IF NOT FOUND THEN RETURN; END IF;
  INSERT INTO attempt (task_id, number, provider, model, key, phase, resubmit, started_at)
    VALUES (v_task.id, v_task.attempt, v_task.provider, v_task.model, v_task.id || '-' || v_task.attempt, 'preparing',
      coalesce(v_task.route->v_task.target_index->>'resubmit', 'never'), v_now);
  PERFORM task_event_add(v_task, 'status_changed', jsonb_build_object('status', 'PROCESSING', 'previous', 'QUEUED'));
  RETURN NEXT v_task;
END $$;

-- The paid call is about to be made: from now on a lost worker means that it may have been bought.
CREATE FUNCTION task_calling(p_id uuid, p_fence int) RETURNS SETOF task LANGUAGE plpgsql AS $$
DECLARE v_task task;
BEGIN
  SELECT * INTO v_task FROM task WHERE id = p_id AND fence = p_fence AND status = 'PROCESSING' AND cancel_requested_at IS NULL FOR UPDATE;
  IF NOT FOUND THEN RETURN; END IF;
  UPDATE attempt SET phase = 'calling' WHERE task_id = p_id AND number = v_task.attempt;
  RETURN NEXT v_task;
END $$;

-- Stores the handle, gives slot and lease back: the vendor works on, and the poller looks after it.
CREATE FUNCTION task_park(p_id uuid, p_fence int, p_handle jsonb, p_poll_ms int) RETURNS SETOF task LANGUAGE plpgsql AS $$
DECLARE v_task task;
BEGIN
  UPDATE task SET slot = false, lease_until = NULL, worker_id = NULL,
    -- Not behind the deadline: the vendor is told to stop then.
    next_poll_at = least(deadline_at, clock_timestamp()
      + CASE WHEN cancel_requested_at IS NULL THEN p_poll_ms ELSE least(p_poll_ms, 1000) END * interval '1 millisecond')
  WHERE id = p_id AND fence = p_fence AND status = 'PROCESSING' RETURNING * INTO v_task;
  IF NOT FOUND THEN RETURN; END IF;
  -- A callback that came while the handle was being polled asks for one more look at once.
  UPDATE task SET next_poll_at = clock_timestamp() WHERE id = p_id
    AND EXISTS (SELECT FROM attempt WHERE task_id = p_id AND number = v_task.attempt AND due_again);
  UPDATE attempt SET phase = 'parked', handle = p_handle, due_again = false WHERE task_id = p_id AND number = v_task.attempt;
  RETURN NEXT v_task;
END $$;

-- Takes parked handles that are due, under a new lease, for one look each.
CREATE FUNCTION task_claim_polls(p_worker uuid, p_lease_ms int, p_limit int) RETURNS SETOF task LANGUAGE sql AS $$
  UPDATE task SET fence = fence + 1, worker_id = p_worker, lease_until = clock_timestamp() + p_lease_ms * interval '1 millisecond', next_poll_at = NULL
  WHERE id IN (SELECT id FROM task WHERE status = 'PROCESSING' AND next_poll_at <= now() ORDER BY next_poll_at LIMIT p_limit FOR UPDATE SKIP LOCKED)
  RETURNING *
$$;

CREATE FUNCTION task_progress(p_id uuid, p_fence int, p_progress float8, p_step text) RETURNS SETOF task LANGUAGE plpgsql AS $$
DECLARE v_task task;
BEGIN
  UPDATE task SET progress = greatest(progress, p_progress), current_step = coalesce(p_step, current_step), last_seq = last_seq + 1
  WHERE id = p_id AND fence = p_fence AND status = 'PROCESSING' AND (p_progress > progress OR p_step IS DISTINCT FROM current_step)
  RETURNING * INTO v_task;
  IF NOT FOUND THEN RETURN; END IF;
  PERFORM task_event_add(v_task, 'progressed',
    jsonb_build_object('attempt', v_task.attempt, 'progress', v_task.progress, 'step', v_task.current_step));
  RETURN NEXT v_task;
END $$;

-- kind: output_added or logged. Logs end at 1,000 lines a task.
CREATE FUNCTION task_note(p_id uuid, p_fence int, p_kind text, p_data jsonb) RETURNS SETOF task LANGUAGE plpgsql AS $$
DECLARE v_task task;
BEGIN
  IF p_kind = 'logged' AND (SELECT count(*) FROM task_event WHERE task_id = p_id AND kind = 'logged') >= 1000 THEN RETURN; END IF;
  UPDATE task SET last_seq = last_seq + 1 WHERE id = p_id AND fence = p_fence AND status = 'PROCESSING' RETURNING * INTO v_task;
  IF NOT FOUND THEN RETURN; END IF;
  PERFORM task_event_add(v_task, p_kind, p_data || CASE WHEN p_kind = 'output_added' THEN jsonb_build_object('attempt', v_task.attempt) ELSE '{}' END);
  RETURN NEXT v_task;
END $$;

-- Back to the backlog. p: delayMs, error (of the attempt), failures (added), targetIndex. A cancelled task is not run again: no row.
CREATE FUNCTION task_requeue(p_id uuid, p_fence int, p jsonb) RETURNS SETOF task LANGUAGE plpgsql AS $$
DECLARE v_task task;
BEGIN
  UPDATE task SET status = 'QUEUED', slot = false, lease_until = NULL, worker_id = NULL, next_poll_at = NULL, handed_over = false, needs_review = false,
    -- A review has a deadline of its own; the next attempt counts anew.
    deadline_at = CASE WHEN needs_review THEN NULL ELSE deadline_at END,
    available_at = date_trunc('milliseconds', clock_timestamp()) + coalesce((p->>'delayMs')::int, 0) * interval '1 millisecond',
    failures = failures + coalesce((p->>'failures')::int, 0), target_index = coalesce((p->>'targetIndex')::int, target_index),
    fence = fence + 1, last_seq = last_seq + 1
  WHERE id = p_id AND (p_fence IS NULL OR fence = p_fence) AND status = 'PROCESSING' AND cancel_requested_at IS NULL
  RETURNING * INTO v_task;
  IF NOT FOUND THEN RETURN; END IF;
  UPDATE attempt SET phase = 'ended', ended_at = clock_timestamp(), error = nullif(p->'error', 'null')
    WHERE task_id = p_id AND number = v_task.attempt AND ended_at IS NULL;
  PERFORM task_event_add(v_task, 'status_changed', jsonb_build_object('status', 'QUEUED', 'previous', 'PROCESSING'));
  RETURN NEXT v_task;
END $$;

-- A paid call whose answer is lost: kept, hold and all, until an operator decides or p_review_ms have passed.
CREATE FUNCTION task_flag_review(p_id uuid, p_fence int, p_review_ms bigint) RETURNS SETOF task LANGUAGE plpgsql AS $$
DECLARE v_task task;
BEGIN
  UPDATE task SET needs_review = true, slot = false, lease_until = NULL, worker_id = NULL, fence = fence + 1, last_seq = last_seq + 1,
    deadline_at = clock_timestamp() + p_review_ms * interval '1 millisecond'
  WHERE id = p_id AND fence = p_fence AND status = 'PROCESSING' AND NOT needs_review RETURNING * INTO v_task;
  IF NOT FOUND THEN RETURN; END IF;
  PERFORM task_event_add(v_task, 'logged', jsonb_build_object('level', 'WARN', 'message', 'The answer of the provider was lost; an operator reviews what happened.'));
  RETURN NEXT v_task;
END $$;

-- The end of a task, whatever the end: state, credits, event, webhook in one transaction. No row: it had ended already, the fence
-- has moved on, or it is cancelled and may not complete. p: status, result, error, charge, basis, usage.
CREATE FUNCTION task_finish(p_id uuid, p_fence int, p jsonb) RETURNS SETOF task LANGUAGE plpgsql AS $$
DECLARE
  v_task task;
  v_previous text;
  v_capture bigint;
  v_release bigint;
  v_back bigint;     -- what goes back to available
  v_gone bigint;     -- what leaves held
  v_available bigint;
  v_held bigint;
  v_run uuid;
BEGIN
  SELECT * INTO v_task FROM task WHERE id = p_id FOR UPDATE;
  IF NOT FOUND OR v_task.status IN ('COMPLETED', 'FAILED', 'CANCELLED', 'EXPIRED') OR (p_fence IS NOT NULL AND v_task.fence <> p_fence)
    OR (p->>'status' = 'COMPLETED' AND (v_task.cancel_requested_at IS NOT NULL OR v_task.status <> 'PROCESSING')) THEN
    RETURN;
  END IF;
  v_previous := v_task.status;
  v_capture := least(coalesce((p->>'charge')::bigint, 0), v_task.held);
  v_release := v_task.held - v_capture;

  UPDATE task SET status = p->>'status', result = nullif(p->'result', 'null'), error = nullif(p->'error', 'null'), completed_at = clock_timestamp(),
    progress = CASE WHEN p->>'status' = 'COMPLETED' THEN 1 ELSE progress END, current_step = NULL,
    held = 0, charged = charged + v_capture, released = released + v_release, basis = coalesce(p->>'basis', 'USAGE'),
    slot = false, lease_until = NULL, worker_id = NULL, next_poll_at = NULL, handed_over = false, needs_review = false,
    fence = fence + 1, last_seq = last_seq + 1
  WHERE id = p_id RETURNING * INTO v_task;
  UPDATE attempt SET phase = 'ended', ended_at = clock_timestamp(), error = nullif(p->'error', 'null'), usage = nullif(p->'usage', 'null')
    WHERE task_id = p_id AND number = v_task.attempt AND ended_at IS NULL;
  PERFORM task_event_add(v_task, 'status_changed', jsonb_build_object('status', v_task.status, 'previous', v_previous));
  -- What earlier attempts left half-made is nobody's.
  WITH gone AS (DELETE FROM asset WHERE task_id = p_id AND attempt < v_task.attempt RETURNING key)
    INSERT INTO orphan (key) SELECT key FROM gone ON CONFLICT DO NOTHING;
  IF v_task.callback_url IS NOT NULL THEN
    INSERT INTO webhook_delivery (account_id, task_id, sequence, url, type, next_attempt_at)
      VALUES (v_task.account_id, p_id, v_task.last_seq, v_task.callback_url, 'task.' || lower(v_task.status), clock_timestamp());
  END IF;

  IF v_capture + v_release > 0 THEN
    v_back := v_release;
    v_gone := v_release;
    IF v_task.hold_id IS NOT NULL AND v_release > 0 THEN
      UPDATE hold SET remaining = remaining + v_release WHERE id = v_task.hold_id AND closed_at IS NULL;
      IF FOUND THEN
        v_back := 0;
        v_gone := 0;
      END IF;
    END IF;
    SELECT run_id INTO v_run FROM hold WHERE id = v_task.hold_id;
    UPDATE account SET available = available + v_back, held = held - v_capture - v_gone WHERE id = v_task.account_id
      RETURNING available, held INTO v_available, v_held;
    IF v_capture > 0 THEN
      INSERT INTO ledger_entry (account_id, leg, amount, available_change, held_change, available_after, held_after, task_id, hold_id, run_id)
        VALUES (v_task.account_id, 'CAPTURE', v_capture, 0, -v_capture, v_available - v_back, v_held + v_gone, p_id, v_task.hold_id, v_run);
    END IF;
    IF v_release > 0 THEN
      INSERT INTO ledger_entry (account_id, leg, amount, available_change, held_change, available_after, held_after, task_id, hold_id, run_id)
        VALUES (v_task.account_id, 'RELEASE', v_release, v_back, -v_gone, v_available, v_held, p_id, v_task.hold_id, v_run);
    END IF;
  END IF;
  RETURN NEXT v_task;
END $$;

-- Not started: CANCELLED at once. Running: the request is stored, and from now on it cannot complete. Ended: the row as it is.
CREATE FUNCTION task_cancel(p_id uuid) RETURNS SETOF task LANGUAGE plpgsql AS $$
DECLARE v_task task;
BEGIN
  SELECT * INTO v_task FROM task WHERE id = p_id FOR UPDATE;
  IF NOT FOUND THEN RETURN; END IF;
  IF v_task.status IN ('SCHEDULED', 'QUEUED') THEN
    UPDATE task SET cancel_requested_at = clock_timestamp() WHERE id = p_id;
    RETURN QUERY SELECT * FROM task_finish(p_id, NULL, '{"status": "CANCELLED"}');
  ELSIF v_task.status = 'PROCESSING' AND v_task.cancel_requested_at IS NULL THEN
    RETURN QUERY UPDATE task SET cancel_requested_at = clock_timestamp(),
      next_poll_at = CASE WHEN next_poll_at IS NULL THEN NULL ELSE clock_timestamp() END WHERE id = p_id RETURNING *;
  ELSE
    RETURN NEXT v_task;
  END IF;
END $$;

-- An ended task goes, with its attempts, events, deliveries and idempotency key. Its bytes are listed for removal; its ledger stays.
CREATE FUNCTION task_delete(p_id uuid) RETURNS SETOF task LANGUAGE plpgsql AS $$
DECLARE v_task task;
BEGIN
  DELETE FROM task WHERE id = p_id AND status IN ('COMPLETED', 'FAILED', 'CANCELLED', 'EXPIRED') RETURNING * INTO v_task;
  IF NOT FOUND THEN RETURN; END IF;
  RETURN NEXT v_task;
END $$;
CREATE FUNCTION task_deleted() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO orphan (key) SELECT key FROM asset WHERE task_id = OLD.id ON CONFLICT DO NOTHING;
  DELETE FROM task_event WHERE task_id = OLD.id;
  DELETE FROM idempotency_key WHERE task_id = OLD.id;
  RETURN OLD;
END $$;
CREATE TRIGGER task_deleted BEFORE DELETE ON task FOR EACH ROW EXECUTE FUNCTION task_deleted();

-- GRANT or ADJUST. p: accountId, leg, change, idempotencyKey, note, taskId. The same key again gives the first entry.
CREATE FUNCTION account_change(p jsonb) RETURNS SETOF ledger_entry LANGUAGE plpgsql AS $$
DECLARE
  v_account account;
  v_entry ledger_entry;
  v_change bigint := (p->>'change')::bigint;
BEGIN
  SELECT * INTO v_account FROM account WHERE id = (p->>'accountId')::uuid FOR UPDATE;
  IF NOT FOUND THEN RETURN; END IF;
  SELECT * INTO v_entry FROM ledger_entry WHERE account_id = v_account.id AND idempotency_key = p->>'idempotencyKey' AND leg IN ('GRANT', 'ADJUST');
  IF FOUND THEN
    IF v_entry.leg <> p->>'leg' OR v_entry.available_change <> v_change OR v_entry.task_id IS DISTINCT FROM (p->>'taskId')::uuid THEN
      RAISE EXCEPTION 'idempotency key used with another change' USING ERRCODE = 'AT409', DETAIL = v_entry.id;
    END IF;
    RETURN NEXT v_entry;
    RETURN;
  END IF;
  IF v_account.available + v_change < 0 OR v_account.available + v_account.held + v_change > 9007199254740991 THEN
    RAISE EXCEPTION 'the balance would leave its range' USING ERRCODE = 'AT422', DETAIL = v_account.available;
  END IF;
  UPDATE account SET available = available + v_change WHERE id = v_account.id RETURNING * INTO v_account;
  INSERT INTO ledger_entry (account_id, leg, amount, available_change, held_change, available_after, held_after, task_id, idempotency_key, note)
    VALUES (v_account.id, p->>'leg', abs(v_change), v_change, 0, v_account.available, v_account.held, (p->>'taskId')::uuid, p->>'idempotencyKey', p->>'note')
    RETURNING * INTO v_entry;
  RETURN NEXT v_entry;
END $$;

-- Opens a run's hold, or adds to it. Refuses with AT402 when the account has too little.
CREATE FUNCTION hold_add(p_account uuid, p_run uuid, p_amount bigint) RETURNS SETOF hold LANGUAGE plpgsql AS $$
DECLARE
  v_hold hold;
  v_account account;
BEGIN
  INSERT INTO hold (account_id, run_id, remaining) VALUES (p_account, p_run, p_amount)
    ON CONFLICT (run_id) DO UPDATE SET remaining = hold.remaining + p_amount, number = hold.number + 1 WHERE hold.closed_at IS NULL RETURNING * INTO v_hold;
  IF NOT FOUND THEN RETURN; END IF;
  UPDATE account SET available = available - p_amount, held = held + p_amount WHERE id = p_account AND available >= p_amount RETURNING * INTO v_account;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'too few credits' USING ERRCODE = 'AT402',
      DETAIL = jsonb_build_object('required', p_amount, 'available', (SELECT available FROM account WHERE id = p_account));
  END IF;
  INSERT INTO ledger_entry (account_id, leg, amount, available_change, held_change, available_after, held_after, hold_id, run_id, number)
    VALUES (p_account, 'HOLD', p_amount, -p_amount, p_amount, v_account.available, v_account.held, v_hold.id, p_run, v_hold.number);
  RETURN NEXT v_hold;
END $$;

-- Closes a run's hold and releases its rest. What its running tasks still hold goes straight to the account when they end.
CREATE FUNCTION hold_close(p_hold uuid) RETURNS SETOF hold LANGUAGE plpgsql AS $$
DECLARE
  v_hold hold;
  v_account account;
BEGIN
  SELECT * INTO v_hold FROM hold WHERE id = p_hold AND closed_at IS NULL FOR UPDATE;
  IF NOT FOUND THEN RETURN; END IF;
  UPDATE hold SET remaining = 0, closed_at = clock_timestamp() WHERE id = p_hold;
  IF v_hold.remaining > 0 THEN
    UPDATE account SET available = available + v_hold.remaining, held = held - v_hold.remaining WHERE id = v_hold.account_id RETURNING * INTO v_account;
    INSERT INTO ledger_entry (account_id, leg, amount, available_change, held_change, available_after, held_after, hold_id, run_id)
      VALUES (v_hold.account_id, 'RELEASE', v_hold.remaining, v_hold.remaining, -v_hold.remaining, v_account.available, v_account.held, p_hold, v_hold.run_id);
  END IF;
  RETURN NEXT v_hold;
END $$;
