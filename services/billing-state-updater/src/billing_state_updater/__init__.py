"""The single writer of the State Storage: invoices, payments, refunds, wallets, payouts and the books."""
