"""Chaos: subscriptions are bought while processes die and callbacks lie; then the books are checked."""
