"""The edge proxy's configuration and what renders it."""
