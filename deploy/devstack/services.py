"""The processes of Copeck as a table: what runs, as whom, on which port, and how it is asked for its health."""

import json
import secrets
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from deploy.devstack import health
from deploy.devstack.infra.base import Context, Endpoints
from deploy.devstack.ports import HOST, PUBLIC_HOST
from deploy.devstack.process import Process, Spec
from deploy.devstack.scratch import ROOT

PROVIDER, MOCK_PROVIDER = "cloudpayments", "mock"
SHOP, OWN_SHOP = "main", "merchant"
# What the mock gateway's shop may sell: no product is called so, so that payers are never sent to a page it has not.
MOCK_PRODUCTS = ("mock",)
_BEHIND = 19
# Where processors are short, whoever is asked comes first, and what is decided meanwhile is decided in larger batches.
_BATCHES = 10


# What a buyer's phone must reach beside the edge: the provider's widget, and the machine's own screen.
_SHOWN = ("cloudpayments", "machines", "admin")


def host_of(name: str) -> str:
    """Return the address on which a process listens."""
    return PUBLIC_HOST if name in _SHOWN else HOST


@dataclass(frozen=True)
class Wiring:
    """Everything that a service can be told: filled once, before the first process starts."""

    endpoints: Endpoints
    databases: Mapping[str, str]
    brokers: Mapping[str, str]
    celery: Mapping[str, str]
    ports: Mapping[str, int]
    public_url: str
    emulators_dir: str
    shop_public_id: str = field(default_factory=lambda: f"test_api_{secrets.token_hex(12)}")
    shop_secret: str = field(default_factory=lambda: secrets.token_hex(16))
    mock_public_id: str = field(default_factory=lambda: f"mock_{secrets.token_hex(12)}")
    mock_secret: str = field(default_factory=lambda: secrets.token_hex(16))
    signing_secret: str = field(default_factory=lambda: secrets.token_urlsafe(32))
    merchant_shops_secret: str = field(default_factory=lambda: secrets.token_urlsafe(32))
    device_secret: str = field(default_factory=lambda: secrets.token_urlsafe(32))
    own_shop_public_id: str = field(default_factory=lambda: f"test_api_{secrets.token_hex(12)}")
    own_shop_secret: str = field(default_factory=lambda: secrets.token_hex(16))
    tmetr_token: str = field(default_factory=lambda: secrets.token_urlsafe(24))
    extra: Mapping[str, str] = field(default_factory=dict)
    yields: bool = True
    """Whether what nobody waits for yields the processor."""

    def url(self, name: str) -> str:
        """Return a process's own URL, past nginx."""
        return f"http://{host_of(name)}:{self.ports[name]}"


@dataclass(frozen=True)
class Service:
    """One process."""

    name: str
    command: tuple[str, ...]
    role: str | None = None
    broker_user: str | None = None
    celery_user: str | None = None
    http: bool = True
    """Serves an API on its port; without it the port has health and metrics only."""
    health_path: str = "/readyz"
    nice: int = 0
    """How far it yields the processor to those whom somebody waits for: what it does may come a moment later."""
    settings: Callable[[Wiring], Mapping[str, str]] = lambda _wiring: {}


def shops(keys: Mapping[str, str], mock_keys: Mapping[str, str]) -> list[dict[str, object]]:
    """Return COPECK_SHOPS: a contract with each provider that has an emulator, by its keys."""
    return [
        {"provider": PROVIDER, "shop": SHOP, **keys},
        {"provider": MOCK_PROVIDER, "shop": SHOP, "products": MOCK_PRODUCTS, **mock_keys},
    ]


