"""What has to be in the servers before a service starts: roles, schemas, tables, the topology of the bus."""

import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import quote, urlsplit, urlunsplit

from copeck.messaging.topology import BILLING_HOST, CELERY_HOST, CELERY_USERS, USERS, apply, definitions
from copeck.storage.migrations import upgrade_all
from copeck.storage.roles import LOGINS, MIGRATOR, bootstrap
from deploy.devstack.console import say
from deploy.devstack.infra.base import Endpoints

DATABASE = "copeck"


def _password() -> str:
    return secrets.token_urlsafe(18)


@dataclass(frozen=True)
class Logins:
    """One password for each database role and each broker user, made for this run."""

    database: Mapping[str, str] = field(default_factory=lambda: {name: _password() for name in LOGINS})
    broker: Mapping[str, str] = field(default_factory=lambda: {name: _password() for name in USERS})


def with_login(url: str, user: str, password: str, path: str) -> str:
    """Return a URL with another login and path."""
    parts = urlsplit(url)
    host = f"{parts.hostname}:{parts.port}" if parts.port else str(parts.hostname)
    netloc = f"{quote(user, safe='')}:{quote(password, safe='')}@{host}"
    return urlunsplit((parts.scheme, netloc, path, "", ""))


def database_urls(endpoints: Endpoints, logins: Logins) -> dict[str, str]:
    """Return the URL of the services' database for each role."""
    return {
        role: with_login(endpoints.postgres_url, role, password, f"/{DATABASE}")
        for role, password in logins.database.items()
    }


def broker_urls(endpoints: Endpoints, logins: Logins) -> tuple[dict[str, str], dict[str, str]]:
    """Return the URLs of the billing host for each user, and those of the Celery host for who may use it."""
    billing = {
        user: with_login(endpoints.rabbitmq_url, user, password, f"/{BILLING_HOST}")
        for user, password in logins.broker.items()
    }
    celery = {
        user: with_login(endpoints.rabbitmq_url, user, logins.broker[user], f"/{CELERY_HOST}") for user in CELERY_USERS
    }
    return billing, celery


def admin_url(endpoints: Endpoints) -> str:
    """Return the superuser's URL of the services' database."""
    parts = urlsplit(endpoints.postgres_url)
    return urlunsplit((parts.scheme, parts.netloc, f"/{DATABASE}", "", ""))


def prepare_database(endpoints: Endpoints, logins: Logins) -> None:
    """Create the database, its roles and schemas, and run every service's migrations."""
    began = time.monotonic()
    bootstrap(admin_url(endpoints), dict(logins.database))
    names = upgrade_all(database_urls(endpoints, logins)[MIGRATOR])
    say("migrations", f"{', '.join(names)}: up to date in {time.monotonic() - began:.1f} s")


def prepare_broker(endpoints: Endpoints, logins: Logins) -> None:
    """Apply the topology: virtual hosts, users, rights, exchanges, queues."""
    began = time.monotonic()
    document = definitions(logins.broker)
    apply(endpoints.management_url, document)
    say(
        "topology",
        f"{len(document['queues'])} queues, {len(document['users'])} users in {time.monotonic() - began:.1f} s",
    )
