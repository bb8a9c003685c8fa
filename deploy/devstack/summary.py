"""What `make up` prints: where everything is, and who may log in."""

from typing import Any

_PREFIXES = {
    "auth": ("/auth/api/v1",),
    "subscriptions": ("/subscriptions/api/v1", "/admin/api/v1"),
    "payments-gateway": ("/payments/api/v1",),
    "device-bridge": ("/devices/api/v1",),
}


def lines(state: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the rows of the summary."""
    urls, people = state["urls"], state["people"]
    public = urls["public"]
    management = state["servers"]["management_url"].rpartition("@")[2]
    rows = [("", "Pages"), ("cabinet", f"{public}/"), ("pay page", f"{public}/pay/<invoice>")]
    rows.append(("", "API documentation (redoc beside docs, openapi.json too)"))
    for name, prefixes in _PREFIXES.items():
        rows += [(name, f"{public}{prefix}/docs") for prefix in prefixes if name in urls]
    rows += [
        ("", "Behind the scenes"),
        ("admin listener", urls["admin"]),
        ("CloudPayments", f"{urls.get('cloudpayments', '-')} (emulator; test card 4000 0000 0000 3055)"),
        ("mock gateway", f"{urls.get('mock-gateway', '-')} (emulator; what it really paid: /sandbox/log)"),
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


def print_summary(state: dict[str, Any]) -> None:
    """Print the summary to standard output."""
    for name, text in lines(state):
        print(f"  {name:<18}{text}" if name else f"\n{text}", flush=True)
    print("\nCtrl-C stops everything." if state["instance"] == "main" else "", flush=True)
