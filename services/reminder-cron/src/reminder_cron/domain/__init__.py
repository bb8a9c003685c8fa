"""Decisions without input or output: which kinds of due work there are, and what each asks of whom."""
