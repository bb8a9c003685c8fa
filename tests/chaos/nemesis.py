"""What goes wrong: deaths, sleeps, restarts, a lost binding, lying callbacks; each is drawn from the seed."""

import asyncio
import json
import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import aiormq
import httpx2

from copeck.messaging import topology
from deploy.devstack import prepare
from deploy.devstack.console import RunnerError
from deploy.devstack.stack import Stack

LEASE_S = 3.0
KILLED = ("billing-state-updater", "payments-gateway", "gateway-worker", "billing-state-updater-2")
PROVIDER_CHAOS: dict[str, Any] = {
    "probabilities": {
        "duplicate": 0.2,
        "reorder": 0.15,
        "delay": 0.15,
        "drop": 0.06,
        "lose_answer": 0.1,
        "forged": 0.08,
        "late_success": 0.05,
        "wrong_amount": 0.03,
        "error_after_success": 0.1,
        "timeout_after_success": 0.03,
        "error_before": 0.05,
    },
    "operations": {
        "duplicate": ["pay", "fail", "refund"],
        "reorder": ["pay", "fail", "refund"],
        "delay": ["pay", "fail", "refund"],
        "drop": ["pay", "refund"],
        "lose_answer": ["pay", "fail", "refund"],
        "error_after_success": ["refund", "checkout", "topup"],
        "timeout_after_success": ["refund", "topup"],
        "error_before": ["refund", "find", "get", "topup"],
    },
    "options": {
        "delay_ms": [50, 1500],
        "reorder_window_ms": 800,
        "late_success_ms": [500, 4000],
        "timeout_ms": 4000,
        "wrong_amount_hidden_from_check": True,
    },
}


def invoice_bindings(*queues: str) -> dict[str, list[tuple[str, str]]]:
    """Return the bindings that bring invoices to these queues."""
    return {
        queue.name: [binding for binding in queue.bindings if binding[1].startswith("invoice.")]
        for queue in topology.queues()
        if queue.name in queues
    }


MOCK_CHAOS: dict[str, Any] = {
    "probabilities": {
        "error_before": 0.05,
        "error_after_success": 0.08,
        "timeout_before": 0.02,
        "timeout_after_success": 0.04,
        "too_many": 0.05,
        "decline": 0.1,
        "duplicate": 0.1,
    },
    "options": {"timeout_ms": 4000},
}


