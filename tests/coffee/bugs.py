"""Bugs that the replaced coffee service had, and some that this one could have; `make bugs` plants them."""

from tests.chaos.planted import Bug, Change

_DOMAIN = "services/device-bridge/src/device_bridge/domain"
_UNIT = "services/device-bridge/tests/unit"

COFFEE_BUGS = (
    Bug(
        "a second payment commands the machine again",
        (
            Change(
                f"{_DOMAIN}/machine.py",
                "    (_S.PAID, _E.BREW_COMMANDED): _S.MAKE_PENDING,\n",
                "    (_S.PAID, _E.BREW_COMMANDED): _S.MAKE_PENDING,\n"
                "    (_S.MAKE_PENDING, _E.INVOICE_PAID): _S.PAID,\n",
            ),
        ),
        f"{_UNIT}/test_order_decisions.py::test_a_second_payment_makes_no_second_command",
    ),
    Bug(
        "what is paid after its time is brewed",
        (
            Change(
                f"{_DOMAIN}/decisions.py",
                "    if order.status is Status.NOT_PAID or paid_at > order.expires_at:\n",
                "    if order.status is Status.NOT_PAID:\n",
            ),
        ),
        f"{_UNIT}/test_order_decisions.py::test_a_payment_that_buys_nothing_goes_back_at_once",
    ),
    Bug(
        "the money of a failed brew is kept",
        (
            Change(
                f"{_DOMAIN}/decisions.py",
                "    effects: tuple[Effect, ...] = (RefundInvoice(refund_id, reason), *more)\n",
                "    effects: tuple[Effect, ...] = more\n",
            ),
        ),
        f"{_UNIT}/test_brew_decisions.py::test_a_machine_that_did_not_make_it_is_not_asked_again",
    ),
    Bug(
        "the money goes back without a word to the machine",
        (
            Change(
                f"{_DOMAIN}/brews.py",
                "    if command.state is BrewState.QUEUED:\n        return _give_up(",
                "    if command.state is not BrewState.ACCEPTED:\n        return _give_up(",
            ),
            Change(
                f"{_DOMAIN}/brewing.py",
                "    (_S.QUEUED, _E.WITHDRAWN): _S.EXPIRED,\n",
                "    (_S.QUEUED, _E.WITHDRAWN): _S.EXPIRED,\n    (_S.SENT, _E.WITHDRAWN): _S.EXPIRED,\n",
            ),
        ),
        f"{_UNIT}/test_brew_decisions.py::test_no_answer_means_that_the_machine_is_asked_first",
    ),
    Bug(
        "a machine that says nothing more is taken to have brewed",
        (
            Change(
                f"{_DOMAIN}/brews.py",
                '    if not policy.completion_signal and policy.deadline_policy == "assume_success":\n'
                "        assumed =",
                "    if command.accepted_at is not None:\n        assumed =",
            ),
        ),
        f"{_UNIT}/test_brew_decisions.py::test_an_accepted_command_has_until_its_deadline",
    ),
    Bug(
        "no price is 50 roubles",
        (
            Change(
                f"{_DOMAIN}/prices.py",
                "            return catalogue or telemetry\n",
                "            return catalogue or telemetry or 5_000\n",
            ),
        ),
        f"{_UNIT}/test_selling.py::test_which_price_holds",
    ),
    Bug(
        "a link that nobody signed is taken",
        (
            Change(
                f"{_DOMAIN}/links.py",
                "    if not is_link_signed_by(key, device=device,",
                "    if not sig and not is_link_signed_by(key, device=device,",
            ),
        ),
        f"{_UNIT}/test_selling.py::test_links_that_the_machine_did_not_make_are_refused",
    ),
)
