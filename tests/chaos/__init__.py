"""Chaos: subscriptions are bought while processes die, servers restart and callbacks lie; then the books are checked."""
