"""Decisions: pure functions and tables."""
