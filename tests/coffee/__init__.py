"""Coffee under fire and under load: chaos, latency, a large fleet, and the table of what tests what."""
