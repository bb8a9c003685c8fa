"""A subscription from the first visit to the refund, through nginx, every process, the bus and the provider."""

import secrets
import uuid
from collections.abc import Callable
from typing import Any

import httpx2

from deploy.devstack import demo
from tests.e2e.scenario import (
    DECLINED_CARD,
    Person,
    Site,
    call,
    check_out,
    eventually,
    log_in,
    register,
    sell,
    start_payment,
    subscribe,
    wait_active,
)

Copeck = Callable[..., Any]
MINE = "/subscriptions/api/v1"


def bought(site: Site, person: Person) -> tuple[str, str]:
    """Buy a month; return the subscription and its invoice."""
    subscription_id, invoice_id, _ = subscribe(person)
    check_out(site, start_payment(person, invoice_id)["widget"])
    wait_active(person, subscription_id)
    return subscription_id, invoice_id


def invoice_in(person: Person, invoice_id: str, *statuses: str) -> dict[str, Any]:
    def ask() -> dict[str, Any] | None:
        found: dict[str, Any] = person.call("GET", f"{MINE}/invoices/{invoice_id}").json()
        return found if found["status"] in statuses else None

    return eventually(ask, f"invoice {invoice_id} is {' or '.join(statuses)}")


def test_a_person_subscribes_and_pays_and_the_operator_sees_the_whole_story(site: Site, copeck: Copeck) -> None:
    sale = sell(site)
    assert sale.status == "active"
    demo.check(copeck("invoice", "show", sale.invoice_id))
    copeck("ledger", "verify")
    copeck("replay", "--check")


def test_what_the_customer_sees_of_the_invoice(site: Site, visitor: Person) -> None:
    subscription_id, invoice_id = bought(site, visitor)
    (invoice,) = visitor.call("GET", f"{MINE}/invoices").json()["items"]
    assert (invoice["id"], invoice["status"], invoice["amount"]) == (
        invoice_id,
        "paid",
        {"value": "199.00", "currency": "RUB"},
    )
    timeline = visitor.call("GET", f"{MINE}/invoices/{invoice_id}/timeline").text
    assert all(word in timeline for word in ("issued", "pending", "paid", "active"))
    (access,) = visitor.call("GET", f"{MINE}/access").json()
    assert (access["product"], access["subscription_id"]) == ("cinema", subscription_id)


def test_a_declined_card_leaves_the_invoice_to_be_paid_by_another(site: Site, visitor: Person) -> None:
    subscription_id, invoice_id, _ = subscribe(visitor)
    check_out(site, start_payment(visitor, invoice_id)["widget"], DECLINED_CARD)

    def declined() -> dict[str, Any] | None:
        found: dict[str, Any] = visitor.call("GET", f"/payments/api/v1/invoices/{invoice_id}").json()
        return found if found["attempt"] and found["attempt"]["failure"] else None

    shown = eventually(declined, "the pay page can say why")
    assert shown["attempt"]["failure"]["code"] == "insufficient_funds"
    assert shown["payable"]
    check_out(site, start_payment(visitor, invoice_id)["widget"])
    assert wait_active(visitor, subscription_id)["status"] == "active"


def test_canceling_at_the_end_of_the_period_can_be_undone(site: Site, visitor: Person) -> None:
    subscription_id, _ = bought(site, visitor)
    path = f"{MINE}/subscriptions/{subscription_id}"
    canceled = visitor.call("POST", f"{path}/cancel", json={"when": "period_end", "reason": "too little time"}).json()
    assert (canceled["status"], canceled["cancel_at_period_end"]) == ("active", True)
    resumed = visitor.call("POST", f"{path}/resume").json()
    assert (resumed["status"], resumed["cancel_at_period_end"]) == ("active", False)


def test_canceling_now_ends_access(site: Site, visitor: Person) -> None:
    subscription_id, _ = bought(site, visitor)
    path = f"{MINE}/subscriptions/{subscription_id}/cancel"
    assert visitor.call("POST", path, json={"when": "now", "reason": "done"}).json()["status"] == "canceled"
    assert visitor.call("GET", f"{MINE}/subscriptions", params={"active": "true"}).json()["items"] == []
    assert visitor.call("GET", f"{MINE}/access").json() == []


