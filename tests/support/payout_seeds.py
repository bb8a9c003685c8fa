"""Payouts, files of payouts and corrections for those who walk the OpenAPI documents, and a second manager."""

import secrets
from typing import Any

from tests.e2e.scenario import Person, log_in
from tests.support.openapi_seeds import WAIT, Seeds, key

PAYMENTS = "/payments/api/v1"
RECIPIENT = {"kind": "sbp", "phone": "+79161234567", "bank_id": "100000000004"}
# Above what one manager may decide.
LARGE = "150000.00"
CSV = {"Content-Type": "text/csv"}


def body_of(value: str = "10.00", **changes: Any) -> dict[str, Any]:
    """Return a payout as it is asked for."""
    amount = {"value": value, "currency": "RUB"}
    return {"source": "house:payouts", "amount": amount, "recipient": RECIPIENT, "provider": "mock", **changes}


def second_manager(seeds: Seeds) -> Person:
    """Return a manager who did not ask for anything."""
    if "second manager" not in seeds.people:
        person = seeds.newcomer()
        seeds.give_roles(person.user_id, ["customer", "manager"])
        seeds.people["second manager"] = log_in(person)
    return seeds.people["second manager"]


def payout(seeds: Seeds, value: str = "10.00", **changes: Any) -> str:
    """Have the manager ask for a payout, and wait until the updater has it; returns its id."""
    manager = seeds.people["manager"]
    answer = manager.call(
        "POST", f"{PAYMENTS}/payouts", json=body_of(value, **changes), headers={**key(), **WAIT}, expect=(202,)
    )
    return str(answer.json()["id"])


def failed_payout(seeds: Seeds) -> str:
    """Return a payout that failed, because its merchant has nothing."""
    merchant = seeds.people["merchant"]
    return payout(seeds, source=f"merchant:{merchant.user_id}")


def batch_file(value: str = "1.00") -> bytes:
    """Return a file that nobody has sent before."""
    line = f"{value},RUB,sbp,+79161234567,100000000004,{secrets.token_hex(8)}"
    return f"amount,currency,recipient_kind,recipient,bank_id,reference\n{line}\n".encode()


def batch(seeds: Seeds, value: str = LARGE) -> str:
    """Have the manager send a file, by default one that waits for the second manager; returns the batch's id."""
    query = {"provider": "mock"}
    answer = seeds.people["manager"].call(
        "POST", f"{PAYMENTS}/payouts/batches", params=query, content=batch_file(value), headers=CSV, expect=(202,)
    )
    return str(answer.json()["id"])


def correction(seeds: Seeds) -> str:
    """Have the manager ask for a correction; returns its id."""
    answer = seeds.people["manager"].call(
        "POST", f"{PAYMENTS}/corrections", json=correction_body(), headers=key(), expect=(201,)
    )
    return str(answer.json()["id"])


def correction_body() -> dict[str, Any]:
    """Return a correction as it is asked for."""
    amount = {"value": "1.00", "currency": "RUB"}
    return {"debit": "suspense:late", "credit": "revenue:cinema", "amount": amount, "reason": "booked late"}


def ids_of(seeds: Seeds) -> dict[str, str]:
    """Make one of each thing, whose ids generated requests then use."""
    return {"payout_id": payout(seeds, draft=True), "batch_id": batch(seeds), "correction_id": correction(seeds)}