@dataclass
class Nemesis:
    """Does harm to a running stack until told to stop, and can undo all of it."""

    stack: Stack
    emulator_url: str
    gateway_url: str
    mock_url: str
    seed: int
    done: Counter[str] = field(default_factory=Counter)
    history: list[tuple[float, str]] = field(default_factory=list)
    invoices: Callable[[], list[str]] = list
    pay_out: Callable[[], None] = lambda: None
    """Asks for one payout, so that there is one whose acceptance a kill can follow."""
    killed: tuple[str, ...] = KILLED
    unbound: dict[str, list[tuple[str, str]]] = field(
        default_factory=lambda: invoice_bindings("subscriptions.events", "gateway.events")
    )

    def __post_init__(self) -> None:
        self._chance = random.Random(self.seed)
        self._stop = threading.Event()
        self._began = time.monotonic()

    def kinds(self) -> list[tuple[str, Callable[[], None]]]:
        """Return what can be done, each as often as it is to come in a round."""
        return [
            ("kill", self.kill),
            ("kill", self.kill),
            ("sleep", self.sleep),
            ("broker", self.restart_broker),
            ("database", self.crash_database),
            ("binding", self.lose_binding),
            ("forge", self.forge),
            ("drain", self.drain_balance),
            ("kill after acceptance", self.kill_after_acceptance),
        ]

    def run(self) -> None:
        """Do one thing after another, every kind at least once, until `stop`."""
        kinds = self.kinds()
        waiting: list[tuple[str, Callable[[], None]]] = []
        while not self._stop.is_set() or len({name for name, _ in kinds} - set(self.done)):
            if not waiting:
                waiting = list(kinds)
                self._chance.shuffle(waiting)
            name, action = waiting.pop()
            try:
                action()
                self.done[name] += 1
            except (RunnerError, OSError, httpx2.HTTPError, aiormq.exceptions.AMQPError, TimeoutError) as error:
                self.note(f"{name} did not work out: {error!r}"[:200])
            self._stop.wait(self._chance.uniform(0.3, 1.5))

    def stop(self) -> None:
        """Ask `run` to end after what it is at."""
        self._stop.set()

    def note(self, text: str) -> None:
        """Keep a line of history."""
        self.history.append((round(time.monotonic() - self._began, 2), text))

    def _pause(self, low: float, high: float) -> None:
        threading.Event().wait(self._chance.uniform(low, high))

    def kill(self) -> None:
        """SIGKILL a process with its children, and start it again."""
        name = self._chance.choice(self.killed)
        self.note(f"kill -9 {name}")
        process = self.stack.processes[name]
        process.kill()
        self._pause(0.1, 2.0)
        process.start()

    def sleep(self) -> None:
        """Stop an updater for longer than its lease, and wake it: its epochs are gone by then."""
        name = self._chance.choice(("billing-state-updater", "billing-state-updater-2"))
        self.note(f"SIGSTOP {name}")
        process = self.stack.processes[name]
        process.pause()
        self._pause(LEASE_S * 1.3, LEASE_S * 2)
        process.resume()
        self.note(f"SIGCONT {name}")

    def restart_broker(self) -> None:
        """Restart RabbitMQ."""
        self.note("restart rabbitmq")
        self.stack.infra.restart("rabbitmq")

    def crash_database(self) -> None:
        """Kill Postgres and start it again: it recovers from its log."""
        self.note("kill -9 postgres")
        server = self.stack.infra.processes["postgres"]
        server.kill()
        server.start_and_wait()

    def lose_binding(self) -> None:
        """Take away the bindings that bring invoices to services; events come back unroutable or miss them."""
        for queue in self.unbound:
            self.note(f"unbind {queue}")
        asyncio.run(self._bindings(present=False))
        self._pause(0.5, 2.5)
        asyncio.run(self._bindings(present=True))
        self.note("bindings are back")

    async def _bindings(self, *, present: bool) -> None:
        logins, endpoints = self.stack.logins, self.stack.infra.endpoints
        url = prepare.with_login(endpoints.rabbitmq_url, "deployer", logins.broker["deployer"], "/billing")
        connection = await asyncio.wait_for(aiormq.connect(url), 10)
        try:
            channel = await connection.channel()
            for queue, bindings in self.unbound.items():
                change = channel.queue_bind if present else channel.queue_unbind
                for exchange, key in bindings:
                    await change(queue, exchange, key)
        finally:
            await connection.close()

    def forge(self) -> None:
        """Send callbacks that no provider signed, for invoices that exist."""
        known = self.invoices()
        self.note("forge callbacks")
        with httpx2.Client(base_url=self.gateway_url, timeout=5, trust_env=False) as client:
            for _ in range(5):
                invoice = self._chance.choice(known) if known else "01a1fcbe-e640-7544-b70b-9916a8535157"
                number = self._chance.randrange(9 * 10**11, 10**12)
                body = (
                    f"TransactionId={number}&Amount=199.00&Currency=RUB&InvoiceId={invoice}&Status=Completed"
                    "&PaymentAmount=199.00&PaymentCurrency=RUB&OperationType=Payment&TestMode=1&GatewayName=Sandbox"
                )
                headers = {
                    "Content-Type": "application/x-www-form-urlencoded",
                    "Content-HMAC": "Zm9yZ2Vk",
                    "X-Content-HMAC": "Zm9yZ2Vk",
                }
                path = "/payments/api/v1/paid/cloudpayments/main/pay"
                client.post(path, content=body, headers=headers)

    def drain_balance(self) -> None:
        """Run the mock provider's balance dry for a while: what is to be sent waits, and nothing is lost."""
        self.note("the provider's balance is dry")
        with httpx2.Client(base_url=self.mock_url, timeout=10, trust_env=False) as client:
            client.put("/sandbox/balance", json={"RUB": "0.00"}).raise_for_status()
            self._pause(1.0, 3.0)
            client.put("/sandbox/balance", json={"RUB": "50000000.00"}).raise_for_status()

    def kill_after_acceptance(self) -> None:
        """Kill the worker once the provider has accepted a transfer and before its answer has arrived.

        TimeoutError when nothing was accepted: then it did not happen.
        """
        with httpx2.Client(base_url=self.mock_url, timeout=10, trust_env=False) as client:
            before = self._accepted(client)
            client.post(
                "/sandbox/chaos/once", json={"switch": "timeout_after_success", "operation": "withdraw"}
            ).raise_for_status()
            self.pay_out()
            deadline = time.monotonic() + 10
            while self._accepted(client) == before:
                if time.monotonic() > deadline:
                    raise TimeoutError("the provider accepted no transfer")
                self._pause(0.02, 0.03)
        self.note("kill -9 gateway-worker, between acceptance and commit")
        process = self.stack.processes["gateway-worker"]
        process.kill()
        self._pause(0.1, 1.0)
        process.start()

    def _accepted(self, client: httpx2.Client) -> int:
        return int(client.get("/sandbox/totals", params={"type": "withdraw"}).json()["withdrawn_minor"])

    def provoke_provider(self) -> None:
        """Switch the emulators' faults on."""
        with httpx2.Client(base_url=self.mock_url, timeout=10, trust_env=False) as client:
            client.put("/sandbox/chaos", json={"seed": self.seed, **MOCK_CHAOS}).raise_for_status()
        with httpx2.Client(base_url=self.emulator_url, timeout=10, trust_env=False) as client:
            answer = client.put("/sandbox/chaos", json={"seed": self.seed, **PROVIDER_CHAOS})
            if answer.is_error:
                raise RuntimeError(f"the emulator refused its faults: {answer.text[:300]}")

    def heal(self) -> None:
        """Undo everything: faults off, all processes awake and alive, bindings there."""
        with httpx2.Client(base_url=self.emulator_url, timeout=10, trust_env=False) as client:
            client.delete("/sandbox/chaos")
            client.post("/sandbox/notifications/release")
        with httpx2.Client(base_url=self.mock_url, timeout=10, trust_env=False) as client:
            client.delete("/sandbox/chaos")
            client.put("/sandbox/balance", json={"RUB": "50000000.00"})
        for process in (*self.stack.infra.processes.values(), *self.stack.processes.values()):
            process.resume()
            if not process.alive:
                process.start()
        for process in (*self.stack.infra.processes.values(), *self.stack.processes.values()):
            process.wait_ready()
        asyncio.run(self._bindings(present=True))
        self.note("healed")

    def report(self) -> str:
        """Return the history as JSON lines."""
        return "\n".join(json.dumps({"at_s": at, "event": text}) for at, text in self.history)
