"""The HTTP edge: decode, authenticate, one call to a handler, encode."""
