"""One message, one transaction."""
