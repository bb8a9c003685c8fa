-- I-01 as a fact of the database: only `state_updater` writes. Columns that are fixed at an invoice's issue are not
-- in its UPDATE right either, so no code of ours can change an amount after the event.

GRANT SELECT, INSERT ON ALL TABLES IN SCHEMA state TO state_updater;
GRANT SELECT ON ALL TABLES IN SCHEMA state TO operator;
GRANT UPDATE (version, status, refunded_minor, refunding_minor, commission_returned_minor, payment_id, provider, shop,
              transaction, method, failure_code, failure_reason, reason, updated_at)
    ON state.invoices TO state_updater;
GRANT UPDATE (transaction, status, amount_minor, currency, method, failure_code, failure_reason, late, updated_at)
    ON state.payments TO state_updater;
GRANT UPDATE (version, status, refund_transaction, failure_code, failure_reason, updated_at)
    ON state.refunds TO state_updater;
GRANT UPDATE (version, status, attempt, outcome_unknown, transaction, last_error, approved_by, updated_at)
    ON state.payouts TO state_updater;
GRANT UPDATE (balance_minor, version, opened, updated_at) ON state.accounts TO state_updater;
GRANT UPDATE (epoch) ON state.shards TO state_updater;
GRANT UPDATE (owner, leased_until) ON state.shard_leases TO state_updater;
GRANT UPDATE (seen_at), DELETE ON state.shard_owners TO state_updater;
GRANT UPDATE (seq) ON state.outbox_cursors TO state_updater;
GRANT UPDATE (resolved_at, resolution) ON state.quarantine TO state_updater;

GRANT SELECT ON ALL TABLES IN SCHEMA state_api TO state_updater, subscriptions, gateway, devices, reminders, operator;
REVOKE INSERT ON state.alembic_version FROM state_updater;
