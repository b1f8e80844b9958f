-- The writes of a run's life. A worker that advances a run holds its lease, and each of its writes carries the fence: without it
-- they change nothing.
-- Lock order everywhere: configuration, run, task, batch, item, stage, work (those with many rows in the order of their ids), hold, account. Several
-- pipelines have the same items: who changes some has their rows first.
-- AT402 too few credits, AT404 no such project, AT409 idempotency key used with another input, AT410 a batch that waits for no task any more,
-- AT423 a run of this pipeline is live.

-- Stages count what stands where, whoever changes it. RETRIED is counted nowhere: a later round of the same item is.
CREATE FUNCTION work_added() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  PERFORM FROM stage s WHERE EXISTS (SELECT FROM added a WHERE a.configuration_id = s.configuration_id AND a.stage = s.key)
    ORDER BY s.configuration_id, s.key FOR UPDATE;
  UPDATE stage s SET waiting = s.waiting + n.waiting, running = s.running + n.running, done = s.done + n.done, failed = s.failed + n.failed
  FROM (SELECT configuration_id, stage, count(*) FILTER (WHERE state = 'WAITING') AS waiting, count(*) FILTER (WHERE state = 'RUNNING') AS running,
      count(*) FILTER (WHERE state IN ('DONE', 'REJECTED')) AS done, count(*) FILTER (WHERE state = 'FAILED') AS failed
    FROM added GROUP BY 1, 2) n
  WHERE s.configuration_id = n.configuration_id AND s.key = n.stage;
  RETURN NULL;
END $$;
CREATE TRIGGER work_added AFTER INSERT ON work REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION work_added();

CREATE FUNCTION work_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  PERFORM FROM stage s WHERE EXISTS (SELECT FROM added a WHERE a.configuration_id = s.configuration_id AND a.stage = s.key)
    ORDER BY s.configuration_id, s.key FOR UPDATE;
  UPDATE stage s SET waiting = s.waiting + n.waiting, running = s.running + n.running, done = s.done + n.done, failed = s.failed + n.failed
  FROM (SELECT configuration_id, stage, sum(sign) FILTER (WHERE state = 'WAITING') AS waiting, sum(sign) FILTER (WHERE state = 'RUNNING') AS running,
      sum(sign) FILTER (WHERE state IN ('DONE', 'REJECTED')) AS done, sum(sign) FILTER (WHERE state = 'FAILED') AS failed
    FROM (SELECT configuration_id, stage, state, 1 AS sign FROM added UNION ALL SELECT configuration_id, stage, state, -1 FROM gone) both_sides
    GROUP BY 1, 2) counted
    CROSS JOIN LATERAL (SELECT coalesce(counted.waiting, 0) AS waiting, coalesce(counted.running, 0) AS running, coalesce(counted.done, 0) AS done,
      coalesce(counted.failed, 0) AS failed, counted.configuration_id, counted.stage) n
  WHERE s.configuration_id = n.configuration_id AND s.key = n.stage;
  RETURN NULL;
END $$;
CREATE TRIGGER work_changed AFTER UPDATE ON work REFERENCING NEW TABLE AS added OLD TABLE AS gone FOR EACH STATEMENT EXECUTE FUNCTION work_changed();

-- Events of a run, numbered without gaps. The caller has the run's row locked. p_events: [{ kind, data }].
CREATE FUNCTION run_events_add(p_run uuid, p_events jsonb) RETURNS void LANGUAGE plpgsql AS $$
DECLARE v_last int;
BEGIN
  IF jsonb_array_length(p_events) = 0 THEN RETURN; END IF;
  UPDATE run SET last_seq = last_seq + jsonb_array_length(p_events) WHERE id = p_run RETURNING last_seq INTO v_last;
  INSERT INTO run_event (run_id, seq, kind, at, data)
    SELECT p_run, v_last - jsonb_array_length(p_events) + e.place, e.value->>'kind', clock_timestamp(), e.value->'data'
    FROM jsonb_array_elements(p_events) WITH ORDINALITY AS e(value, place);
END $$;

CREATE FUNCTION run_stage_event(p_run run, p_stage text) RETURNS jsonb LANGUAGE sql STABLE AS $$
  SELECT jsonb_build_object('kind', 'stage_progressed', 'data', jsonb_build_object('key', sr.key, 'status', sr.status, 'waiting', coalesce(sr.waiting, s.waiting, 0),
    'running', sr.running, 'done', sr.done, 'failed', sr.failed, 'startedAt', sr.started_at, 'completedAt', sr.completed_at))
  FROM stage_run sr LEFT JOIN stage s ON s.configuration_id = p_run.configuration_id AND s.key = sr.key
  WHERE sr.run_id = p_run.id AND sr.key = p_stage
$$;

