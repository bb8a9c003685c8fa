"""Payouts as back-office clerks and their programs make them: through nginx, with each way to log in."""

from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import httpx2
import pytest

from tests.e2e.scenario import Person, Site, call, client, eventually, log_in, manager_of, register
from tests.e2e.wallet_scenario import PREFIX, SBP, ended, keyed, money

PAYOUTS = f"{PREFIX}/payouts"
Way = Callable[[Site, Person], httpx2.Client]


def with_token(site: Site, person: Person) -> httpx2.Client:
    http = client(site.public_url)
    http.headers["Authorization"] = str(person.http.headers["Authorization"])
    return http


def with_session(site: Site, person: Person) -> httpx2.Client:
    http = client(site.public_url)
    http.headers["Origin"] = site.public_url
    body = {"email": person.email, "password": person.password, "session": True}
    call(http, "POST", "/auth/api/v1/login", json=body)
    assert "copeck_session" in http.cookies
    return http


def with_api_key(site: Site, person: Person) -> httpx2.Client:
    body = {"name": "accounting", "roles": ["manager"]}
    key = person.call("POST", "/auth/api/v1/api-keys", json=body, expect=(201,)).json()
    http = client(site.public_url)
    http.headers["Authorization"] = "Basic " + b64encode(f"{key['id']}:{key['secret']}".encode()).decode()
    return http


def asked(value: str = "25.00", **changes: Any) -> dict[str, Any]:
    return {"source": "house:payouts", "amount": money(value), "recipient": SBP, "provider": "mock", **changes}


@pytest.fixture
def second(site: Site, state: dict[str, Any]) -> Iterator[Person]:
    """Another manager, made by the operator."""
    person = register(site)
    staff = state["people"]["operator"]
    operator = log_in(Person(client(site.public_url), staff["email"], staff["password"]))
    path = f"/auth/api/v1/users/{person.user_id}"
    tag = operator.call("GET", path).headers["ETag"]
    operator.call("PUT", f"{path}/roles", json={"roles": ["customer", "manager"]}, headers={"If-Match": tag})
    operator.http.close()
    yield log_in(person)
    person.http.close()


@pytest.mark.parametrize("way", [with_token, with_session, with_api_key])
@pytest.mark.covers("POST /payments/api/v1/payouts", "GET /payments/api/v1/payouts/{payout_id}")
def test_each_way_to_log_in_makes_a_payout(site: Site, way: Way) -> None:
    person = manager_of(site)
    with closing(way(site, person)) as http:
        made = call(http, "POST", PAYOUTS, json=asked(), headers=keyed(), expect=(202,))
        clerk = Person(http, person.email, person.password)
        done = ended(clerk, made.headers["Location"])
        assert (done["status"], done["recipient"]["masked"]) == ("completed", "SBP +7******4567, bank 100000000004")
        assert SBP["phone"] not in str(done)
        me = call(http, "GET", "/auth/api/v1/me").json()["id"]
        assert done["requested_by"] == f"user:{me}"
    person.http.close()


def test_nobody_approves_their_own_with_an_api_key_either(site: Site, second: Person) -> None:
    person = manager_of(site)
    made = person.call("POST", PAYOUTS, json=asked("150000.00"), headers=keyed(), expect=(202,)).json()
    assert made["status"] == "awaiting_approval"
    path = f"{PAYOUTS}/{made['id']}/approve"
    with closing(with_api_key(site, person)) as http:
        own = call(http, "POST", path, headers=keyed(), expect=(403,))
        assert own.json()["type"] == "urn:copeck:problem:own-payout"
    agreed = second.call("POST", path, headers=keyed(), expect=(200, 202)).json()
    assert agreed["status"] in ("pending", "processing", "completed")
    done = ended(person, f"{PAYOUTS}/{made['id']}", "completed")
    assert done["approved_by"] == f"user:{second.user_id}"
    person.http.close()


@pytest.mark.covers("POST /payments/api/v1/payouts/batches", "GET /payments/api/v1/payouts/batches/{batch_id}")
def test_a_file_becomes_payouts(site: Site, manager: Person, visitor: Person) -> None:
    line = f"1.00,RUB,sbp,{SBP['phone']},{SBP['bank_id']},"
    text = "amount,currency,recipient_kind,recipient,bank_id,reference\n"
    # The visitor is new in each run, and so is the file.
    text += "".join(f"{line}{visitor.user_id}-{number}\n" for number in range(30))
    large = text + "".join(f"bad{number:06d},RUB,sbp,+7,1,\n" for number in range(4000))
    kind = {"Content-Type": "text/csv"}
    assert len(large) > 64 * 1024
    visitor.call("POST", f"{PAYOUTS}/batches", content=large, headers=kind, expect=(403,))
    query = {"provider": "mock", "dry_run": "true"}
    tried = manager.call("POST", f"{PAYOUTS}/batches", content=large, params=query, headers=kind).json()
    assert (tried["good"], tried["bad"]) == (30, 4000)
    made = manager.call(
        "POST", f"{PAYOUTS}/batches", content=large, params={"provider": "mock"}, headers=kind, expect=(202,)
    )
    path = made.headers["Location"]

    def done() -> dict[str, Any] | None:
        shown: dict[str, Any] = manager.call("GET", path).json()
        return shown if shown["percent"] == 100 else None

    shown = eventually(done, f"{path} is done")
    assert (shown["status"], shown["counts"]) == ("sent", {"completed": 30})
    result = manager.call("GET", f"{path}/result.csv").text
    assert (result.count(",completed,"), result.count(",bad_line,")) == (30, 4000)
