"""Words of providers that nobody has translated yet."""

from copeck.observability.metrics import Counter

UNKNOWN_WORDS = Counter(
    "copeck_gateway_unknown_provider_words_total", "Words of a provider that have no translation.", ["provider", "kind"]
)