def test_a_refund_goes_through_the_bus_to_the_provider_and_back(
    site: Site, visitor: Person, manager: Person, emulator: httpx2.Client, copeck: Copeck
) -> None:
    _, invoice_id = bought(site, visitor)
    answer = manager.call(
        "POST",
        f"/admin/api/v1/invoices/{invoice_id}/refund",
        json={"reason": "the film did not play"},
        headers={"Idempotency-Key": str(uuid.uuid4()), "Prefer": "wait=5"},
        expect=(200, 202),
    ).json()
    assert answer["invoice_id"] == invoice_id
    refunded = invoice_in(visitor, invoice_id, "refunded")
    assert refunded["refunded"] == {"value": "199.00", "currency": "RUB"}
    log = call(emulator, "GET", "/sandbox/log", params={"invoice_id": invoice_id}).json()["items"]
    assert sum(entry["amount_minor"] for entry in log if entry["event"] == "payment.refunded") == 19900
    copeck("ledger", "verify")


def test_a_manager_sells_a_subscription_and_the_customer_pays_it(site: Site, visitor: Person, manager: Person) -> None:
    plans = {plan["code"]: plan for plan in manager.call("GET", "/admin/api/v1/plans").json()["items"]}
    made = manager.call(
        "POST",
        "/admin/api/v1/subscriptions",
        json={"user_id": visitor.user_id, "plan_id": plans["year"]["id"]},
        headers={"Idempotency-Key": str(uuid.uuid4())},
        expect=(201, 202),
    ).json()
    paying = visitor.call(
        "POST", f"{MINE}/subscriptions/{made['id']}/pay", headers={"Prefer": "wait=5"}, expect=(200, 202)
    ).json()
    check_out(site, start_payment(visitor, paying["invoice_id"])["widget"])
    assert wait_active(visitor, made["id"])["plan_code"] == "year"


def test_a_forged_callback_changes_nothing(
    site: Site, state: dict[str, Any], visitor: Person, emulator: httpx2.Client, copeck: Copeck
) -> None:
    _, invoice_id, _ = subscribe(visitor)
    widget = start_payment(visitor, invoice_id)["widget"]
    invoice_in(visitor, invoice_id, "pending")
    forged = {
        "public_id": state["shop"]["public_id"],
        "type": "pay",
        "fields": {
            "TransactionId": 777,
            "Amount": "199.00",
            "Currency": "RUB",
            "InvoiceId": invoice_id,
            "Status": "Completed",
            "GatewayName": "Sandbox",
        },
    }
    call(emulator, "POST", "/sandbox/forge", json=forged)

    def delivered() -> bool | None:
        notices = call(emulator, "GET", "/sandbox/log", params={"invoice_id": invoice_id}).json()["items"]
        return True if any(entry["event"] == "notification.forged" for entry in notices) else None

    eventually(delivered, "the forged callback was delivered")
    # One that was believed would come to light a while later only, but before what is told after it.
    transaction = check_out(site, widget)
    invoice_in(visitor, invoice_id, "paid")
    story = copeck("invoice", "show", invoice_id)["timeline"]
    attempts = [entry["detail"] for entry in story if entry["kind"] == "attempt"]
    assert [attempt["transaction_id"] for attempt in attempts] == [str(transaction)]
    assert "late_payment_received" not in str(story)


def test_a_customer_sees_only_what_is_theirs(site: Site, visitor: Person) -> None:
    other = log_in(register(site))
    subscription_id, invoice_id, _ = subscribe(other)
    other.http.close()
    for path in (f"subscriptions/{subscription_id}", f"invoices/{invoice_id}", f"invoices/{invoice_id}/timeline"):
        visitor.call("GET", f"{MINE}/{path}", expect=(404,))
    visitor.call("POST", f"{MINE}/subscriptions/{subscription_id}/cancel", expect=(404,))
    visitor.call("GET", "/admin/api/v1/subscriptions", expect=(403,))


def test_subscribing_twice_with_one_key_is_subscribing_once(visitor: Person) -> None:
    plan = visitor.call("GET", f"{MINE}/plans").json()["items"][0]
    key = {"Idempotency-Key": secrets.token_hex(8)}
    first = visitor.call("POST", f"{MINE}/subscriptions", json={"plan_id": plan["id"]}, headers=key, expect=(202,))
    again = visitor.call("POST", f"{MINE}/subscriptions", json={"plan_id": plan["id"]}, headers=key, expect=(202,))
    assert again.json()["id"] == first.json()["id"]
    visitor.call("POST", f"{MINE}/subscriptions", json={"plan_id": str(uuid.uuid4())}, headers=key, expect=(422,))
