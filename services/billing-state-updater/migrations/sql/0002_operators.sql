-- What an operator does, on the record. The role `operator` still writes no table: it calls the functions below, which
-- do one recorded thing each (arch/decisions, "Operators act through functions").

CREATE TABLE state.operator_actions (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    login text NOT NULL DEFAULT session_user,
    actor text NOT NULL,
    action text NOT NULL,
    subject text NOT NULL,
    detail text NOT NULL,
    CONSTRAINT operator_actions_named CHECK (actor <> '' AND action <> '' AND subject <> '')
);

ALTER TABLE state.quarantine ADD COLUMN replay_id uuid, ADD COLUMN resolved_by text;

CREATE OR REPLACE VIEW state_api.quarantine_v1 AS
SELECT id, shard, message_id, sender, reason, headers, body, at, resolved_at, resolution, replay_id, resolved_by
FROM state.quarantine;

CREATE FUNCTION state_api.record_operator_action(actor text, action text, subject text, detail text) RETURNS bigint
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    INSERT INTO state.operator_actions (actor, action, subject, detail)
    VALUES (left(actor, 200), left(action, 100), left(subject, 200), left(detail, 4000)) RETURNING id
$$;

-- The new id is fixed before the message is sent: whoever repeats a replay that broke off sends the same id, and the
-- inbox knows it. NULL when there is no such message, or when it is resolved.
CREATE FUNCTION state_api.begin_quarantine_replay(quarantine_id uuid, new_message_id uuid, actor text) RETURNS uuid
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    chosen uuid;
BEGIN
    UPDATE state.quarantine AS q SET replay_id = coalesce(q.replay_id, new_message_id)
        WHERE q.id = quarantine_id AND q.resolved_at IS NULL RETURNING q.replay_id INTO chosen;
    IF chosen IS NOT NULL THEN
        PERFORM state_api.record_operator_action(
            actor, 'quarantine.replay', quarantine_id::text, 'as message ' || chosen::text);
    END IF;
    RETURN chosen;
END
$$;

CREATE FUNCTION state_api.resolve_quarantine(quarantine_id uuid, resolution text, actor text) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    UPDATE state.quarantine AS q
        SET resolved_at = clock_timestamp(), resolution = left(resolve_quarantine.resolution, 1000),
            resolved_by = left(resolve_quarantine.actor, 200)
        WHERE q.id = quarantine_id AND q.resolved_at IS NULL;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    PERFORM state_api.record_operator_action(
        actor, 'quarantine.resolve', quarantine_id::text, resolve_quarantine.resolution);
    RETURN true;
END
$$;

REVOKE ALL ON FUNCTION state_api.record_operator_action(text, text, text, text),
    state_api.begin_quarantine_replay(uuid, uuid, text), state_api.resolve_quarantine(uuid, text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION state_api.record_operator_action(text, text, text, text),
    state_api.begin_quarantine_replay(uuid, uuid, text), state_api.resolve_quarantine(uuid, text, text) TO operator;
GRANT SELECT ON state.operator_actions TO operator;
