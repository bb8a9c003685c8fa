"""The broker of the machines: its configuration, and its first account."""
