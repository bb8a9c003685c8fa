"""The only SQL of the state updater, split by what it is for: shards and leases, loading, saving, quarantine."""
