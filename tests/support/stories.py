"""What may be heard of attempts, refunds, payouts and disputes, and which news may follow which."""

from hypothesis import strategies as some

STATUSES = {
    "open": {"issued", "pending"},
    "held": {"authorized"},
    "paid": {"paid", "partially_refunded", "refunded"},
    "ended": {"canceled", "expired", "voided"},
    "disputed": {"disputed"},
    "lost": {"charged_back"},
}
"""The statuses of an invoice by the states of the reference."""

# Ranks say which news may follow which; `unknown` stands beside the beginning.
ATTEMPT_RANK = {"created": 0, "unknown": 0, "pending": 1, "authorized": 2, "failed": 3, "canceled": 3, "succeeded": 4}
REFUND_RANK = {"requested": 0, "unknown": 0, "pending": 1, "failed": 2, "succeeded": 3}

ATTEMPT_NEWS = ["pending", "authorized", "succeeded", "failed", "canceled", "unknown"]
ATTEMPT_STORIES = [
    "authorized unknown authorized",
    "authorized succeeded",
    "authorized canceled",
    "failed succeeded",
    "failed authorized",
]
REFUND_NEWS = ["pending", "succeeded", "failed", "unknown"]
REFUND_STORIES = ["failed succeeded", "unknown pending succeeded"]
PAYOUT_NEWS = ["processing", "completed", "failed", "unknown"]
PAYOUT_STORIES = ["failed completed", "unknown failed", "processing completed"]
DISPUTE_NEWS = ["opened", "won", "lost"]
DISPUTE_STORIES = ["opened won opened", "opened won"]


def is_news(rank: dict[str, int], before: str, after: str) -> bool:
    """Tell whether a report says more than is known."""
    if after == "unknown":
        return before != "unknown" and rank[before] <= 2 and before not in ("failed", "succeeded")
    # Money that is held after a failure is there; only attempts have this news.
    return rank[after] > rank[before] or (before, after) == ("failed", "authorized")


def told(news: list[str], stories: list[str]) -> some.SearchStrategy[list[str]]:
    """Return news one by one, or a story in which something once went wrong."""
    return some.one_of(
        some.lists(some.sampled_from(news), min_size=1, max_size=2), some.sampled_from(stories).map(str.split)
    )
