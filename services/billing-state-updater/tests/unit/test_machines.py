"""Every pair (status, event) of every machine, forbidden ones too, against the business rules written by hand (I-02).

A row is an event, a column the status before it (`-` is an aggregate that does not exist yet), a cell the status
after it; a dot is forbidden. The grids were written from the rules, not from the tables: what a rule says stands
above its rows.
"""

from collections.abc import Iterator
from typing import Any

import pytest

from billing_state_updater.domain import machines
from billing_state_updater.domain.aggregates import Invoice, Payout
from billing_state_updater.domain.fold import ForbiddenTransitionError, next_status, step_invoice, step_payout
from copeck.kernel.ids import new_id

INVOICE = """
                              -    issd pend auth paid part refd canc expd void disp cbck
# An invoice is made once.
issued                        issd .    .    .    .    .    .    .    .    .    .    .
# The payer tries to pay what is open. A failed try ends nothing; one that nobody knows the end of neither.
attempt_started               .    pend pend .    .    .    .    .    .    .    .    .
attempt_failed                .    pend pend .    .    .    .    .    .    .    .    .
attempt_unknown               .    pend pend .    .    .    .    .    .    .    .    .
# What is said of an attempt after the invoice took another way is kept and changes nothing.
attempt_noted                 .    .    .    auth paid part refd canc expd void disp cbck
# Money is held once, for an open invoice; it is taken or released at the provider, and only its word ends the hold.
authorized                    .    auth auth .    .    .    .    .    .    .    .    .
capture_requested             .    .    .    auth .    .    .    .    .    .    .    .
void_requested                .    .    .    auth .    .    .    .    .    .    .    .
voided                        .    .    .    void .    .    .    .    .    .    .    .
# Money pays what is open or held, and nothing else.
paid                          .    paid paid paid .    .    .    .    .    .    .    .
# Only what nobody has paid, nor holds money for, is annulled or runs out.
canceled                      .    canc canc .    .    .    .    .    .    .    .    .
expired                       .    expd expd .    .    .    .    .    .    .    .    .
# Money and holds that the invoice cannot take may come at any time, and change nothing but the books (I-09).
late_payment_received         .    issd pend auth paid part refd canc expd void disp cbck
hold_release_requested        .    issd pend auth paid part refd canc expd void disp cbck
# The policy `accept` pays what ended unpaid, and only that: nothing else may have paid it.
late_accepted                 .    .    .    .    .    .    .    paid paid paid .    .
# What was paid and is not wholly back can be refunded.
refund_requested              .    .    .    .    paid part .    .    .    .    .    .
partially_refunded            .    .    .    .    part part .    .    .    .    .    .
refunded                      .    .    .    .    refd refd .    .    .    .    .    .
# News of a refund (also of late money) that moves nothing of the invoice's own.
refund_noted                  .    issd pend auth paid part refd canc expd void disp cbck
# A dispute is about money that we have; it ends where refunds left the invoice, or with the money gone.
dispute_opened                .    .    .    .    disp disp .    .    .    .    .    .
dispute_won                   .    .    .    .    .    .    .    .    .    .    paid .
dispute_won_partly_refunded   .    .    .    .    .    .    .    .    .    .    part .
dispute_won_refunded          .    .    .    .    .    .    .    .    .    .    refd .
charged_back                  .    .    .    .    .    .    .    .    .    .    cbck .
"""

PAYMENT = """
             -    crtd pend auth succ fail canc unkn
# An attempt goes forward only; `unknown` is left by any news, and follows any state that is not an end.
pending      .    pend .    .    .    .    .    pend
failed       .    fail fail fail .    .    .    fail
canceled     .    canc canc canc .    .    .    canc
unknown      .    unkn unkn unkn .    .    .    .
# That money is held is believed also after a failure, so that it is taken or released; a hold given up stays so.
authorized   .    auth auth .    .    auth .    auth
# That money was taken is believed also after the contrary was said.
succeeded    .    succ succ succ .    succ succ succ
"""

REFUND = """
             -    rqst pend succ fail unkn
# As an attempt: forward only, and never from `unknown` to an end without news (I-08).
pending      .    pend .    .    .    pend
failed       .    fail fail .    .    fail
unknown      .    unkn unkn .    .    .
# Money that left is booked, whatever was said before.
succeeded    .    succ succ .    succ succ
"""