def _gateway(wiring: Wiring) -> Mapping[str, str]:
    keys = {"public_id": wiring.shop_public_id, "api_secret": wiring.shop_secret}
    mock_keys = {"public_id": wiring.mock_public_id, "api_secret": wiring.mock_secret}
    return {
        "COPECK_CLOUDPAYMENTS_API_URL": wiring.url("cloudpayments"),
        "COPECK_CLOUDPAYMENTS_WIDGET_URL": f"{wiring.url('cloudpayments')}/bundles/cloudpayments.js",
        "COPECK_MOCK_GATEWAY_URL": wiring.url("mock-gateway"),
        "COPECK_SHOPS": json.dumps(shops(keys, mock_keys)),
        "COPECK_MERCHANT_SHOPS_SECRET": wiring.merchant_shops_secret,
    }


def _devices(wiring: Wiring) -> Mapping[str, str]:
    return {
        "COPECK_MQTT_URL": wiring.endpoints.mqtt_url or "",
        "COPECK_SMTP_URL": f"smtp://{host_of('machines')}:{wiring.ports['mail']}",
        "COPECK_TMETR_URL": f"{wiring.url('machines')}/tmetr",
        "COPECK_TMETR_TOKEN": wiring.tmetr_token,
        "COPECK_DEVICE_SECRET": wiring.device_secret,
    }


def _machines(wiring: Wiring) -> Mapping[str, str]:
    return {
        "SANDBOX_MACHINES_HOST": host_of("machines"),
        "SANDBOX_MACHINES_PORT": str(wiring.ports["machines"]),
        "SANDBOX_MACHINES_MAIL_PORT": str(wiring.ports["mail"]),
        "SANDBOX_MACHINES_PUBLIC_URL": wiring.url("machines"),
        "SANDBOX_MACHINES_SHOP_URL": wiring.public_url,
        "SANDBOX_MACHINES_DATA_DIR": f"{wiring.emulators_dir}/machines",
        # A machine logs in by its own account; only the broker's address is needed here.
        "SANDBOX_MACHINES_MQTT_URL": health.without_login(wiring.endpoints.mqtt_url or "")[0],
        "SANDBOX_MACHINES_TMETR_TOKEN": wiring.tmetr_token,
    }


def _auth(wiring: Wiring) -> Mapping[str, str]:
    return {
        "COPECK_SIGNING_SECRET": wiring.signing_secret,
        "COPECK_ALLOWED_ORIGINS": json.dumps([wiring.url("admin")]),
    }


def _emulator(wiring: Wiring) -> Mapping[str, str]:
    shop = {
        "name": SHOP,
        "public_id": wiring.shop_public_id,
        "api_secret": wiring.shop_secret,
        "notify_url": f"{wiring.public_url}/payments/api/v1/paid/{PROVIDER}/{{shop}}/{{type}}",
    }
    # A terminal that is some merchant's: it tells the emulator itself where to notify.
    own = {"name": OWN_SHOP, "public_id": wiring.own_shop_public_id, "api_secret": wiring.own_shop_secret}
    return {
        "SANDBOX_CLOUDPAYMENTS_HOST": host_of("cloudpayments"),
        "SANDBOX_CLOUDPAYMENTS_PORT": str(wiring.ports["cloudpayments"]),
        "SANDBOX_CLOUDPAYMENTS_PUBLIC_URL": wiring.url("cloudpayments"),
        "SANDBOX_CLOUDPAYMENTS_DATA_DIR": f"{wiring.emulators_dir}/cloudpayments",
        "SANDBOX_CLOUDPAYMENTS_SHOPS": json.dumps([shop, own]),
    }


def _mock_gateway(wiring: Wiring) -> Mapping[str, str]:
    return {
        "SANDBOX_MOCK_HOST": HOST,
        "SANDBOX_MOCK_PORT": str(wiring.ports["mock-gateway"]),
        "SANDBOX_MOCK_DATA_DIR": f"{wiring.emulators_dir}/mock-gateway",
        "SANDBOX_MOCK_SHOPS": json.dumps([{"public_id": wiring.mock_public_id, "api_secret": wiring.mock_secret}]),
    }


