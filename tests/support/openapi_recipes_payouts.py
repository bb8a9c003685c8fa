"""Calls of the APIs of payouts, batches and corrections that ought to succeed."""

from tests.support.openapi_recipes import PAYMENTS, REASON, Call, reading, recipe
from tests.support.openapi_seeds import ANONYMOUS, WAIT, Seeds, key
from tests.support.payout_seeds import (
    CSV,
    LARGE,
    batch,
    batch_file,
    body_of,
    correction,
    correction_body,
    failed_payout,
    payout,
    second_manager,
)

PAYOUTS, BATCHES, CORRECTIONS = f"{PAYMENTS}/payouts", f"{PAYMENTS}/payouts/batches", f"{PAYMENTS}/corrections"

reading(PAYOUTS, "manager", status="draft", order="-amount", currency="RUB", amount_from="1.00", limit="2")
reading(f"{PAYOUTS}/{{payout_id}}", "manager", "payout_id")
reading(BATCHES, "operator", limit="2")
reading(f"{BATCHES}/{{batch_id}}", "manager", "batch_id")
reading(f"{BATCHES}/{{batch_id}}/result.csv", "manager", "batch_id")
reading(CORRECTIONS, "operator", status="requested", limit="2")
reading(f"{CORRECTIONS}/{{correction_id}}", "manager", "correction_id")


def _as_second(seeds: Seeds) -> dict[str, str]:
    return {"Authorization": str(second_manager(seeds).http.headers["Authorization"])}


@recipe("POST", PAYOUTS)
def _ask(_: Seeds) -> Call:
    return Call("manager", headers={**key(), **WAIT}, body=body_of())


@recipe("PATCH", f"{PAYOUTS}/{{payout_id}}")
def _describe(seeds: Seeds) -> Call:
    made = payout(seeds, draft=True)
    return Call("manager", {"payout_id": made}, headers=seeds.tag(f"{PAYOUTS}/{made}"), body={"description": "May"})


@recipe("DELETE", f"{PAYOUTS}/{{payout_id}}")
def _delete(seeds: Seeds) -> Call:
    return Call("manager", {"payout_id": payout(seeds, draft=True)})


@recipe("POST", f"{PAYOUTS}/{{payout_id}}/submit")
def _submit(seeds: Seeds) -> Call:
    return Call("manager", {"payout_id": payout(seeds, draft=True)}, headers={**key(), **WAIT})


@recipe("POST", f"{PAYOUTS}/{{payout_id}}/approve")
def _approve(seeds: Seeds) -> Call:
    headers = {**key(), **WAIT, **_as_second(seeds)}
    return Call(ANONYMOUS, {"payout_id": payout(seeds, LARGE)}, headers=headers)


@recipe("POST", f"{PAYOUTS}/{{payout_id}}/cancel")
def _cancel(seeds: Seeds) -> Call:
    made = payout(seeds, draft=True)
    return Call("manager", {"payout_id": made}, headers={**key(), **WAIT}, body={"reason": "not now"})


@recipe("POST", f"{PAYOUTS}/{{payout_id}}/retry")
def _retry(seeds: Seeds) -> Call:
    return Call("manager", {"payout_id": failed_payout(seeds)}, headers=key())


@recipe("POST", BATCHES)
def _upload(_: Seeds) -> Call:
    return Call("manager", query={"provider": "mock"}, headers=dict(CSV), raw=batch_file())


@recipe("POST", f"{BATCHES}/{{batch_id}}/approve")
def _approve_batch(seeds: Seeds) -> Call:
    return Call(ANONYMOUS, {"batch_id": batch(seeds)}, headers=_as_second(seeds))


@recipe("POST", f"{BATCHES}/{{batch_id}}/cancel")
def _cancel_batch(seeds: Seeds) -> Call:
    return Call("manager", {"batch_id": batch(seeds)})


@recipe("POST", CORRECTIONS)
def _correct(_: Seeds) -> Call:
    return Call("manager", headers=key(), body=correction_body())


@recipe("POST", f"{CORRECTIONS}/{{correction_id}}/approve")
def _approve_correction(seeds: Seeds) -> Call:
    return Call(ANONYMOUS, {"correction_id": correction(seeds)}, headers=_as_second(seeds))


@recipe("POST", f"{CORRECTIONS}/{{correction_id}}/reject")
def _reject_correction(seeds: Seeds) -> Call:
    return Call("manager", {"correction_id": correction(seeds)}, body=REASON)
