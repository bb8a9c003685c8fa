"""The endpoints of the services that were replaced, on routes of their own that translate to ours."""

from copeck.web.app import Api
from payments_gateway.api.compatibility import payments, payouts, schema

DESCRIPTION = """
The endpoints of the services that Copeck replaces, for callers that were written for them: host, prefix and credentials
change, nothing else. `/api` and `/api/v1` become `/payments/api/v1/compatibility`; credentials are those of every other
API here. Numbers are major units and are read exactly, ids are small integers (UUIDs do as well), addresses work with
and without their trailing slash, `Idempotency-Key` is optional, and calls wait up to 10 s for the updater's decision.
Errors are problem details (RFC 9457).
"""

API = Api(schema.PREFIX, schema.TITLE, [payments.router, payouts.router, schema.router], DESCRIPTION)
