"""Payments gateway: what is said to payment providers and what they say back."""
