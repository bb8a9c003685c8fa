"""Calls of the API of merchants' own shops that ought to succeed."""

import secrets
import uuid

from tests.support.openapi_recipes import PAYMENTS, Call, recipe
from tests.support.openapi_seeds import Seeds

SHOP = f"{PAYMENTS}/merchants/{{merchant_id}}/shop"


def credentials() -> dict[str, str]:
    """Return a contract that nobody has."""
    return {"provider": "cloudpayments", "public_id": f"pk_{secrets.token_hex(8)}", "api_secret": secrets.token_hex(16)}


def with_shop(seeds: Seeds) -> dict[str, str]:
    """Have the manager give some merchant a shop; return the parameters of its path."""
    path = {"merchant_id": str(uuid.uuid4())}
    seeds.people["manager"].call("PUT", SHOP.format(**path), json=credentials())
    return path


@recipe("PUT", SHOP)
def _put(seeds: Seeds) -> Call:
    path = with_shop(seeds)
    return Call("manager", path, headers=seeds.tag(SHOP.format(**path)), body=credentials())


@recipe("GET", SHOP)
def _get(seeds: Seeds) -> Call:
    return Call("operator", with_shop(seeds))


@recipe("DELETE", SHOP)
def _delete(seeds: Seeds) -> Call:
    path = with_shop(seeds)
    return Call("manager", path, headers=seeds.tag(SHOP.format(**path)))
