"""What an operator sees of a running process: logs, traces' ids, metrics, health."""
