-- What work at vendors needs: a place for each call, lost answers that are looked for, callbacks.
-- p_doors: { provider: { credentials: [{ id, limit? }], models: { model: limit } } }, limits being jobs in flight. A provider that is missing is not known here.

-- Whether a target can be called now, and with which credential: the least busy one that has a place. state: open, full (a place will
-- come), closed (every credential rests). Whoever gets a place that was counted holds the credential's lock until he commits.
CREATE FUNCTION door_open(p_provider text, p_model text, p_door jsonb, OUT credential text, OUT state text) LANGUAGE plpgsql AS $$
DECLARE
  v_each jsonb;
  v_limit int;
  v_model_limit int := (p_door->'models'->>p_model)::int;
  v_counted boolean;
  v_all int;
  v_model int;
  v_least int;
BEGIN
  state := 'closed';
  FOR v_each IN SELECT value FROM jsonb_array_elements(p_door->'credentials') LOOP
    CONTINUE WHEN EXISTS (SELECT FROM circuit c WHERE c.provider = p_provider AND c.credential = v_each->>'id' AND c.model IN ('', p_model) AND c.open_until > now());
    v_limit := (v_each->>'limit')::int;
    v_counted := v_limit IS NOT NULL OR v_model_limit IS NOT NULL;
    IF v_counted THEN
      PERFORM pg_advisory_xact_lock(hashtextextended('atelier door ' || p_provider || ' ' || (v_each->>'id'), 0));
    END IF;
    IF v_counted OR jsonb_array_length(p_door->'credentials') > 1 THEN
      SELECT count(*), count(*) FILTER (WHERE a.model = p_model) INTO v_all, v_model FROM attempt a
        WHERE a.provider = p_provider AND a.credential = v_each->>'id' AND a.phase IN ('preparing', 'calling', 'parked', 'seeking');
      IF v_all >= v_limit OR v_model >= v_model_limit THEN
        IF state = 'closed' THEN
          state := 'full';
        END IF;
        CONTINUE;
      END IF;
    END IF;
    IF state <> 'open' OR v_all < v_least THEN
      state := 'open';
      credential := v_each->>'id';
      v_least := v_all;
    END IF;
  END LOOP;
END $$;

-- How many tasks may try a target now.
CREATE FUNCTION door_places(p_provider text, p_model text, p_door jsonb, p_most int) RETURNS int LANGUAGE plpgsql AS $$
DECLARE
  v_each jsonb;
  v_model_limit int := (p_door->'models'->>p_model)::int;
  v_places int := 0;
  v_all int;
  v_model int;
BEGIN
  -- Not known here: whoever takes the task says so.
  IF p_door IS NULL THEN RETURN p_most; END IF;
  FOR v_each IN SELECT value FROM jsonb_array_elements(p_door->'credentials') LOOP
    CONTINUE WHEN EXISTS (SELECT FROM circuit c WHERE c.provider = p_provider AND c.credential = v_each->>'id' AND c.model IN ('', p_model) AND c.open_until > now());
    IF EXISTS (SELECT FROM circuit c WHERE c.provider = p_provider AND c.credential = v_each->>'id' AND c.model IN ('', p_model) AND c.open_until <= now()) THEN
      -- One tries whether it works again.
      v_places := v_places + 1;
      CONTINUE;
    END IF;
    SELECT count(*), count(*) FILTER (WHERE a.model = p_model) INTO v_all, v_model FROM attempt a
      WHERE a.provider = p_provider AND a.credential = v_each->>'id' AND a.phase IN ('preparing', 'calling', 'parked', 'seeking');
    v_places := v_places + greatest(0, least(p_most, (v_each->>'limit')::int - v_all, v_model_limit - v_model));
  END LOOP;
  RETURN least(v_places, p_most);
END $$;

-- One round of dispatch for one lane. Accounts take turns, the least busy first; inside an account priority, then age.
-- At most 256 accounts are looked at, from the one behind where the last round stopped, so a round costs the same however many wait.
-- available_at doubles as the time at which an unclaimed hand-over is repeated.
DROP FUNCTION task_dispatch(text, int);
CREATE FUNCTION task_dispatch(p_lane text, p_redeliver_ms int, p_doors jsonb) RETURNS TABLE (id uuid, dispatch int) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
  v_lane lane;
  v_free int;
  v_accounts uuid[];
  v_ids uuid[];
  v_dispatches int[];
  v_last uuid;
  v_now timestamptz := clock_timestamp();
  v_target text := '';
  v_provider text;
  v_places int;
