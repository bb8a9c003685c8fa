"""Subscriptions: what is sold and for how much, who has subscribed, and until when they may watch."""
