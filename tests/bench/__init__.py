"""Benches: figures from one run on one machine, compared with each other. `python -m tests.bench --help`."""
