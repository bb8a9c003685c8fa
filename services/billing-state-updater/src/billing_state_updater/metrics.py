"""What the updater counts; served at /metrics."""

from prometheus_client import Counter, Gauge, Histogram

_FAST_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)

commands = Counter("copeck_updater_commands_total", "Commands by outcome", ["outcome"])
quarantined = Counter("copeck_updater_quarantined_total", "Messages set aside")
batches = Counter("copeck_updater_batches_total", "Committed batches")
batch_size = Histogram("copeck_updater_batch_size", "Commands a batch", buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256, 512))
batch_seconds = Histogram("copeck_updater_batch_seconds", "From the first statement to the commit", buckets=_FAST_S)
batch_retries = Counter("copeck_updater_batch_retries_total", "Batches tried again", ["reason"])
fenced = Counter("copeck_updater_fenced_total", "Shards lost to another owner in the middle of a batch")
events_published = Counter("copeck_updater_events_published_total", "Events confirmed, sent from memory")
events_swept = Counter("copeck_updater_events_swept_total", "Events confirmed, sent from the table")
publish_failures = Counter("copeck_updater_publish_failures_total", "Windows that were not confirmed")
confirm_seconds = Histogram("copeck_updater_confirm_seconds", "From writing a window to its confirm", buckets=_FAST_S)
outbox_lag = Gauge("copeck_updater_outbox_lag", "Committed events that are not confirmed")
shards_owned = Gauge("copeck_updater_shards_owned", "Shards leased by this process")
waiting = Gauge("copeck_updater_waiting_commands", "Deliveries in memory")
