"""Bodies of the events that go out, written from aggregates as JSON bytes."""

import orjson

from billing_state_updater.domain.aggregates import Account, Invoice, Payment, Payout, Refund


def invoice_body(invoice: Invoice, payment: Payment | None = None) -> bytes:
    """Return the body of an invoice's event; `payment` replaces the invoice's own where the event is about it.

    Written by hand, because validating what we made ourselves costs more than making it; a test reads every event
    that the updater sends under its strict contract.
    """
    own = payment or invoice
    return orjson.dumps(
        {
            "invoice_id": invoice.id,
            "version": invoice.version,
            "status": invoice.status,
            "kind": invoice.kind,
            "product": invoice.product,
            "account": invoice.account,
            "payer": invoice.payer,
            "beneficiary": invoice.beneficiary,
            "amount_minor": invoice.amount_minor,
            "refunded_minor": invoice.refunded_minor,
            "currency": invoice.currency,
            "description": invoice.description,
            "late_policy": invoice.late_policy,
            "capture": invoice.capture,
            "expires_at": invoice.expires_at,
            "references": invoice.references,
            "payment_id": payment.id if payment else invoice.payment_id,
            "provider": own.provider,
            "shop": own.shop,
            "transaction": own.transaction,
            "method": own.method,
            "failure_code": own.failure_code,
            "failure_reason": own.failure_reason,
            "reason": invoice.reason,
        }
    )


def refund_body(invoice: Invoice, refund: Refund) -> bytes:
    """Return the body of a refund's event."""
    return orjson.dumps(
        {
            "refund_id": refund.id,
            "invoice_id": refund.invoice_id,
            "version": refund.version,
            "status": refund.status,
            "origin": refund.origin,
            "account": invoice.account,
            "amount_minor": refund.amount_minor,
            "currency": refund.currency,
            "payment_id": refund.payment_id,
            "provider": refund.provider,
            "shop": refund.shop,
            "transaction": refund.transaction,
            "refund_transaction": refund.refund_transaction,
            "reason": refund.reason,
            "failure_code": refund.failure_code,
            "failure_reason": refund.failure_reason,
        }
    )


def payout_body(payout: Payout) -> bytes:
    """Return the body of a payout's event."""
    return orjson.dumps(
        {
            "payout_id": payout.id,
            "version": payout.version,
            "status": payout.status,
            "account": payout.account,
            "amount_minor": payout.amount_minor,
            "commission_minor": payout.commission_minor,
            "currency": payout.currency,
            "provider": payout.provider,
            "shop": payout.shop,
            "recipient": payout.recipient,
            "description": payout.description,
            "attempt": payout.attempt,
            "outcome_unknown": payout.outcome_unknown,
            "transaction": payout.transaction,
            "last_error": payout.last_error,
            "references": payout.references,
        }
    )


def wallet_body(account: Account) -> bytes:
    """Return the body of a wallet's event."""
    return orjson.dumps(
        {
            "account": account.name,
            "currency": account.currency,
            "version": account.version,
            "balance_minor": account.balance_minor,
        }
    )
