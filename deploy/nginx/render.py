"""Renders nginx.conf: for the runner (all in a scratch directory, free ports) and for compose (fixed names)."""

import re
import sys
from collections.abc import Mapping
from pathlib import Path

_FOLDER = Path(__file__).parent
_PARAMETER = re.compile(r"\$\{([A-Z_]+)\}")

DEFAULTS: dict[str, str] = {
    "LISTEN_HOST": "0.0.0.0",  # noqa: S104 - inside a container; the runner passes 127.0.0.1
    "PORT": "8080",
    "ADMIN_PORT": "8443",
    "SCRATCH": "/tmp/nginx",  # noqa: S108 - a tmpfs of the container's own
    "USER_DIRECTIVE": "",
    "WORKERS": "2",
    "ACCESS_LOG": "/dev/stdout",
    "BODY_MAX": "64k",
    "REQUESTS_PER_SECOND": "50",
    "BURST": "200",
    "CONNECTIONS_MAX": "100",
    "SCHEME": "$scheme",
    "AUTH_UPSTREAM": "auth:8000",
    "SUBSCRIPTIONS_UPSTREAM": "subscriptions:8000",
    "GATEWAY_UPSTREAM": "payments-gateway:8000",
}
"""Every parameter and what it is when nothing is said: the values of compose.

USER_DIRECTIVE is `user root;` when nginx runs as root in a private directory; SCHEME is `https` behind a TLS proxy.
"""


def render(values: Mapping[str, str] | None = None) -> str:
    """Return the text of nginx.conf; ValueError for a parameter that does not exist."""
    given = {name: str(value) for name, value in (values or {}).items()}
    unknown = sorted(set(given) - set(DEFAULTS))
    if unknown:
        raise ValueError(f"nginx.conf has no parameters {', '.join(unknown)}")
    parameters = {**DEFAULTS, **given}
    parameters["KNOWN"] = _fill("routes_known.conf.template", parameters).rstrip("\n")
    parameters["COMMON"] = _fill("routes_common.conf.template", parameters)
    parameters["ROUTES"] = _fill("routes.conf.template", parameters)
    parameters["ADMIN_ROUTES"] = _fill("admin_routes.conf.template", parameters)
    return _fill("nginx.conf.template", parameters)


def _fill(name: str, parameters: Mapping[str, str]) -> str:
    text = (_FOLDER / name).read_text(encoding="utf-8")
    return _PARAMETER.sub(lambda found: parameters[found.group(1)], text)


def main(arguments: list[str]) -> int:
    """`python -m deploy.nginx.render NAME=value … > nginx.conf`."""
    sys.stdout.write(render(dict(argument.split("=", 1) for argument in arguments)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
