"""A wallet as its owner lives with it, and a payout that fails once: over HTTP through nginx, against the emulators."""

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.e2e.scenario import (
    Person,
    Site,
    call,
    check_out,
    client,
    eventually,
    log_in,
    manager_of,
    register,
    seed_plans,
    start_payment,
    subscribe,
    wait_active,
)

PREFIX = "/payments/api/v1"
CURRENCY = "RUB"
SBP = {"kind": "sbp", "phone": "+79161234567", "bank_id": "100000000004"}
_SETTLED_TIMEOUT_S = 90.0
_WAIT = {"Prefer": "wait=5"}
_ENDED = ("completed", "failed", "canceled")
Tell = Callable[[str, str], None]


@dataclass
class Story:
    """What one run of the scenario has made."""

    user_id: str
    deposit_id: str
    subscription_invoice_id: str
    withdrawal_id: str
    payout_id: str

    @property
    def wallet(self) -> str:
        """The account of the wallet."""
        return f"wallet:{self.user_id}"


def money(value: str) -> dict[str, str]:
    """Return an amount as the API takes it."""
    return {"value": value, "currency": CURRENCY}


def keyed() -> dict[str, str]:
    """Return the headers of a request that moves money."""
    return {"Idempotency-Key": str(uuid.uuid4()), **_WAIT}


def ended(person: Person, path: str, *statuses: str) -> dict[str, Any]:
    """Wait until a payment or a payout is in one of these statuses (any end by default); return it."""
    wanted = statuses or _ENDED

    def ask() -> dict[str, Any] | None:
        found: dict[str, Any] = person.call("GET", path).json()
        return found if found["status"] in wanted else None

    return eventually(ask, f"{path} is {' or '.join(wanted)}", timeout_s=_SETTLED_TIMEOUT_S)


def top_up(site: Site, person: Person, value: str) -> str:
    """Deposit by a card on the provider's page; return the payment's id."""
    body = {"amount": money(value)}
    asked = person.call("POST", f"{PREFIX}/payments/deposit", json=body, headers=keyed(), expect=(202,)).json()
    check_out(site, start_payment(person, asked["id"])["widget"])
    ended(person, f"{PREFIX}/payments/{asked['id']}", "completed")
    return str(asked["id"])


def pay_from_wallet(person: Person, invoice_id: str) -> None:
    """Pay an invoice from the balance."""

    def ask() -> str | None:
        # 404: the gateway has not heard of the invoice yet; events take a moment.
        answer = person.call(
            "POST",
            f"{PREFIX}/payments/pay",
            json={"invoice_id": invoice_id},
            headers=keyed(),
            expect=(202, 404),
        )
        return str(answer.json()["id"]) if answer.status_code == 202 else None

    payment = eventually(ask, f"invoice {invoice_id} can be paid from the wallet")
    ended(person, f"{PREFIX}/payments/{payment}", "completed")


def withdraw(person: Person, value: str) -> str:
    """Withdraw to a phone number; return the payment's id."""
    body = {"amount": money(value), "recipient": SBP, "provider": "mock"}
    asked = person.call("POST", f"{PREFIX}/payments/withdraw", json=body, headers=keyed(), expect=(202,)).json()
    ended(person, f"{PREFIX}/payments/{asked['id']}", "completed")
    return str(asked["id"])


def pay_out_after_a_failure(site: Site, manager: Person, value: str, tell: Tell) -> str:
    """Pay out from the house while the provider declines the first try, and try again; return the payout's id."""
    body = {
        "source": "house:payouts", "amount": money(value), "recipient": SBP, "description": "Royalties",
        "provider": "mock", "draft": True,
    }  # fmt: skip
    asked = manager.call("POST", f"{PREFIX}/payouts", json=body, headers=keyed(), expect=(202,)).json()
    path = f"{PREFIX}/payouts/{asked['id']}"
    ended(manager, path, "draft")
    with client(site.mock_url) as provider:
        # Of this payout's first try: others send money at the same time.
        fault = {"switch": "decline", "operation": "withdraw", "payment_id": f"{asked['id']}-1"}
        call(provider, "POST", "/sandbox/chaos/once", json=fault)
    manager.call("POST", f"{path}/submit", headers=keyed(), expect=(200, 202))
    failed = ended(manager, path)
    tell("manager", f"the payout of {value} {CURRENCY} is {failed['status']}: {failed['last_error']}")
    manager.call("POST", f"{path}/retry", headers=keyed(), expect=(200, 202))
    done = ended(manager, path, "completed")
    tell("manager", f"tried again, it is {done['status']} after {done['attempts']} attempts")
    return str(asked["id"])


def live(site: Site, tell: Tell = lambda _name, _text: None) -> Story:
    """Top up, subscribe and pay from the balance, withdraw; then a manager's payout that fails once."""
    seed_plans(site)
    person = log_in(register(site))
    deposit = top_up(site, person, "1000.00")
    tell("owner", f"topped up the wallet by card: 1000.00 {CURRENCY}, {_balance(person)} after the commission")
    subscription_id, invoice_id, _ = subscribe(person)
    pay_from_wallet(person, invoice_id)
    wait_active(person, subscription_id)
    tell("owner", f"paid a subscription from the balance and it is active; {_balance(person)} left")
    withdrawal = withdraw(person, "300.00")
    tell("owner", f"withdrew 300.00 {CURRENCY}; {_balance(person)} left")
    manager = manager_of(site)
    payout = pay_out_after_a_failure(site, manager, "150.00", tell)
    manager.http.close()
    person.http.close()
    return Story(person.user_id, deposit, invoice_id, withdrawal, payout)


def _balance(person: Person) -> str:
    (wallet,) = person.call("GET", f"{PREFIX}/wallets").json()["items"]
    return f"{wallet['available']['value']} {wallet['available']['currency']}"
