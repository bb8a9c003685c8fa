"""A wallet's whole life through nginx, every process, the bus and the providers, as `make demo` shows it."""

from collections.abc import Callable
from typing import Any

from tests.e2e.scenario import Person, Site
from tests.e2e.wallet_scenario import PREFIX, SBP, ended, keyed, live, money

Copeck = Callable[..., Any]


def test_a_wallet_is_filled_spent_and_emptied_and_a_payout_is_tried_again(site: Site, copeck: Copeck) -> None:
    told: list[str] = []
    story = live(site, lambda _who, text: told.append(text))
    # 1000.00 less 2 %, less a month at 199.00, less 300.00 and its 2 %.
    assert "980.00 RUB after the commission" in told[0]
    assert "781.00 RUB left" in told[1]
    assert "475.00 RUB left" in told[2]
    wallet = copeck("wallet", "show", story.wallet)
    assert "475.00" in str(wallet) or "47500" in str(wallet)
    payout = str(copeck("payout", "show", story.payout_id))
    for account in ("house:payouts", "payouts:in_transit", "provider:mock"):
        assert account in payout
    copeck("ledger", "verify")
    copeck("replay", "--check")


def test_who_asks_for_more_than_there_is_gets_an_answer_and_loses_nothing(site: Site, visitor: Person) -> None:
    body = {"amount": money("10.00"), "recipient": SBP, "provider": "mock"}
    asked = visitor.call("POST", f"{PREFIX}/payments/withdraw", json=body, headers=keyed(), expect=(202,)).json()
    found = ended(visitor, f"{PREFIX}/payments/{asked['id']}")
    assert (found["status"], found["last_error"]) == ("failed", "insufficient_funds")
    transactions = visitor.call("GET", f"{PREFIX}/wallets/RUB/transactions").json()["items"]
    assert transactions == []
