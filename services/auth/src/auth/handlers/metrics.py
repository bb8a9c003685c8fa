"""Counters of what the handlers decide."""

from prometheus_client import Counter

LOGINS = Counter("copeck_auth_logins_total", "Logins by outcome.", ["outcome"])
REFRESHES = Counter("copeck_auth_refreshes_total", "Exchanges of refresh tokens by verdict.", ["verdict"])
EDGE = Counter("copeck_auth_edge_total", "Questions of the edge proxy by credential and outcome.", ["kind", "outcome"])
