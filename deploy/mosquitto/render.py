"""What Mosquitto starts with: its configuration, and the file of the dynamic security plugin with one account in it.

The account is the device service's own. Over `$CONTROL/dynamic-security/v1` it gives every machine an account with
rights to that machine's topics only; the plugin keeps them in its file. Nobody else may do anything: without an account
nobody is let in, and an account without a role may neither publish, nor subscribe, nor be sent a message.
"""

import base64
import hashlib
import json
import secrets
from collections.abc import Mapping
from pathlib import Path

BRIDGE = "device-bridge"
OPEN_FILES = 16_384
"""What the broker may open: a fleet of 5,000 machines, and as many again that come back before they are missed."""
# As `mosquitto_ctrl dynsec init` writes them: PBKDF2 with SHA-512.
_ITERATIONS, _SALT_BYTES, _HASH_BYTES = 101, 12, 64
# What our contract, and the frames of the older machines, are spoken on.
TOPICS = ("cm/v1/#", "technical", "technical/#")
_CONTROL = "$CONTROL/dynamic-security/#"
_SYSTEM = "$SYS/#"
# Of Debian, of the image, and of builds from source.
_PLUGIN = "mosquitto_dynamic_security.so"
IMAGE_PLUGIN = f"/usr/lib/{_PLUGIN}"
"""Where the image `eclipse-mosquitto` has it."""
_IMAGE_DATA = "/mosquitto/data"
_PLUGIN_FOLDERS = ("/usr/lib", "/usr/lib64", "/usr/local/lib", "/opt/homebrew/lib")


def find_plugin() -> Path | None:
    """Return the dynamic security plugin, which distributions put beside their libraries."""
    for folder in map(Path, _PLUGIN_FOLDERS):
        for place in (folder / _PLUGIN, *sorted(folder.glob(f"*-linux-gnu*/{_PLUGIN}"))):
            if place.is_file():
                return place
    return None


def configuration(
    *, plugin: str, accounts: str, listeners: str, data_dir: str, user: str = "", more: Mapping[str, str] | None = None
) -> str:
    """Return mosquitto.conf; `listeners` are its lines of listeners, `accounts` the path of the plugin's file."""
    settings = {
        "allow_anonymous": "false",
        # Retained states outlive a restart; what was said since the last save, machines say again when they return.
        "persistence": "true",
        "persistence_location": f"{data_dir.rstrip('/')}/",
        "autosave_interval": "60",
        "max_packet_size": "65536",
        # The device service hears every machine: with the default of twenty on their way and a thousand waiting,
        # a fleet that returns at once would have its reports thrown away.
        "max_inflight_messages": "1000",
        "max_queued_messages": "100000",
        "set_tcp_nodelay": "true",
        "connection_messages": "false",
        "log_dest": "stderr",
        **(more or {}),
    }
    # Without `information`: the plugin would write a line about every account.
    log = ["log_type error", "log_type warning", "log_type notice"]
    lines = [f"user {user}"] if user else []
    lines += [f"plugin {plugin}", f"plugin_opt_config_file {accounts}", "per_listener_settings false"]
    lines += [f"{name} {value}" for name, value in settings.items()]
    return "\n".join([*lines, *log, listeners.strip(), ""])


def accounts(password: str, user: str = BRIDGE) -> str:
    """Return the plugin's file with the device service's account alone."""
    salt = secrets.token_bytes(_SALT_BYTES)
    hashed = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, _ITERATIONS, _HASH_BYTES)
    sending = [_rule("publishClientSend", topic) for topic in (*TOPICS, _CONTROL)]
    receiving = [_rule("publishClientReceive", topic) for topic in (*TOPICS, _CONTROL, _SYSTEM)]
    subscribing = [_rule("subscribePattern", topic) for topic in (*TOPICS, _CONTROL, _SYSTEM)]
    document = {
        "defaultACLAccess": {
            "publishClientSend": False,
            "publishClientReceive": False,
            "subscribe": False,
            "unsubscribe": True,
        },
        "clients": [
            {
                "username": user,
                "textName": "The device service: the accounts of machines are made by it",
                "password": base64.b64encode(hashed).decode(),
                "salt": base64.b64encode(salt).decode(),
                "iterations": _ITERATIONS,
                "roles": [{"rolename": user}],
            }
        ],
        "roles": [{"rolename": user, "acls": [*sending, *receiving, *subscribing]}],
    }
    return json.dumps(document, indent=1)


def _rule(kind: str, topic: str) -> dict[str, object]:
    return {"acltype": kind, "topic": topic, "priority": 0, "allow": True}


def documents() -> dict[str, str]:
    """Return what deploy/compose.yml mounts: TLS for machines and for us, and a plain listener for the health check."""
    tls = [
        "listener 8883",
        "certfile /run/secrets/mosquitto_certificate",
        "keyfile /run/secrets/mosquitto_key",
        "tls_version tlsv1.2",
        # Of the container itself alone.
        "listener 1883 127.0.0.1",
    ]
    text = configuration(
        plugin=IMAGE_PLUGIN, accounts=f"{_IMAGE_DATA}/accounts.json", listeners="\n".join(tls), data_dir=_IMAGE_DATA
    )
    return {"deploy/mosquitto/compose.conf": f"# Generated by `make docs` from render.py beside it.\n{text}"}
