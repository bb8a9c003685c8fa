"""The HTTP API of the provider: authentication, envelope, idempotency and the methods."""
