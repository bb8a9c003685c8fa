-- What readers see. A view is never changed in a way that breaks a reader: a new version is added beside it.

CREATE VIEW state_api.invoices_v1 AS
SELECT id, version, status, kind, product, account, payer, beneficiary, amount_minor, commission_minor,
       refunded_minor, refunding_minor, currency, description, late_policy, capture, expires_at, "references",
       payment_id, provider, shop, transaction, method, failure_code, failure_reason, reason, issued_at, updated_at
FROM state.invoices;

CREATE VIEW state_api.invoice_events_v1 AS
SELECT aggregate_id AS invoice_id, version, event, status, changes, cause_id, cause_type, actor, at, shard, epoch
FROM state.transitions WHERE aggregate = 'invoice';

CREATE VIEW state_api.payments_v1 AS
SELECT invoice_id, id, provider, shop, transaction, status, amount_minor, currency, method, failure_code,
       failure_reason, late, created_at, updated_at
FROM state.payments;

CREATE VIEW state_api.refunds_v1 AS
SELECT invoice_id, id, version, status, origin, source, amount_minor, commission_minor, currency, payment_id,
       provider, shop, transaction, refund_transaction, reason, failure_code, failure_reason, created_at, updated_at
FROM state.refunds;

CREATE VIEW state_api.payouts_v1 AS
SELECT id, version, status, account, amount_minor, commission_minor, currency, provider, shop, recipient, description,
       attempt, outcome_unknown, transaction, last_error, requested_by, approved_by, "references", requested_at,
       updated_at
FROM state.payouts;

CREATE VIEW state_api.payout_events_v1 AS
SELECT aggregate_id AS payout_id, version, event, status, changes, cause_id, cause_type, actor, at, shard, epoch
FROM state.transitions WHERE aggregate = 'payout';

CREATE VIEW state_api.accounts_v1 AS
SELECT name, currency, balance_minor, version, updated_at FROM state.accounts;

CREATE VIEW state_api.transfers_v1 AS
SELECT aggregate_id, cause_id, n, debit_account, credit_account, amount_minor, currency, kind,
       debit_balance_minor, credit_balance_minor, at
FROM state.transfers;

CREATE VIEW state_api.invoices_due_v1 AS
SELECT due.due_at, due.invoice_id, due.account, invoice.status
FROM state.invoices_due AS due JOIN state.invoices AS invoice ON invoice.id = due.invoice_id;

CREATE VIEW state_api.refusals_v1 AS
SELECT command_id, command_type, aggregate, outcome, code, detail, actor, at FROM state.refusals;

CREATE VIEW state_api.quarantine_v1 AS
SELECT id, shard, message_id, sender, reason, headers, body, at, resolved_at, resolution FROM state.quarantine;

CREATE VIEW state_api.outbox_v1 AS
SELECT cursor.shard, cursor.seq AS published_seq,
       coalesce((SELECT max(row.seq) FROM state.outbox AS row WHERE row.shard = cursor.shard AND row.seq > cursor.seq),
                cursor.seq) AS written_seq,
       (SELECT min(row.at) FROM state.outbox AS row WHERE row.shard = cursor.shard AND row.seq > cursor.seq)
           AS oldest_unpublished_at
FROM state.outbox_cursors AS cursor;
