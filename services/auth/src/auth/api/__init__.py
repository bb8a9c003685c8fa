"""The HTTP edge: decode, authenticate, one call."""