SERVICES: tuple[Service, ...] = (
    Service("cloudpayments", ("sandbox.providers.cloudpayments", "serve"), health_path="/healthz", settings=_emulator),
    Service("mock-gateway", ("sandbox.providers.mock", "serve"), health_path="/healthz", settings=_mock_gateway),
    Service("machines", ("sandbox.machines", "serve"), health_path="/healthz", settings=_machines),
    Service("auth", ("auth", "serve"), role="auth", broker_user="auth", settings=_auth),
    Service("subscriptions", ("subscriptions", "serve"), role="subscriptions", broker_user="subscriptions"),
    Service(
        "billing-state-updater",
        ("billing_state_updater", "serve"),
        role="state_updater",
        broker_user="state-updater",
        http=False,
        nice=_BATCHES,
    ),
    Service(
        "payments-gateway",
        ("payments_gateway", "serve"),
        role="gateway",
        broker_user="gateway",
        celery_user="gateway",
        settings=_gateway,
    ),
    Service(
        "gateway-worker",
        ("payments_gateway", "worker"),
        role="gateway",
        broker_user="gateway",
        celery_user="gateway",
        http=False,
        nice=_BEHIND,
        settings=_gateway,
    ),
    Service(
        "device-bridge",
        ("device_bridge", "serve"),
        role="devices",
        broker_user="devices",
        celery_user="devices",
        settings=_devices,
    ),
    Service(
        "device-worker",
        ("device_bridge", "worker"),
        role="devices",
        broker_user="devices",
        celery_user="devices",
        http=False,
        nice=_BEHIND,
        settings=_devices,
    ),
    Service(
        "reminder-worker",
        ("reminder_cron", "worker"),
        role="reminders",
        broker_user="reminders",
        celery_user="reminders",
        http=False,
    ),
    Service(
        "reminder-beat",
        ("reminder_cron", "beat"),
        role="reminders",
        broker_user="reminders",
        celery_user="reminders",
        http=False,
    ),
)

BY_NAME: Mapping[str, Service] = {service.name: service for service in SERVICES}


def environment(service: Service, wiring: Wiring, port: int) -> dict[str, str]:
    """Return the settings of one process."""
    env = {
        "COPECK_ENVIRONMENT": "sandbox",
        "COPECK_REDIS_URL": wiring.endpoints.redis_url,
        "COPECK_LISTEN_HOST": HOST,
        "COPECK_LISTEN_PORT": str(port),
        "COPECK_PUBLIC_URL": wiring.public_url,
        "COPECK_JWKS_URL": f"{wiring.url('auth')}/auth/api/v1/.well-known/jwks.json",
        "COPECK_LOG_LEVEL": "INFO",
        # As for nginx: everything comes from one address here.
        "COPECK_RATE_LIMIT_FACTOR": "1000",
        "PYTHONUNBUFFERED": "1",
    }
    if not service.http:
        env["COPECK_METRICS_PORT"] = str(port)
    if service.role:
        env["COPECK_DATABASE_URL"] = wiring.databases[service.role]
    if service.broker_user:
        env["COPECK_BROKER_URL"] = wiring.brokers[service.broker_user]
    if service.celery_user:
        env["COPECK_CELERY_BROKER_URL"] = wiring.celery[service.celery_user]
    return {**env, **service.settings(wiring), **wiring.extra}


def create(
    context: Context, service: Service, wiring: Wiring, name: str | None = None, port: int | None = None
) -> Process:
    """Return one process, not started; `name` and `port` tell a second one of its kind apart."""
    at = port or wiring.ports[service.name]
    spec = Spec(
        name=name or service.name,
        command=[sys.executable, "-m", *service.command],
        module=service.command,
        env=environment(service, wiring, at),
        cwd=ROOT,
        health=health.http(f"http://{host_of(service.name)}:{at}{service.health_path}"),
        # A dozen interpreters start at once; on a busy machine of two cores that takes its time.
        ready_timeout_s=180,
        nice=service.nice if wiring.yields else 0,
        stop_timeout_s=20,
    )
    return Process(spec, context.scratch.logs, context.guard, context.loader)
