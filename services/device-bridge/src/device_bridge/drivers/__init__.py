"""Drivers of machines: a folder each, and one line in `registry.py`."""
