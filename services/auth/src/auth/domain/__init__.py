"""Decisions without input or output: password policy, refresh rotation, roles, origins, key rotation."""