BEGIN
  SELECT * INTO v_lane FROM lane WHERE name = p_lane FOR UPDATE SKIP LOCKED;
  IF NOT FOUND OR v_lane.paused THEN RETURN; END IF;
  SELECT v_lane.concurrency
    - (SELECT count(*) FROM task WHERE lane = p_lane AND slot)
    - (SELECT count(*) FROM task WHERE lane = p_lane AND status = 'QUEUED' AND handed_over AND available_at > v_now)
    INTO v_free;
  IF v_free <= 0 THEN RETURN; END IF;

  -- Back into the backlog with those for whom there is a place now, target by target.
  LOOP
    SELECT t.waits_for INTO v_target FROM task t WHERE t.lane = p_lane AND t.status = 'QUEUED' AND t.waits_for > v_target ORDER BY t.waits_for LIMIT 1;
    EXIT WHEN NOT FOUND;
    v_provider := split_part(v_target, '/', 1);
    v_places := door_places(v_provider, substr(v_target, length(v_provider) + 2), p_doors->v_provider, v_free);
    WITH RECURSIVE accounts AS (
      (SELECT t.account_id, 1 AS n FROM task t WHERE t.lane = p_lane AND t.status = 'QUEUED' AND t.waits_for = v_target ORDER BY t.account_id LIMIT 1)
      UNION ALL
      SELECT next.account_id, a.n + 1 FROM accounts a CROSS JOIN LATERAL (
        SELECT t.account_id FROM task t WHERE t.lane = p_lane AND t.status = 'QUEUED' AND t.waits_for = v_target AND t.account_id > a.account_id
        ORDER BY t.account_id LIMIT 1
      ) next WHERE a.n < 256
    ), picked AS (
      -- Accounts take turns here, too.
      SELECT first.id FROM accounts a CROSS JOIN LATERAL (
        SELECT t.id, row_number() OVER (ORDER BY t.priority DESC, t.id) AS turn FROM task t
        WHERE t.lane = p_lane AND t.status = 'QUEUED' AND t.waits_for = v_target AND t.account_id = a.account_id
        ORDER BY t.priority DESC, t.id LIMIT v_places
      ) first ORDER BY first.turn, random() LIMIT v_places
    )
    UPDATE task t SET waits_for = NULL, available_at = date_trunc('milliseconds', v_now) FROM picked WHERE t.id = picked.id AND t.waits_for = v_target;
  END LOOP;

  WITH RECURSIVE behind AS (
    (SELECT t.account_id, 1 AS n FROM task t WHERE t.lane = p_lane AND t.status = 'QUEUED' AND t.waits_for IS NULL
       AND t.account_id > coalesce(v_lane.turn_after, '00000000-0000-0000-0000-000000000000') ORDER BY t.account_id LIMIT 1)
    UNION ALL
    SELECT next.account_id, b.n + 1 FROM behind b CROSS JOIN LATERAL (
      SELECT t.account_id FROM task t WHERE t.lane = p_lane AND t.status = 'QUEUED' AND t.waits_for IS NULL AND t.account_id > b.account_id ORDER BY t.account_id LIMIT 1
    ) next WHERE b.n < 256
  ), before AS (
    (SELECT t.account_id, (SELECT count(*) FROM behind) + 1 AS n FROM task t WHERE t.lane = p_lane AND t.status = 'QUEUED' AND t.waits_for IS NULL
       AND t.account_id <= v_lane.turn_after AND (SELECT count(*) FROM behind) < 256 ORDER BY t.account_id LIMIT 1)
    UNION ALL
    SELECT next.account_id, b.n + 1 FROM before b CROSS JOIN LATERAL (
      SELECT t.account_id FROM task t WHERE t.lane = p_lane AND t.status = 'QUEUED' AND t.waits_for IS NULL AND t.account_id > b.account_id
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
      WHERE t.lane = p_lane AND t.account_id = a.account_id AND t.status = 'QUEUED' AND t.waits_for IS NULL AND t.available_at <= v_now
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

-- Takes the task of one hand-over for one worker: no row = another has it, or it may not run now. A target whose credentials all rest is passed
-- over for the next of the route; where there is no place the task leaves the backlog until there is one.
DROP FUNCTION task_claim(uuid, int, uuid, int);
CREATE FUNCTION task_claim(p_id uuid, p_dispatch int, p_worker uuid, p_lease_ms int, p_doors jsonb) RETURNS SETOF task LANGUAGE plpgsql AS $$
DECLARE
  v_task task;
  v_now timestamptz := clock_timestamp();
  v_index int;
  v_target jsonb;
  v_door record;
  v_waits text;
  v_opens timestamptz;
  v_soonest timestamptz := 'infinity';
BEGIN
  SELECT * INTO v_task FROM task t
  WHERE t.id = p_id AND t.status = 'QUEUED' AND t.dispatch = p_dispatch
    AND (t.started_at IS NOT NULL OR t.expires_at IS NULL OR t.expires_at > v_now)
    AND (t.deadline_at IS NULL OR t.deadline_at > v_now)
    AND NOT EXISTS (SELECT FROM lane WHERE name = t.lane AND paused)
  FOR UPDATE;
  IF NOT FOUND THEN RETURN; END IF;

  v_index := v_task.target_index;
  v_target := v_task.route->v_index;
  -- What is sent again under its old key goes to where it went before, whatever the state of the door.
  IF v_task.resend OR NOT p_doors ? (v_target->>'provider') THEN
    SELECT CASE WHEN v_task.resend THEN v_task.credential END AS credential, 'open' AS state INTO v_door;
  ELSE
    LOOP
      SELECT * INTO v_door FROM door_open(v_target->>'provider', v_target->>'model', p_doors->(v_target->>'provider'));
      EXIT WHEN v_door.state = 'open';
      -- Where a place will come it is waited for; where all rest, for the one that is back first.
      SELECT CASE v_door.state WHEN 'full' THEN '-infinity' ELSE min(rest.until) END INTO v_opens FROM (
        SELECT max(c.open_until) AS until FROM circuit c
        WHERE c.provider = v_target->>'provider' AND c.model IN ('', v_target->>'model') AND c.open_until > now() GROUP BY c.credential) rest;
      IF v_opens < v_soonest THEN
        v_soonest := v_opens;
        v_waits := (v_target->>'provider') || '/' || (v_target->>'model');
      END IF;
      EXIT WHEN v_door.state = 'full' OR v_task.route->(v_index + 1) IS NULL;
      v_index := v_index + 1;
      v_target := v_task.route->v_index;
    END LOOP;
    IF v_door.state = 'open' THEN
      -- Behind an open circuit whose time is over, this is the one that tries; the next may in 10 s.
      UPDATE circuit c SET open_until = v_now + interval '10 seconds', reason = 'probing'
        WHERE c.provider = v_target->>'provider' AND c.credential = v_door.credential AND c.model IN ('', v_target->>'model') AND c.open_until <= v_now;
      -- Another became that one in this moment.
      IF NOT FOUND AND EXISTS (SELECT FROM circuit c WHERE c.provider = v_target->>'provider' AND c.credential = v_door.credential
          AND c.model IN ('', v_target->>'model') AND c.open_until > clock_timestamp()) THEN
        v_waits := (v_target->>'provider') || '/' || (v_target->>'model');
        v_door.state := 'closed';
      END IF;
    END IF;
    IF v_door.state <> 'open' THEN
      UPDATE task t SET handed_over = false,
        waits_for = coalesce(v_waits, (t.route->t.target_index->>'provider') || '/' || (t.route->t.target_index->>'model')) WHERE t.id = p_id;
      RETURN;
    END IF;
  END IF;

  UPDATE task t SET status = 'PROCESSING', handed_over = false, attempt = t.attempt + 1, fence = t.fence + 1, worker_id = p_worker,
    lease_until = v_now + p_lease_ms * interval '1 millisecond', slot = coalesce(v_target->>'runs', 'here') = 'here',
    target_index = v_index, provider = v_target->>'provider', model = v_target->>'model', credential = v_door.credential,
    attempt_key = CASE WHEN t.resend THEN t.attempt_key ELSE t.id || '-' || (t.attempt + 1) END, resend = false,
    started_at = coalesce(t.started_at, v_now), deadline_at = coalesce(t.deadline_at, v_now + t.longest_run_ms * interval '1 millisecond'),
    last_seq = t.last_seq + 1
  WHERE t.id = p_id RETURNING t.* INTO v_task;
  INSERT INTO attempt (task_id, number, provider, model, key, phase, resubmit, credential, started_at)
    VALUES (v_task.id, v_task.attempt, v_task.provider, v_task.model, v_task.attempt_key, 'preparing',
      coalesce(v_target->>'resubmit', 'never'), v_task.credential, v_now);
  PERFORM task_event_add(v_task, 'status_changed', jsonb_build_object('status', 'PROCESSING', 'previous', 'QUEUED'));
  RETURN NEXT v_task;
END $$;

-- Stores the handle as soon as there is one; the lease goes on.
CREATE FUNCTION task_keep_handle(p_id uuid, p_fence int, p_handle jsonb) RETURNS SETOF task LANGUAGE plpgsql AS $$
DECLARE v_task task;
BEGIN
  SELECT * INTO v_task FROM task WHERE id = p_id AND fence = p_fence AND status = 'PROCESSING' FOR UPDATE;
  IF NOT FOUND THEN RETURN; END IF;
  PERFORM circuit_close(v_task.provider, v_task.credential, v_task.model) FROM attempt WHERE task_id = p_id AND number = v_task.attempt AND phase = 'calling';
  UPDATE attempt SET phase = 'parked', handle = p_handle WHERE task_id = p_id AND number = v_task.attempt;
  -- A job that is found again while an operator is asked is a job like any other.
  IF v_task.needs_review THEN
    -- Its deadline has passed, most likely: then it has until that of the review.
    UPDATE task SET needs_review = false, deadline_at = CASE WHEN started_at + longest_run_ms * interval '1 millisecond' > clock_timestamp()
      THEN started_at + longest_run_ms * interval '1 millisecond' ELSE deadline_at END WHERE id = p_id RETURNING * INTO v_task;
  END IF;
  RETURN NEXT v_task;
END $$;

-- Stores the handle and gives the lease back: the vendor works on, and the poller looks after it. A slot is kept: it says that the work
-- is done in this house.
CREATE OR REPLACE FUNCTION task_park(p_id uuid, p_fence int, p_handle jsonb, p_poll_ms int) RETURNS SETOF task LANGUAGE plpgsql AS $$
DECLARE v_task task;
BEGIN
  UPDATE task SET lease_until = NULL, worker_id = NULL,
    -- Not behind the deadline: the vendor is told to stop then.
    next_poll_at = least(deadline_at, clock_timestamp()
      + CASE WHEN cancel_requested_at IS NULL THEN p_poll_ms ELSE least(p_poll_ms, 5000) END * interval '1 millisecond')
  WHERE id = p_id AND fence = p_fence AND status = 'PROCESSING' RETURNING * INTO v_task;
  IF NOT FOUND THEN RETURN; END IF;
  -- A callback that came while the handle was being polled asks for one more look at once.
  UPDATE task SET next_poll_at = clock_timestamp() WHERE id = p_id
    AND EXISTS (SELECT FROM attempt WHERE task_id = p_id AND number = v_task.attempt AND due_again);
  -- Only the paid call itself says that the vendor is well.
  PERFORM circuit_close(v_task.provider, v_task.credential, v_task.model) FROM attempt WHERE task_id = p_id AND number = v_task.attempt AND phase = 'calling';
  UPDATE attempt SET phase = 'parked', handle = p_handle, due_again = false WHERE task_id = p_id AND number = v_task.attempt;
  RETURN NEXT v_task;
END $$;

-- A paid call whose answer is lost is looked for at the vendor, first in p_first_ms. What is not seen in p_until_ms was not bought.
CREATE FUNCTION task_seek(p_id uuid, p_fence int, p_first_ms int, p_until_ms int) RETURNS SETOF task LANGUAGE plpgsql AS $$
DECLARE v_task task;
BEGIN
  UPDATE task SET lease_until = NULL, worker_id = NULL, next_poll_at = least(deadline_at, clock_timestamp() + p_first_ms * interval '1 millisecond')
  WHERE id = p_id AND fence = p_fence AND status = 'PROCESSING' RETURNING * INTO v_task;
  IF NOT FOUND THEN RETURN; END IF;
  UPDATE task SET next_poll_at = clock_timestamp() WHERE id = p_id
    AND EXISTS (SELECT FROM attempt WHERE task_id = p_id AND number = v_task.attempt AND due_again);
  UPDATE attempt SET phase = 'seeking', due_again = false, seek_until = coalesce(seek_until, clock_timestamp() + p_until_ms * interval '1 millisecond')
    WHERE task_id = p_id AND number = v_task.attempt;
  RETURN NEXT v_task;
END $$;

-- Takes parked handles that are due, under a new lease, for one look each; lag_ms: how late. p_without: providers that have as many as they may.
DROP FUNCTION task_claim_polls(uuid, int, int);
CREATE FUNCTION task_claim_polls(p_worker uuid, p_lease_ms int, p_limit int, p_without text[]) RETURNS TABLE (claimed task, lag_ms float8) LANGUAGE sql AS $$
  WITH due AS (
    SELECT id, next_poll_at FROM task WHERE status = 'PROCESSING' AND next_poll_at <= now() AND provider <> ALL (p_without)
    ORDER BY next_poll_at LIMIT p_limit FOR UPDATE SKIP LOCKED
  ), taken AS (
    UPDATE task t SET fence = fence + 1, worker_id = p_worker, lease_until = clock_timestamp() + p_lease_ms * interval '1 millisecond', next_poll_at = NULL
    FROM due WHERE t.id = due.id
    RETURNING t AS claimed, extract(epoch FROM clock_timestamp() - due.next_poll_at)::float8 * 1000 AS lag_ms
  ), seen AS (
    UPDATE attempt a SET due_again = false FROM taken WHERE a.task_id = (claimed).id AND a.number = (claimed).attempt AND a.due_again
  )
  SELECT claimed, lag_ms FROM taken
$$;

-- Keeps a vendor's call about an attempt, and has it looked at at once, also when its answer was lost and an operator is asked. What it was: kept, known (it came before), late (the attempt is
-- not the task's current one, or has ended, or 20 others were kept).
CREATE FUNCTION callback_keep(p_task uuid, p_attempt int, p_digest text, p_headers jsonb, p_query jsonb, p_body bytea) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
  PERFORM FROM task WHERE id = p_task AND attempt = p_attempt AND status = 'PROCESSING' FOR UPDATE;
  IF NOT FOUND THEN RETURN 'late'; END IF;
  IF (SELECT count(*) FROM provider_callback WHERE task_id = p_task AND attempt = p_attempt) >= 20 THEN RETURN 'late'; END IF;
  INSERT INTO provider_callback (task_id, attempt, digest, headers, query, body) VALUES (p_task, p_attempt, p_digest, p_headers, p_query, p_body) ON CONFLICT DO NOTHING;
  IF NOT FOUND THEN RETURN 'known'; END IF;
  UPDATE attempt SET due_again = true WHERE task_id = p_task AND number = p_attempt;
  UPDATE task SET next_poll_at = clock_timestamp() WHERE id = p_task AND (next_poll_at IS NOT NULL OR (needs_review AND lease_until IS NULL));
  RETURN 'kept';
END $$;

-- A call that failed. p_after failures in a row, it rests for p_rest_ms.
CREATE FUNCTION circuit_fail(p_provider text, p_credential text, p_model text, p_reason text, p_message text, p_after int, p_rest_ms int) RETURNS boolean LANGUAGE sql AS $$
  INSERT INTO circuit AS c (provider, credential, model, failures, reason, message, open_until)
  VALUES (p_provider, p_credential, p_model, 1, p_reason, p_message, CASE WHEN p_after <= 1 THEN clock_timestamp() + p_rest_ms * interval '1 millisecond' END)
  ON CONFLICT (provider, credential, model) DO UPDATE SET failures = c.failures + 1, reason = p_reason, message = p_message, failed_at = clock_timestamp(),
    open_until = CASE WHEN c.failures + 1 >= p_after THEN greatest(c.open_until, clock_timestamp() + p_rest_ms * interval '1 millisecond') ELSE c.open_until END
  RETURNING open_until IS NOT NULL
$$;

-- A call that succeeded: what failed before is over, but a rest that the vendor asked for goes on.
CREATE FUNCTION circuit_close(p_provider text, p_credential text, p_model text) RETURNS void LANGUAGE sql AS $$
  DELETE FROM circuit WHERE provider = p_provider AND credential = p_credential AND model IN ('', p_model) AND (reason <> 'rate_limited' OR open_until <= now())
$$;

-- Back to the backlog. p: delayMs, error (of the attempt), failures (added), targetIndex, resend, anew. A cancelled task is not run again: no row.
CREATE OR REPLACE FUNCTION task_requeue(p_id uuid, p_fence int, p jsonb) RETURNS SETOF task LANGUAGE plpgsql AS $$
DECLARE v_task task;
BEGIN
  UPDATE task SET status = 'QUEUED', slot = false, lease_until = NULL, worker_id = NULL, next_poll_at = NULL, handed_over = false, needs_review = false,
    waits_for = NULL, -- What was sent again stays so until its outcome is known: the first call may have been bought. p.anew: it was not.
    resend = coalesce((p->>'resend')::boolean, false) OR (attempt_key <> id || '-' || attempt AND NOT coalesce((p->>'anew')::boolean, false)),
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
CREATE OR REPLACE FUNCTION task_flag_review(p_id uuid, p_fence int, p_review_ms bigint) RETURNS SETOF task LANGUAGE plpgsql AS $$
DECLARE v_task task;
BEGIN
  UPDATE task SET needs_review = true, slot = false, lease_until = NULL, worker_id = NULL, fence = fence + 1,
    -- A callback that came before may settle it.
    next_poll_at = (SELECT clock_timestamp() FROM attempt a WHERE a.task_id = p_id AND a.number = task.attempt AND (a.due_again
      OR EXISTS (SELECT FROM provider_callback c WHERE c.task_id = p_id AND c.attempt = a.number AND NOT c.applied))),
    last_seq = last_seq + 1,
    deadline_at = clock_timestamp() + p_review_ms * interval '1 millisecond'
  WHERE id = p_id AND fence = p_fence AND status = 'PROCESSING' AND NOT needs_review RETURNING * INTO v_task;
  IF NOT FOUND THEN RETURN; END IF;
  UPDATE attempt SET phase = 'review' WHERE task_id = p_id AND number = v_task.attempt;
  PERFORM task_event_add(v_task, 'logged', jsonb_build_object('level', 'WARN', 'message', 'The answer of the provider was lost; an operator reviews what happened.'));
  RETURN NEXT v_task;
END $$;

-- The end of a task, whatever the end: state, credits, event, webhook in one transaction. No row: it had ended already, the fence
-- has moved on, or it is cancelled and may not complete. p: status, result, error, charge, basis, usage, cost.
CREATE OR REPLACE FUNCTION task_finish(p_id uuid, p_fence int, p jsonb) RETURNS SETOF task LANGUAGE plpgsql AS $$
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
    slot = false, lease_until = NULL, worker_id = NULL, next_poll_at = NULL, handed_over = false, needs_review = false, waits_for = NULL,
    fence = fence + 1, last_seq = last_seq + 1
  WHERE id = p_id RETURNING * INTO v_task;
  UPDATE attempt SET phase = 'ended', ended_at = clock_timestamp(), error = nullif(p->'error', 'null'), usage = nullif(p->'usage', 'null'),
    cost = nullif(p->'cost', 'null')
    WHERE task_id = p_id AND number = v_task.attempt AND ended_at IS NULL;
  PERFORM task_event_add(v_task, 'status_changed', jsonb_build_object('status', v_task.status, 'previous', v_previous));
  DELETE FROM provider_callback WHERE task_id = p_id;
  IF v_task.status = 'COMPLETED' THEN
    PERFORM circuit_close(v_task.provider, v_task.credential, v_task.model);
  END IF;
  -- What earlier attempts left half-made is nobody's, and previews have had their time.
  WITH gone AS (DELETE FROM asset WHERE task_id = p_id AND (attempt < v_task.attempt OR output < 0) RETURNING key)
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
