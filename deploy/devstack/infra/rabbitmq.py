"""A private RabbitMQ node: its own name, cookie, epmd and ports; it works as any user, root in a bare chroot too."""

import secrets
import shutil
from pathlib import Path

from deploy.devstack import health
from deploy.devstack.console import RunnerError
from deploy.devstack.infra.base import Context
from deploy.devstack.ports import HOST
from deploy.devstack.process import Process, Spec

ADMIN = "copeck-admin"
NODE = "copeck@localhost"
PLUGINS = ("rabbitmq_management", "rabbitmq_prometheus")
# With a limit of millions, as containers have it, Erlang allocates a table of hundreds of megabytes.
_OPEN_FILES = 8192
_DISK_FREE_LIMIT = "1GB"


def find_server() -> Path | None:
    """Return the server script itself, not the distribution's wrapper, which insists on the user `rabbitmq`."""
    for place in ("/usr/lib/rabbitmq/bin/rabbitmq-server", "/usr/local/opt/rabbitmq/sbin/rabbitmq-server"):
        if Path(place).exists():
            return Path(place)
    found = shutil.which("rabbitmq-server")
    return Path(found).resolve() if found else None


def find_epmd() -> Path | None:
    """Return Erlang's port mapper."""
    found = shutil.which("epmd")
    if found:
        return Path(found)
    return next(iter(sorted(Path("/usr/lib/erlang").glob("erts-*/bin/epmd"), reverse=True)), None)


def create(context: Context) -> tuple[Process, Process, str, str]:
    """Configure the node; return epmd and the node, not started, with the administrator's amqp and management URLs."""
    server, epmd = find_server(), find_epmd()
    if server is None or epmd is None:
        raise RunnerError("RabbitMQ was not found")
    home = context.scratch.data_dir("rabbitmq")
    amqp, management, metrics, distribution, mapper = (
        context.ports.take(f"rabbitmq-{name}", preferred)
        for name, preferred in (
            ("amqp", ()),
            ("management", (15672,) if context.scratch.instance == "main" else ()),
            ("metrics", ()),
            ("distribution", ()),
            ("epmd", ()),
        )
    )
    password = secrets.token_urlsafe(18)
    _write_configuration(home, amqp, management, metrics, password)
    mapper_env = {"ERL_EPMD_PORT": str(mapper), "ERL_EPMD_ADDRESS": HOST, "HOME": str(home)}
    # Started by us and in the foreground: left to itself, the node starts a daemon that outlives it.
    epmd_spec = Spec(
        name="epmd",
        command=[str(epmd), "-port", str(mapper), "-address", HOST],
        env=mapper_env,
        cwd=home,
        health=_listens(mapper),
        ready_timeout_s=10,
        stop_timeout_s=5,
    )
    management_url = f"http://{ADMIN}:{password}@{HOST}:{management}"
    node_spec = Spec(
        name="rabbitmq",
        command=["/bin/sh", "-c", f'ulimit -n {_OPEN_FILES} 2>/dev/null; exec "$0"', str(server)],
        env={
            **mapper_env,
            "RABBITMQ_NODENAME": NODE,
            "RABBITMQ_DIST_PORT": str(distribution),
            "RABBITMQ_NODE_PORT": str(amqp),
            "RABBITMQ_NODE_IP_ADDRESS": HOST,
            "RABBITMQ_CONF_ENV_FILE": str(home / "rabbitmq-env.conf"),
            "RABBITMQ_CONFIG_FILE": str(home / "rabbitmq.conf"),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(home / "advanced.config"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(home / "enabled_plugins"),
            "RABBITMQ_GENERATED_CONFIG_DIR": str(home / "generated"),
            "RABBITMQ_MNESIA_BASE": str(home / "mnesia"),
            "RABBITMQ_LOG_BASE": str(home / "log"),
            "RABBITMQ_LOGS": "-",
            "RABBITMQ_PID_FILE": str(home / "node.pid"),
            # Without busy waiting: its schedulers would spin on processors that all the others are waiting for.
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1} "
            "+sbwt none +sbwtdcpu none +sbwtdio none",
            # `localhost` is ours even where no hosts file says so.
            "ERL_INETRC": str(home / "inetrc"),
            "ERL_CRASH_DUMP_SECONDS": "0",
            # The script then becomes the node, instead of a shell that waits for it: one process, one signal.
            "RUNNING_UNDER_SYSTEMD": "1",
        },
        cwd=home,
        health=health.rabbitmq(management_url),
        ready_timeout_s=180,
        stop_timeout_s=30,
    )
    epmd_process = Process(epmd_spec, context.scratch.logs, context.guard)
    node = Process(node_spec, context.scratch.logs, context.guard)
    return epmd_process, node, f"amqp://{ADMIN}:{password}@{HOST}:{amqp}/%2F", management_url


def _write_configuration(home: Path, amqp: int, management: int, metrics: int, password: str) -> None:
    (home / "rabbitmq-env.conf").write_text("")
    (home / "advanced.config").write_text("[].\n")
    (home / "enabled_plugins").write_text(f"[{','.join(PLUGINS)}].\n")
    (home / "inetrc").write_text('{lookup, [file, native]}.\n{host, {127,0,0,1}, ["localhost"]}.\n')
    lines = {
        "listeners.tcp.1": f"{HOST}:{amqp}",
        "management.tcp.ip": HOST,
        "management.tcp.port": management,
        "prometheus.tcp.ip": HOST,
        "prometheus.tcp.port": metrics,
        "default_user": ADMIN,
        "default_pass": password,
        "default_user_tags.administrator": "true",
        "disk_free_limit.absolute": _DISK_FREE_LIMIT,
        "log.console": "true",
        "log.console.level": "info",
        "log.file": "false",
    }
    text = "".join(f"{key} = {value}\n" for key, value in lines.items())
    path = home / "rabbitmq.conf"
    path.write_text(text)
    path.chmod(0o600)


def _listens(port: int) -> health.Health:
    import socket

    def check() -> str | None:
        try:
            socket.create_connection((HOST, port), timeout=1).close()
        except OSError as error:
            return str(error)
        return None

    return check
