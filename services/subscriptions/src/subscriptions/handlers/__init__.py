"""What the service does: each handler is one message or one request, in one transaction."""
