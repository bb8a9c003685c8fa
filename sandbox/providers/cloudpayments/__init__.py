"""Emulator of the CloudPayments HTTP API, its payment widget and its notifications.

It is written from the provider's documents alone and shares no code with the product, so that its log can serve
as ground truth: what was charged, refunded and notified.
"""