-- What an item is, by all that it waits for, is worked on at and has been through, in all pipelines of its project.
CREATE FUNCTION items_show(p_items uuid[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  PERFORM FROM item WHERE id = ANY (p_items) ORDER BY id FOR UPDATE;
  UPDATE item SET state = shown.state FROM (
    SELECT item_id, CASE WHEN bool_or(newest.state = 'RUNNING') THEN 'RUNNING' WHEN bool_or(newest.state = 'WAITING') THEN 'WAITING'
      WHEN bool_or(newest.state = 'FAILED') THEN 'FAILED' WHEN bool_or(newest.state = 'REJECTED') THEN 'REJECTED' ELSE 'DONE' END AS state
    FROM (SELECT DISTINCT ON (item_id, configuration_id, stage) item_id, work.state FROM work WHERE item_id = ANY (p_items)
      ORDER BY item_id, configuration_id, stage, round DESC) newest GROUP BY 1) shown
  WHERE item.id = shown.item_id AND item.state <> shown.state;
END $$;

-- Makes the stages of a configuration what a definition says: p_stages = [{ key, input, inlet }], first to last. What is in the project goes in at its
-- inlet, unless it has been in this pipeline before. What waits at a stage that is gone, or that takes another kind by now, waits at the first stage that
-- takes it and has not had it. While a run is live nothing moves: it keeps the version that it began with.
CREATE FUNCTION configuration_stages(p_configuration uuid, p_stages jsonb) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  v_project uuid;
  v_changed text[];
  v_added uuid[];
BEGIN
  SELECT project_id INTO v_project FROM pipeline_configuration WHERE id = p_configuration FOR NO KEY UPDATE;
  INSERT INTO stage (configuration_id, key) SELECT p_configuration, e->>'key' FROM jsonb_array_elements(p_stages) e ORDER BY 2 ON CONFLICT DO NOTHING;
  PERFORM FROM run WHERE configuration_id = p_configuration AND status NOT IN ('COMPLETED', 'FAILED', 'CANCELLED');
  IF FOUND THEN RETURN; END IF;
  SELECT array_agg(s.key) INTO v_changed FROM stage s LEFT JOIN jsonb_to_recordset(p_stages) AS d(key text, input text, inlet text) USING (key)
    WHERE s.configuration_id = p_configuration AND (s.input, s.inlet) IS DISTINCT FROM (d.input, d.inlet);
  IF v_changed IS NULL THEN RETURN; END IF;
  -- Nothing is added meanwhile, or it would be missed; who adds has this before he has any stage.
  PERFORM pg_advisory_xact_lock(hashtextextended('items of ' || v_project, 0));
  UPDATE stage s SET input = d.input, inlet = d.inlet
    FROM unnest(v_changed) AS c(key) LEFT JOIN jsonb_to_recordset(p_stages) AS d(key text, input text, inlet text) USING (key)
    WHERE s.configuration_id = p_configuration AND s.key = c.key;
  -- Of one that waits at several, the others are counted nowhere from now on.
  UPDATE work w SET stage = CASE WHEN moved.place = 1 THEN moved.target ELSE w.stage END, round = CASE WHEN moved.place = 1 THEN 1 ELSE w.round END,
    state = CASE WHEN moved.place = 1 THEN 'WAITING' ELSE 'RETRIED' END
  FROM (
    SELECT w.item_id, w.stage, w.round, t.target, row_number() OVER (PARTITION BY w.item_id ORDER BY w.stage, w.round DESC) AS place
    FROM work w JOIN stage s ON s.configuration_id = w.configuration_id AND s.key = w.stage JOIN item i ON i.id = w.item_id
    CROSS JOIN LATERAL (
      SELECT e.value->>'key' AS target FROM jsonb_array_elements(p_stages) WITH ORDINALITY AS e(value, place)
      WHERE e.value->>'input' = i.kind
        AND NOT EXISTS (SELECT FROM work o WHERE o.item_id = i.id AND o.configuration_id = p_configuration AND o.stage = e.value->>'key')
      ORDER BY e.place LIMIT 1) t
    WHERE w.configuration_id = p_configuration AND (w.stage = ANY (v_changed) OR s.input IS NULL) AND w.state = 'WAITING' AND i.kind IS DISTINCT FROM s.input
  ) moved
  WHERE w.item_id = moved.item_id AND w.configuration_id = p_configuration AND w.stage = moved.stage AND w.round = moved.round;
  WITH added AS (
    INSERT INTO work (item_id, configuration_id, stage)
      SELECT i.id, p_configuration, s.key FROM stage s JOIN item i ON i.project_id = v_project AND i.kind = s.inlet AND i.digest IS NOT NULL
      WHERE s.configuration_id = p_configuration AND NOT EXISTS (SELECT FROM work o WHERE o.item_id = i.id AND o.configuration_id = p_configuration)
      ORDER BY i.id RETURNING item_id
  )
  SELECT array_agg(item_id) INTO v_added FROM added;
  PERFORM items_show(v_added);
END $$;

-- Adds items that are not there yet, and puts them into the inlets of the project's pipelines. p_items = [{ digest, data }].
CREATE FUNCTION items_add(p_account uuid, p_project uuid, p_kind text, p_items jsonb) RETURNS int LANGUAGE plpgsql AS $$
DECLARE v_added int;
BEGIN
  PERFORM FROM project WHERE id = p_project AND account_id = p_account;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'no such project' USING ERRCODE = 'AT404';
  END IF;
  PERFORM pg_advisory_xact_lock_shared(hashtextextended('items of ' || p_project, 0));
  -- A run that is live has more to do. Its row comes before those of its items.
  UPDATE run SET due_at = clock_timestamp() WHERE id IN (
    SELECT r.id FROM run r JOIN stage s ON s.configuration_id = r.configuration_id AND s.inlet = p_kind
    WHERE r.project_id = p_project AND r.status NOT IN ('COMPLETED', 'FAILED', 'CANCELLED') ORDER BY r.id FOR UPDATE OF r);
  -- Their ids are in the order in which they were given, which is that in which stages take them; written they are in the order of their digests, so that
  -- two who add the same ones do not wait for each other.
  WITH given AS MATERIALIZED (
    SELECT uuid_v7() AS id, e.value->'data' AS data, e.value->>'digest' AS digest
    FROM jsonb_array_elements(p_items) WITH ORDINALITY AS e(value, place) ORDER BY e.place
  ), made AS (
    INSERT INTO item (id, account_id, project_id, kind, data, digest)
      SELECT given.id, p_account, p_project, p_kind, given.data, given.digest FROM given ORDER BY given.digest
      ON CONFLICT (project_id, kind, digest) DO NOTHING RETURNING id
  ), put AS (
    INSERT INTO work (item_id, configuration_id, stage)
      SELECT made.id, s.configuration_id, s.key FROM made
      JOIN pipeline_configuration c ON c.project_id = p_project JOIN stage s ON s.configuration_id = c.id AND s.inlet = p_kind
  )
  SELECT count(*) INTO v_added FROM made;
  RETURN v_added;
END $$;

-- Starts a run: its hold, its stages, what its input brings, in one transaction.
CREATE FUNCTION run_start(p jsonb) RETURNS TABLE (replayed boolean, made run) LANGUAGE plpgsql AS $$
DECLARE
  v_account uuid := (p->>'accountId')::uuid;
  v_configuration uuid := (p->>'configurationId')::uuid;
  v_run run;
  v_live uuid;
  v_hold uuid;
  v_again uuid[];
BEGIN
  PERFORM FROM project WHERE id = (p->>'projectId')::uuid AND account_id = v_account;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'no such project' USING ERRCODE = 'AT404';
  END IF;
  -- Starts of one pipeline in one project wait for each other here.
  PERFORM FROM pipeline_configuration WHERE id = v_configuration FOR NO KEY UPDATE;
  IF p->>'idempotencyKey' IS NOT NULL THEN
    PERFORM pg_advisory_xact_lock(hashtextextended('run ' || v_account || ' ' || (p->>'idempotencyKey'), 0));
    SELECT * INTO v_run FROM run WHERE account_id = v_account AND idempotency_key = p->>'idempotencyKey';
    IF FOUND THEN
      IF v_run.input_hash <> p->>'inputHash' THEN
        RAISE EXCEPTION 'idempotency key used with another input' USING ERRCODE = 'AT409', DETAIL = v_run.id;
      END IF;
      RETURN QUERY SELECT true, v_run;
      RETURN;
    END IF;
  END IF;
  SELECT id INTO v_live FROM run WHERE configuration_id = v_configuration AND status NOT IN ('COMPLETED', 'FAILED', 'CANCELLED');
  IF FOUND THEN
    RAISE EXCEPTION 'a run is live' USING ERRCODE = 'AT423', DETAIL = v_live;
  END IF;
  -- A scheduled start is made once, whoever comes for it. No row: another has made it.
  IF p->>'trigger' = 'SCHEDULED' THEN
    UPDATE pipeline_configuration SET queued = false WHERE id = v_configuration AND queued;
    IF NOT FOUND THEN RETURN; END IF;
  END IF;
  PERFORM configuration_stages(v_configuration, p->'stages');
  INSERT INTO run (account_id, project_id, configuration_id, pipeline_id, trigger, input, callback_url, idempotency_key, input_hash, from_stage, estimated)
    VALUES (v_account, (p->>'projectId')::uuid, v_configuration, (p->>'pipelineId')::uuid, p->>'trigger', nullif(p->'input', 'null'), p->>'callbackUrl',
      p->>'idempotencyKey', p->>'inputHash', p->>'fromStage', (p->>'estimated')::bigint)
    RETURNING * INTO v_run;
  INSERT INTO stage_run (run_id, key, position, status) SELECT v_run.id, e.value->>'key', e.place, e.value->>'status'
    FROM jsonb_array_elements(p->'stages') WITH ORDINALITY AS e(value, place);
  PERFORM items_add(v_account, v_run.project_id, e->>'kind', jsonb_build_array(e)) FROM jsonb_array_elements(p->'items') e;
  -- What failed in an earlier run is taken again, in its next round.
  IF p->>'rerunOf' IS NOT NULL THEN
    v_again := ARRAY(SELECT w.item_id FROM batch b JOIN work w ON w.batch_id = b.id WHERE b.run_id = (p->>'rerunOf')::uuid AND w.state = 'FAILED');
    PERFORM FROM item WHERE id = ANY (v_again) ORDER BY id FOR UPDATE;
    WITH failed AS (
      UPDATE work w SET state = 'RETRIED' FROM batch b
      WHERE b.id = w.batch_id AND b.run_id = (p->>'rerunOf')::uuid AND w.state = 'FAILED' AND w.configuration_id = v_configuration
        AND w.stage IN (SELECT e->>'key' FROM jsonb_array_elements(p->'stages') e WHERE e->>'status' = 'PENDING')
      RETURNING w.item_id, w.stage, w.round, w.note, w.sent_back
    )
    INSERT INTO work (item_id, configuration_id, stage, round, note, sent_back)
      SELECT item_id, v_configuration, stage, round + 1, note, sent_back FROM failed ON CONFLICT DO NOTHING;
    PERFORM items_show(v_again);
  END IF;
  SELECT h.id INTO v_hold FROM hold_add(v_account, v_run.id, (p->>'held')::bigint) h;
  UPDATE run SET hold_id = v_hold WHERE id = v_run.id;
  PERFORM run_events_add(v_run.id, '[{"kind": "status_changed", "data": {"status": "RUNNING", "reason": null}}]');
  SELECT * INTO v_run FROM run WHERE id = v_run.id;
  RETURN QUERY SELECT false, v_run;
END $$;

-- A scheduled start that is refused is owed no more; a run that FAILED at once tells of it. p_next: the date after it, as it was read.
CREATE FUNCTION run_refused(p_configuration uuid, p_pipeline uuid, p_next timestamptz, p_error jsonb) RETURNS SETOF run LANGUAGE plpgsql AS $$
DECLARE v_run run;
BEGIN
  UPDATE pipeline_configuration SET queued = false WHERE id = p_configuration AND queued AND next_run_at IS NOT DISTINCT FROM p_next;
  IF NOT FOUND THEN RETURN; END IF;
  INSERT INTO run (account_id, project_id, configuration_id, pipeline_id, status, reason, trigger, estimated, error, due_at, completed_at)
    SELECT account_id, project_id, id, p_pipeline, 'FAILED', p_error->>'code', 'SCHEDULED', 0, p_error, NULL, clock_timestamp()
    FROM pipeline_configuration WHERE id = p_configuration RETURNING * INTO v_run;
  PERFORM run_events_add(v_run.id,
    jsonb_build_array(jsonb_build_object('kind', 'status_changed', 'data', jsonb_build_object('status', 'FAILED', 'reason', v_run.reason))));
  RETURN NEXT v_run;
END $$;

-- Runs that have something to do, each under a lease.
CREATE FUNCTION run_claim(p_lease_ms int, p_limit int) RETURNS SETOF run LANGUAGE sql AS $$
  UPDATE run SET lease_until = clock_timestamp() + p_lease_ms * interval '1 millisecond', fence = fence + 1, due_at = NULL
  WHERE id IN (
    SELECT r.id FROM run r
    WHERE r.status NOT IN ('COMPLETED', 'FAILED', 'CANCELLED') AND (r.lease_until IS NULL OR r.lease_until < now())
      AND r.reason IS DISTINCT FROM 'WENT_WRONG' AND (r.rests_until IS NULL OR r.rests_until <= now())
      AND (r.due_at <= now() OR r.lease_until IS NOT NULL OR EXISTS (SELECT FROM batch b WHERE b.run_id = r.id AND b.due_at <= now()))
    ORDER BY r.due_at LIMIT p_limit FOR UPDATE SKIP LOCKED)
  RETURNING *
$$;

-- Locks a run for its worker. No row: another has it, or it has ended.
CREATE FUNCTION run_held(p_run uuid, p_fence int) RETURNS SETOF run LANGUAGE sql AS $$
  SELECT * FROM run WHERE id = p_run AND fence = p_fence AND lease_until IS NOT NULL FOR UPDATE
$$;

-- Takes what waits at a stage into new batches of at most p_size items.
CREATE FUNCTION run_take(p_run uuid, p_fence int, p_stage text, p_size int, p_batches int) RETURNS SETOF uuid LANGUAGE plpgsql AS $$
DECLARE
  v_run run;
  v_items uuid[];
BEGIN
  SELECT * INTO v_run FROM run_held(p_run, p_fence);
  IF NOT FOUND OR v_run.status <> 'RUNNING' THEN RETURN; END IF;
  v_items := ARRAY(SELECT item_id FROM work WHERE configuration_id = v_run.configuration_id AND stage = p_stage AND state = 'WAITING'
    ORDER BY item_id LIMIT p_size * p_batches);
  PERFORM FROM item WHERE id = ANY (v_items) ORDER BY id FOR UPDATE;
  RETURN QUERY
  WITH picked AS MATERIALIZED (
    SELECT w.item_id, w.round, (row_number() OVER (ORDER BY w.item_id) - 1) / p_size AS n
    FROM work w WHERE w.item_id = ANY (v_items) AND w.configuration_id = v_run.configuration_id AND w.stage = p_stage AND w.state = 'WAITING'
  ), numbered AS MATERIALIZED (
    SELECT n, uuid_v7() AS id FROM (SELECT DISTINCT n FROM picked ORDER BY n) d
  ), made AS (
    INSERT INTO batch (id, run_id, stage) SELECT numbered.id, p_run, p_stage FROM numbered ORDER BY n
  ), taken AS (
    UPDATE work w SET state = 'RUNNING', batch_id = numbered.id FROM picked JOIN numbered USING (n)
    WHERE w.item_id = picked.item_id AND w.configuration_id = v_run.configuration_id AND w.stage = p_stage AND w.round = picked.round RETURNING w.item_id
  ), shown AS (
    UPDATE item SET state = 'RUNNING' FROM taken WHERE item.id = taken.item_id
  ), counted AS (
    UPDATE stage_run SET running = running + (SELECT count(*) FROM picked) WHERE run_id = p_run AND key = p_stage
  )
  SELECT numbered.id FROM numbered ORDER BY n;
END $$;

-- What batches begin with: p = [{ batch, state, agent, passages, dueAt }]. A review may be decided already: its batch is due then, and stays so.
CREATE FUNCTION run_begun(p_run uuid, p_fence int, p jsonb) RETURNS SETOF run LANGUAGE plpgsql AS $$
DECLARE v_run run;
BEGIN
  SELECT * INTO v_run FROM run_held(p_run, p_fence);
  IF NOT FOUND THEN RETURN; END IF;
  UPDATE batch b SET state = s.state, agent = s.agent, passages = s.passages, due_at = coalesce(b.due_at, s."dueAt")
  FROM jsonb_to_recordset(p) AS s(batch uuid, state text, agent jsonb, passages jsonb, "dueAt" timestamptz)
  WHERE b.id = s.batch AND b.run_id = p_run AND b.state = 'STARTING';
  RETURN NEXT v_run;
END $$;

-- A task that draws on a run's hold is its batch's from its first moment: its idempotency key is `batch:` with the batch's id.
CREATE FUNCTION task_drawn() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE v_batch uuid;
BEGIN
  SELECT substr(key, 7)::uuid INTO v_batch FROM idempotency_key WHERE task_id = NEW.id AND key LIKE 'batch:%';
  IF NOT FOUND THEN RETURN NULL; END IF;
  UPDATE batch SET state = 'RUNNING', task_id = NEW.id WHERE id = v_batch AND state = 'STARTING';
  IF NOT FOUND THEN
    RAISE EXCEPTION 'the batch waits for no task any more' USING ERRCODE = 'AT410';
  END IF;
  RETURN NULL;
END $$;
CREATE TRIGGER task_drawn AFTER INSERT ON task FOR EACH ROW WHEN (NEW.hold_id IS NOT NULL) EXECUTE FUNCTION task_drawn();

-- A task that draws on a run's hold has ended: its batch is due.
CREATE FUNCTION task_drawn_ended() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  UPDATE batch SET due_at = clock_timestamp() WHERE task_id = NEW.id AND state = 'RUNNING';
  RETURN NULL;
END $$;
CREATE TRIGGER task_drawn_ended AFTER UPDATE OF status ON task FOR EACH ROW
  WHEN (NEW.hold_id IS NOT NULL AND NEW.status IN ('COMPLETED', 'FAILED', 'CANCELLED', 'EXPIRED') AND OLD.status <> NEW.status)
  EXECUTE FUNCTION task_drawn_ended();

-- What became of batches, each once: p = [{ batch, state, error, items: [{ id, state, data, next }], outputs: [{ kind, data, origin, assets, next }],
-- back: [{ item, stage, note }] }]. items.state: of its work here; next: the stages that it, or the output, goes on to.
CREATE FUNCTION run_settle(p_run uuid, p_fence int, p jsonb) RETURNS SETOF run LANGUAGE plpgsql AS $$
DECLARE
  v_run run;
  v_settled uuid[];
  v_stages text[];
  v_items uuid[];
  v_events jsonb;
BEGIN
  SELECT * INTO v_run FROM run_held(p_run, p_fence);
  IF NOT FOUND THEN RETURN; END IF;
  WITH settled AS (
    UPDATE batch b SET state = s.state, error = nullif(s.error, 'null'), due_at = NULL, ended_at = clock_timestamp()
    FROM jsonb_to_recordset(p) AS s(batch uuid, state text, error jsonb)
    WHERE b.id = s.batch AND b.run_id = p_run AND b.state IN ('STARTING', 'RUNNING') RETURNING b.id
  )
  SELECT coalesce(array_agg(id), '{}') INTO v_settled FROM settled;
  IF v_settled = '{}' THEN
    RETURN NEXT v_run;
    RETURN;
  END IF;
  v_items := ARRAY(SELECT w.item_id FROM work w WHERE w.batch_id = ANY (v_settled)
    UNION SELECT k.item FROM jsonb_to_recordset(p) AS s(batch uuid, back jsonb) CROSS JOIN LATERAL jsonb_to_recordset(coalesce(s.back, '[]')) AS k(item uuid)
      WHERE s.batch = ANY (v_settled));
  PERFORM FROM item WHERE id = ANY (v_items) ORDER BY id FOR UPDATE;
  PERFORM FROM stage WHERE configuration_id = v_run.configuration_id ORDER BY key FOR UPDATE;

  WITH settling AS MATERIALIZED (
    SELECT s.batch, b.stage, i.id AS item, w.round, i.state, nullif(i.data, 'null') AS data, coalesce(i.next, '[]') AS next
    FROM jsonb_to_recordset(p) AS s(batch uuid, items jsonb) JOIN batch b ON b.id = s.batch
    CROSS JOIN LATERAL jsonb_to_recordset(s.items) AS i(id uuid, state text, data jsonb, next jsonb)
    JOIN work w ON w.item_id = i.id AND w.batch_id = s.batch
    WHERE s.batch = ANY (v_settled) ORDER BY i.id
  ), edited AS (
    UPDATE item SET data = s.data FROM settling s WHERE item.id = s.item AND s.data IS NOT NULL
  ), ended AS (
    UPDATE work w SET state = s.state, batch_id = CASE WHEN s.state = 'WAITING' THEN NULL ELSE w.batch_id END
    FROM settling s WHERE w.item_id = s.item AND w.batch_id = s.batch AND w.configuration_id = v_run.configuration_id AND w.stage = s.stage AND w.state = 'RUNNING'
  ), passed AS (
    -- What was sent back goes once more through the stages behind, each time in its next round there.
    INSERT INTO work (item_id, configuration_id, stage, round)
      SELECT s.item, v_run.configuration_id, n.stage, coalesce(earlier.round, 0) + 1
      FROM settling s CROSS JOIN LATERAL jsonb_array_elements_text(s.next) AS n(stage)
      LEFT JOIN LATERAL (SELECT round, state FROM work w
        WHERE w.item_id = s.item AND w.configuration_id = v_run.configuration_id AND w.stage = n.stage ORDER BY round DESC LIMIT 1) earlier ON true
      WHERE earlier.round IS NULL OR (s.round > 1 AND earlier.state NOT IN ('WAITING', 'RUNNING'))
  ), former AS (
    UPDATE work w SET state = 'RETRIED' FROM settling s CROSS JOIN LATERAL jsonb_array_elements_text(s.next) AS n(stage)
    WHERE s.round > 1 AND w.item_id = s.item AND w.configuration_id = v_run.configuration_id AND w.stage = n.stage AND w.state NOT IN ('WAITING', 'RUNNING', 'RETRIED')
  ), counted AS (
    UPDATE stage_run sr SET running = sr.running - n.items, done = sr.done + n.done, failed = sr.failed + n.failed
    FROM (SELECT stage, count(*) AS items, count(*) FILTER (WHERE state IN ('DONE', 'REJECTED')) AS done, count(*) FILTER (WHERE state = 'FAILED') AS failed
      FROM settling GROUP BY stage) n
    WHERE sr.run_id = p_run AND sr.key = n.stage
  ), failing AS (
    UPDATE run SET failures = failures + (SELECT count(*) FROM settling WHERE state = 'FAILED') WHERE id = p_run
  )
  SELECT coalesce(jsonb_agg(jsonb_build_object('kind', 'item_finished', 'data', jsonb_build_object('stageKey', stage, 'itemId', item, 'state', state)) ORDER BY item)
    FILTER (WHERE state IN ('DONE', 'REJECTED', 'FAILED')), '[]'), array_agg(DISTINCT stage) INTO v_events, v_stages FROM settling;

  WITH made AS (
    INSERT INTO item (account_id, project_id, kind, state, data, origin, batch_id, place, task_id, asset_ids)
      SELECT v_run.account_id, v_run.project_id, o.value->>'kind', CASE WHEN jsonb_array_length(o.value->'next') = 0 THEN 'DONE' ELSE 'WAITING' END,
        o.value->'data', ARRAY(SELECT jsonb_array_elements_text(o.value->'origin'))::uuid[], s.batch, o.place, b.task_id,
        ARRAY(SELECT jsonb_array_elements_text(o.value->'assets'))::uuid[]
      FROM jsonb_to_recordset(p) AS s(batch uuid, outputs jsonb) JOIN batch b ON b.id = s.batch
      CROSS JOIN LATERAL jsonb_array_elements(s.outputs) WITH ORDINALITY AS o(value, place)
      WHERE s.batch = ANY (v_settled)
      ON CONFLICT (batch_id, place) DO NOTHING RETURNING id, batch_id, place
  )
  INSERT INTO work (item_id, configuration_id, stage)
    SELECT made.id, v_run.configuration_id, n.stage FROM made
    JOIN jsonb_to_recordset(p) AS s(batch uuid, outputs jsonb) ON s.batch = made.batch_id
    CROSS JOIN LATERAL jsonb_array_elements_text(s.outputs->(made.place - 1)->'next') AS n(stage);

  -- Sent back: the stage does it again, in the item's next round there.
  WITH sent AS (
    SELECT k.item, k.stage, k.note FROM jsonb_to_recordset(p) AS s(batch uuid, back jsonb)
    CROSS JOIN LATERAL jsonb_to_recordset(coalesce(s.back, '[]')) AS k(item uuid, stage text, note text) WHERE s.batch = ANY (v_settled)
  ), earlier AS (
    UPDATE work w SET state = 'RETRIED' FROM sent
    WHERE w.item_id = sent.item AND w.configuration_id = v_run.configuration_id AND w.stage = sent.stage AND w.state IN ('DONE', 'FAILED')
    RETURNING w.item_id, w.stage, w.round, sent.note, w.sent_back
  )
  INSERT INTO work (item_id, configuration_id, stage, round, note, sent_back)
    SELECT item_id, v_run.configuration_id, stage, round + 1, note, sent_back + 1 FROM earlier ON CONFLICT DO NOTHING;
  PERFORM items_show(v_items);

  SELECT v_events || coalesce(jsonb_agg(run_stage_event(v_run, stage)), '[]') INTO v_events FROM unnest(v_stages) AS stages(stage);
  PERFORM run_events_add(p_run, v_events);
  RETURN QUERY SELECT * FROM run WHERE id = p_run;
END $$;

-- The end of a worker's turn at a run, or a change of its stages. p: { status, reason, refused, error, stage: { key, status, nextMs },
-- log: [{ level, stage, message }], dueMs, release }. Only from one of `from`, where that is given. An ended run gives the rest of its hold back.
CREATE FUNCTION run_turn(p_run uuid, p_fence int, p jsonb) RETURNS SETOF run LANGUAGE plpgsql AS $$
DECLARE
  v_run run;
  v_events jsonb := '[]';
  v_ends boolean := coalesce(p->>'status' IN ('COMPLETED', 'FAILED', 'CANCELLED'), false);
BEGIN
  SELECT * INTO v_run FROM run_held(p_run, p_fence);
  IF NOT FOUND OR (p ? 'from' AND NOT p->'from' ? v_run.status) THEN RETURN; END IF;
  IF p ? 'stage' THEN
    UPDATE stage_run SET status = coalesce(p->'stage'->>'status', status),
      next_at = clock_timestamp() + (p->'stage'->>'nextMs')::int * interval '1 millisecond',
      started_at = CASE WHEN p->'stage'->>'status' = 'RUNNING' THEN coalesce(started_at, clock_timestamp()) ELSE started_at END,
      completed_at = CASE WHEN p->'stage'->>'status' IN ('COMPLETED', 'FAILED') THEN clock_timestamp() END
      WHERE run_id = p_run AND key = p->'stage'->>'key';
    IF p->'stage' ? 'status' THEN
      v_events := v_events || run_stage_event(v_run, p->'stage'->>'key');
    END IF;
  END IF;
  IF v_ends THEN
    UPDATE stage_run sr SET waiting = s.waiting, status = CASE WHEN sr.status = 'RUNNING' AND p->>'status' = 'FAILED' THEN 'FAILED'
          WHEN sr.status = 'RUNNING' THEN 'COMPLETED' WHEN sr.status = 'PENDING' THEN 'SKIPPED' ELSE sr.status END,
        completed_at = CASE WHEN sr.status = 'RUNNING' THEN clock_timestamp() ELSE sr.completed_at END
      FROM stage s WHERE sr.run_id = p_run AND s.configuration_id = v_run.configuration_id AND s.key = sr.key;
    PERFORM hold_close(v_run.hold_id);
  END IF;
  UPDATE run SET status = coalesce(p->>'status', status), reason = CASE WHEN p ? 'status' THEN p->>'reason' ELSE reason END,
    refused = coalesce((p->>'refused')::bigint, refused), error = coalesce(nullif(p->'error', 'null'), error),
    current_stage = coalesce(p->'stage'->>'key', current_stage),
    paused_at = CASE WHEN p->>'status' = 'PAUSED' THEN clock_timestamp() WHEN p->>'status' = 'RUNNING' THEN NULL ELSE paused_at END,
    cancelled_at = CASE WHEN p->>'status' = 'CANCELLED' THEN clock_timestamp() ELSE cancelled_at END,
    completed_at = CASE WHEN v_ends THEN clock_timestamp() END,
    due_at = CASE WHEN p ? 'dueMs' THEN least(due_at, clock_timestamp() + (p->>'dueMs')::int * interval '1 millisecond') ELSE due_at END,
    lease_until = CASE WHEN v_ends OR (p->>'release')::boolean THEN NULL ELSE lease_until END,
    wrong_turns = CASE WHEN (p->>'release')::boolean THEN 0 ELSE wrong_turns END
  WHERE id = p_run RETURNING * INTO v_run;
  SELECT v_events || coalesce(jsonb_agg(jsonb_build_object('kind', 'logged', 'data', e)), '[]') INTO v_events FROM jsonb_array_elements(coalesce(p->'log', '[]')) e;
  IF p ? 'status' THEN
    v_events := v_events || jsonb_build_object('kind', 'status_changed', 'data', jsonb_build_object('status', v_run.status, 'reason', v_run.reason));
  END IF;
  PERFORM run_events_add(p_run, v_events);
  RETURN QUERY SELECT * FROM run WHERE id = p_run;
END $$;

-- A turn went wrong: the run rests, each time for longer. Where nobody can say how it would go on, somebody has to look.
CREATE FUNCTION run_went_wrong(p_run uuid, p_fence int, p_most int, p_log jsonb) RETURNS SETOF run LANGUAGE plpgsql AS $$
DECLARE v_run run;
BEGIN
  SELECT * INTO v_run FROM run_held(p_run, p_fence);
  IF NOT FOUND THEN RETURN; END IF;
  IF v_run.wrong_turns + 1 >= p_most AND v_run.status IN ('RUNNING', 'WAITING_FOR_REVIEW', 'PAUSING') THEN
    RETURN QUERY SELECT * FROM run_turn(p_run, p_fence,
      jsonb_build_object('status', 'PAUSED', 'reason', 'WENT_WRONG', 'log', jsonb_build_array(p_log), 'release', true));
  ELSE
    RETURN QUERY UPDATE run SET wrong_turns = wrong_turns + 1, due_at = clock_timestamp(), lease_until = NULL,
      rests_until = clock_timestamp() + power(2, least(wrong_turns, 6)) * interval '1 second' WHERE id = p_run RETURNING *;
  END IF;
END $$;

-- What a person asks of a run: p_status = PAUSING, RUNNING or CANCELLING, from one of p_from. p_credits are added to its hold. No row: it stands elsewhere.
CREATE FUNCTION run_command(p_run uuid, p_status text, p_from text[], p_children text, p_credits bigint) RETURNS SETOF run LANGUAGE plpgsql AS $$
DECLARE v_run run;
BEGIN
  SELECT * INTO v_run FROM run WHERE id = p_run FOR UPDATE;
  IF NOT FOUND OR v_run.status <> ALL (p_from) THEN RETURN; END IF;
  IF p_credits > 0 THEN
    PERFORM hold_add(v_run.account_id, p_run, p_credits);
  END IF;
  UPDATE run SET status = p_status, reason = NULL, refused = NULL, children_policy = coalesce(p_children, children_policy), due_at = clock_timestamp(),
    wrong_turns = 0, rests_until = NULL,
    paused_at = CASE WHEN p_status = 'RUNNING' THEN NULL ELSE paused_at END WHERE id = p_run;
  PERFORM run_events_add(p_run, jsonb_build_array(jsonb_build_object('kind', 'status_changed', 'data', jsonb_build_object('status', p_status, 'reason', NULL))));
  RETURN QUERY SELECT * FROM run WHERE id = p_run;
END $$;

-- Who gave a callbackUrl hears where the run stands.
CREATE FUNCTION run_told() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO webhook_delivery (account_id, run_id, sequence, url, type, next_attempt_at)
    SELECT account_id, id, NEW.seq, callback_url, 'run.' || lower(NEW.data->>'status'), clock_timestamp() FROM run WHERE id = NEW.run_id AND callback_url IS NOT NULL;
  RETURN NULL;
END $$;
CREATE TRIGGER run_told AFTER INSERT ON run_event FOR EACH ROW
  WHEN (NEW.kind = 'status_changed' AND NEW.data->>'status' IN ('PAUSED', 'WAITING_FOR_REVIEW', 'COMPLETED', 'FAILED', 'CANCELLED'))
  EXECUTE FUNCTION run_told();