PAYOUT = """
                     -    drft appr pend proc comp fail canc
# Made as a draft, or to be approved, or to go at once; a draft goes by the second person or directly. What failed
# before the second person was asked waits for them when it is tried again.
drafted              drft .    .    .    .    .    .    .
approval_requested   appr appr .    .    .    .    appr .
requested            pend .    .    .    .    .    .    .
submitted            .    pend .    .    .    .    .    .
approved             .    .    pend .    .    .    .    .
# It is called off before it has started, and not after.
canceled             .    canc canc canc .    .    .    .
# A source that is short fails it when it would be debited, and before anybody is asked to approve it.
funds_lacking        .    .    fail fail .    .    .    .
# The provider's word. An unknown outcome keeps it under way: it may have been made.
started              .    .    .    proc .    .    .    .
outcome_unknown      .    .    .    proc proc .    .    .
failed               .    .    .    fail fail .    .    .
# That it was paid out is believed also after we gave the money back.
completed            .    .    .    comp comp .    comp comp
# Only what failed is tried again.
retried              .    .    .    .    .    .    pend .
"""

NAMES = {
    "invoice": {
        "issd": "issued",
        "pend": "pending",
        "auth": "authorized",
        "paid": "paid",
        "part": "partially_refunded",
        "refd": "refunded",
        "canc": "canceled",
        "expd": "expired",
        "void": "voided",
        "disp": "disputed",
        "cbck": "charged_back",
    },
    "payment": {
        "crtd": "created",
        "pend": "pending",
        "auth": "authorized",
        "succ": "succeeded",
        "fail": "failed",
        "canc": "canceled",
        "unkn": "unknown",
    },
    "refund": {
        "rqst": "requested",
        "pend": "pending",
        "succ": "succeeded",
        "fail": "failed",
        "unkn": "unknown",
    },
    "payout": {
        "drft": "draft",
        "appr": "awaiting_approval",
        "pend": "pending",
        "proc": "processing",
        "comp": "completed",
        "fail": "failed",
        "canc": "canceled",
    },
}
GRIDS = {"invoice": INVOICE, "payment": PAYMENT, "refund": REFUND, "payout": PAYOUT}
STATUSES = {
    "invoice": machines.INVOICE_STATUSES,
    "payment": machines.PAYMENT_STATUSES,
    "refund": machines.REFUND_STATUSES,
    "payout": machines.PAYOUT_STATUSES,
}

Pair = tuple[str, str | None, str, str | None]


def read(machine: str) -> Iterator[Pair]:
    """Yield (machine, status, event, status after or None) for each cell of a grid."""
    names = NAMES[machine]
    lines = [line for line in GRIDS[machine].strip("\n").split("\n") if not line.startswith("#")]
    columns = [None if code == "-" else names[code] for code in lines[0].split()]
    for line in lines[1:]:
        event, *cells = line.split()
        assert len(cells) == len(columns), line
        for status, cell in zip(columns, cells, strict=True):
            yield machine, status, event, None if cell == "." else names[cell]


EXPECTED = [pair for machine in GRIDS for pair in read(machine)]


@pytest.mark.parametrize(("machine", "status", "event", "after"), EXPECTED)
def test_every_pair(machine: str, status: str | None, event: str, after: str | None) -> None:
    """I-02: the table has what the rules allow, and nothing else."""
    table = machines.MACHINES[machine]
    assert table.get((status, event)) == after
    if after is None:
        with pytest.raises(ForbiddenTransitionError):
            next_status(table, status, event)
    else:
        assert next_status(table, status, event) == after


@pytest.mark.parametrize("machine", GRIDS)
def test_the_grids_are_whole(machine: str) -> None:
    """No status and no event of a table is missing from its grid, so every pair is asserted."""
    pairs = {(status, event) for name, status, event, _ in EXPECTED if name == machine}
    table = machines.MACHINES[machine]
    assert set(table) <= pairs
    assert {status for status, _ in pairs} == {None, *STATUSES[machine]}
    assert set(NAMES[machine].values()) == set(STATUSES[machine])
    assert len(pairs) == (len(STATUSES[machine]) + 1) * len({event for _, event in pairs})


@pytest.mark.parametrize(
    ("machine", "status", "event", "after"), [pair for pair in EXPECTED if pair[0] in ("invoice", "payout")]
)
def test_folding_uses_the_tables(machine: str, status: str | None, event: str, after: str | None) -> None:
    """A forbidden step leaves the aggregate as it was; an allowed one moves status and version together."""
    aggregate: Any = (Invoice if machine == "invoice" else Payout)(new_id(), version=3, status=status)
    step: Any = step_invoice if machine == "invoice" else step_payout
    if after is None:
        with pytest.raises(ForbiddenTransitionError):
            step(aggregate, event, {})
        assert (aggregate.status, aggregate.version) == (status, 3)
    else:
        step(aggregate, event, {})
        assert (aggregate.status, aggregate.version) == (after, 4)
