"""What the gateway counts besides what every service counts."""

from copeck.observability.metrics import LATENCY_BUCKETS, Counter, Gauge, Histogram

CALLBACKS = Counter(
    "copeck_gateway_callbacks_total", "Callbacks by what was made of them.", ["provider", "shop", "kind", "verdict"]
)
CALLBACK_SECONDS = Histogram(
    "copeck_gateway_callback_seconds", "From a whole callback to its answer.", ["kind"], buckets=LATENCY_BUCKETS
)
CHECKS = Counter("copeck_gateway_checks_total", "Answers to providers that ask before they charge.", ["answer"])
AMOUNT_MISMATCHES = Counter(
    "copeck_gateway_amount_mismatches_total", "Payments whose amount differs from their invoice's.", ["shop"]
)
OPERATIONS = Counter(
    "copeck_gateway_operations_total", "Tries of provider operations, by where they ended.", ["kind", "status"]
)
PUT_OFF = Counter(
    "copeck_gateway_operations_put_off_total", "Looks at operations that may not be sent now.", ["kind", "reason"]
)
CAUGHT_UP = Counter(
    "copeck_gateway_caught_up_total", "Operations made for instructions whose events never came.", ["kind"]
)
OPERATIONS_ALARM = Counter(
    "copeck_gateway_operations_alarm_total",
    "Tries of operations that are still open after many: somebody should look.",
    ["kind"],
)
PROVIDER_SECONDS = Histogram(
    "copeck_gateway_provider_seconds", "Calls to providers.", ["provider", "path", "outcome"], buckets=LATENCY_BUCKETS
)
ORPHAN_TRANSACTIONS = Counter(
    "copeck_gateway_orphan_transactions_total",
    "Succeeded transactions in a provider's list that belong to no invoice of ours.",
    ["provider", "shop"],
)
PAYOUT_DIFFERENCES = Counter(
    "copeck_gateway_payout_differences_total",
    "Payouts in a provider's list that are not as we know them: somebody should look.",
    ["provider", "shop", "difference"],
)
RECONCILE_BEHIND = Gauge(
    "copeck_gateway_reconcile_behind_seconds", "How far behind the comparison of a shop's list is.", ["shop"]
)
DUE = Gauge("copeck_gateway_janitor_taken", "Rows that the last run of the janitor took up.", ["what"])
