"""What `make up` prints: where everything is, and who may log in."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.e2e.coffee_scenario import Kiosk

_PREFIXES = {
    "auth": ("/auth/api/v1",),
    "subscriptions": ("/subscriptions/api/v1", "/admin/api/v1"),
    "payments-gateway": ("/payments/api/v1",),
    "device-bridge": ("/devices/api/v1",),
}


def lines(state: dict[str, Any], kiosk: "Kiosk | None" = None) -> list[tuple[str, str]]:
    """Return the rows of the summary; a virtual machine that is switched on has its addresses in it."""
    urls, people = state["urls"], state["people"]
    public = urls["public"]
    management = state["servers"]["management_url"].rpartition("@")[2]
    rows = [("", "Pages"), ("cabinet", f"{public}/"), ("pay page", f"{public}/pay/<invoice>")]
    if kiosk is not None:
        rows += [("a machine", f"{kiosk.machine_url} (its screen: choose a drink, scan or click its QR code)")]
        rows += [("its buyers' page", f"{kiosk.page_url} (the printed QR code)")]
    rows.append(("", "API documentation (redoc beside docs, openapi.json too)"))
    for name, prefixes in _PREFIXES.items():
        rows += [(name, f"{public}{prefix}/docs") for prefix in prefixes if name in urls]
    rows += [
        ("", "Behind the scenes"),
        ("admin listener", urls["admin"]),
        ("CloudPayments", f"{urls.get('cloudpayments', '-')} (emulator; test card 4000 0000 0000 3055)"),
        ("mock gateway", f"{urls.get('mock-gateway', '-')} (emulator; what it really paid: /sandbox/log)"),
        ("machines", f"{urls.get('machines', '-')}/machines (virtual; what they really brewed: /control/log)"),
        ("mails", f"{urls.get('machines', '-')}/mails"),
        (
            "RabbitMQ",
            f"http://{management}/ (login {state['monitor']['user']}, password {state['monitor']['password']})",
        ),
        ("PostgreSQL", "make shell"),
        ("logs", state["logs"]),
        ("", "First logins"),
    ]
    rows += [(role, f"{person['email']} / {person['password']}") for role, person in people.items()]
    return rows


def print_summary(state: dict[str, Any], kiosk: "Kiosk | None" = None) -> None:
    """Print the summary to standard output."""
    for name, text in lines(state, kiosk):
        print(f"  {name:<18}{text}" if name else f"\n{text}", flush=True)
    print("\nCtrl-C stops everything." if state["instance"] == "main" else "", flush=True)
