"""Admin API: the price setter, customers' subscriptions, invoices over the bus, and the audit."""
