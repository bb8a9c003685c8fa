"""Shorthands that several suites share."""
