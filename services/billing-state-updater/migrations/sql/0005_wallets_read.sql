-- What the wallet's pages and the payouts' janitor read, by indexes over columns that never change.

-- Top-ups of a wallet. The predicate is the view's own, so that a plan for any account may use the index.
CREATE INDEX invoices_wallet ON state.invoices (beneficiary, id) WHERE beneficiary LIKE 'wallet:%';

CREATE VIEW state_api.wallet_topups_v1 AS
SELECT beneficiary AS wallet, id, version, status, kind, payer, amount_minor, commission_minor, refunded_minor,
       refunding_minor, currency, payment_id, provider, shop, method, failure_code, failure_reason, reason, expires_at,
       issued_at, updated_at
FROM state.invoices WHERE beneficiary LIKE 'wallet:%';

-- An account's history, a row for each transfer as that account saw it, in the order (at, aggregate_id, cause_id, n).
-- The halves have `account` and `at` in an index (transfers_debit_wallet, transfers_credit_wallet); transfers of one
-- moment are sorted when they are read, since one commit makes only some hundreds of them. A page is read from each half
-- with the page's own ORDER BY and LIMIT, and merged: Postgres does not merge the partitions of a UNION ALL in order, so
-- that a page of the view of both reads all of the account in the range of time that it is given.
CREATE VIEW state_api.wallet_debits_v1 AS
SELECT debit_account AS account, 'debit'::text AS direction, credit_account AS counter_account, amount_minor,
       debit_balance_minor AS balance_after_minor, currency, kind, at, aggregate_id, cause_id, n
FROM state.transfers WHERE debit_balance_minor IS NOT NULL;

CREATE VIEW state_api.wallet_credits_v1 AS
SELECT credit_account AS account, 'credit'::text AS direction, debit_account AS counter_account, amount_minor,
       credit_balance_minor AS balance_after_minor, currency, kind, at, aggregate_id, cause_id, n
FROM state.transfers WHERE credit_balance_minor IS NOT NULL;

CREATE VIEW state_api.wallet_transfers_v1 AS
SELECT * FROM state_api.wallet_debits_v1 UNION ALL SELECT * FROM state_api.wallet_credits_v1;

-- Payouts by the moment at which their source was debited last. A payout's id tells when it was asked for, and it may be
-- approved or tried again much later: whoever looks for those that should be executed now looks here.
CREATE INDEX transfers_payouts ON state.transfers (at) WHERE kind = 'payout';

CREATE VIEW state_api.payouts_debited_v1 AS
SELECT debit.at AS debited_at, payout.id, payout.version, payout.status, payout.account, payout.amount_minor,
       payout.commission_minor, payout.currency, payout.provider, payout.shop, payout.recipient, payout.description,
       payout.attempt, payout.outcome_unknown, payout.transaction, payout.last_error, payout."references",
       payout.requested_at, payout.updated_at
FROM state.transfers AS debit JOIN state.payouts AS payout ON payout.id = debit.aggregate_id
WHERE debit.kind = 'payout' AND NOT EXISTS (
    SELECT FROM state.transfers AS later
    WHERE later.aggregate_id = debit.aggregate_id AND later.kind = 'payout'
      AND (later.at, later.cause_id, later.n) > (debit.at, debit.cause_id, debit.n)
);

GRANT SELECT ON state_api.wallet_topups_v1, state_api.wallet_debits_v1, state_api.wallet_credits_v1,
    state_api.wallet_transfers_v1, state_api.payouts_debited_v1
    TO state_updater, subscriptions, gateway, devices, reminders, operator;
