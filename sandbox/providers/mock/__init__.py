"""Emulator of the mock gateway: a small provider for deposits and withdrawals, with a balance that can run dry.

It shares no code with the product, so that its log can serve as ground truth: which transfers were really made.
"""
