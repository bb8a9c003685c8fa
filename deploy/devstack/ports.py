"""Free ports on 127.0.0.1, the same ones on every run of the same checkout when nobody took them meanwhile."""

import os
import socket
import weakref
import zlib
from collections.abc import Iterable

HOST = "127.0.0.1"
# Where pages are served: another address of this machine lets a phone in the same network buy a cup.
PUBLIC_HOST = os.environ.get("COPECK_PUBLIC_HOST", "").strip() or HOST
# Below the range from which the kernel takes the local ports of outgoing connections, so that none of those can be
# given our port between looking and listening.
_FIRST, _LAST = 20_000, 31_999


def is_free(port: int) -> bool:
    """Tell whether nobody listens on a port of any local address."""
    for address in {HOST, PUBLIC_HOST, "0.0.0.0"}:  # noqa: S104 - looked at, never served
        with socket.socket() as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                sock.bind((address, port))
            except OSError:
                return False
    return True


class Ports:
    """Hands out ports that are free and distinct, also from those of other runners that start at the same time."""

    def __init__(self, seed: str) -> None:
        self._seed = seed
        self._claims: dict[int, socket.socket] = {}
        weakref.finalize(self, _give_up, self._claims)

    def take(self, name: str, preferred: Iterable[int] = ()) -> int:
        """Return a free port: a preferred one, else one that depends on the seed and the name."""
        start = zlib.crc32(f"{self._seed}/{name}".encode())
        span = _LAST - _FIRST + 1
        candidates = [*preferred, *(_FIRST + (start + step * 7) % span for step in range(500))]
        for port in candidates:
            if port not in self._claims and is_free(port) and self._claim(port):
                return port
        raise RuntimeError(f"no free port for {name} among {len(candidates)} tried")

    def _claim(self, port: int) -> bool:
        """Hold a name of the port's in the kernel's own space for as long as this lives: nobody listens on it yet."""
        claim = socket.socket(socket.AF_UNIX)
        try:
            claim.bind(f"\0copeck-port-{port}")
        except OSError:
            claim.close()
            return False
        self._claims[port] = claim
        return True


def _give_up(claims: dict[int, socket.socket]) -> None:
    for claim in claims.values():
        claim.close()
