"""The updater makes coming partitions itself, and drops those of inbox and outbox that nothing can ask for again.

Revision ID: 0004
Revises: 0003
"""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

# Chains and transfers are never dropped here. An outbox partition goes only when every row of it was confirmed.
_MAINTAIN = """
CREATE FUNCTION state.maintain_partitions(months integer, weeks integer, kept_days integer) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '2s' AS $$
DECLARE
    changed integer;
    part record;
    pending boolean;
BEGIN
    IF months < 1 OR weeks < 1 OR kept_days < 14 THEN
        RAISE EXCEPTION 'at least a month, a week and 14 days are kept' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    changed := state.make_partitions((now() AT TIME ZONE 'UTC')::date, months, weeks);
    FOR part IN
        SELECT child.relname AS name, parent.relname AS parent,
               to_date(right(child.relname, 10), 'YYYY_MM_DD') + 7 AS ended
        FROM pg_inherits AS link
        JOIN pg_class AS child ON child.oid = link.inhrelid
        JOIN pg_class AS parent ON parent.oid = link.inhparent
        JOIN pg_namespace AS space ON space.oid = parent.relnamespace
        WHERE space.nspname = 'state' AND parent.relname IN ('inbox', 'outbox')
          AND child.relname ~ '_[0-9]{4}_[0-9]{2}_[0-9]{2}$'
    LOOP
        CONTINUE WHEN part.ended > (now() AT TIME ZONE 'UTC')::date - kept_days;
        IF part.parent = 'outbox' THEN
            EXECUTE format(
                'SELECT EXISTS (SELECT FROM state.%I AS row JOIN state.outbox_cursors AS place USING (shard) '
                'WHERE row.seq > place.seq)', part.name) INTO pending;
            CONTINUE WHEN pending;
        END IF;
        EXECUTE format('DROP TABLE state.%I', part.name);
        changed := changed + 1;
    END LOOP;
    RETURN changed;
END
$$
"""


def upgrade() -> None:
    """Make the function, for the updater alone."""
    with op.get_bind().connection.cursor() as cursor:
        cursor.execute(_MAINTAIN)
    op.execute("REVOKE ALL ON FUNCTION state.maintain_partitions(integer, integer, integer) FROM PUBLIC")
    op.execute("GRANT EXECUTE ON FUNCTION state.maintain_partitions(integer, integer, integer) TO state_updater")


def downgrade() -> None:
    """Drop the function; `make_partitions` is left to be called by hand."""
    op.execute("DROP FUNCTION state.maintain_partitions(integer, integer, integer)")
