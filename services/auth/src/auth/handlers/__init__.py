"""What the edges call: one request, one transaction."""
