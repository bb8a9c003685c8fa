"""One message, one transaction: what each edge calls."""
