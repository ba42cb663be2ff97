"""Free loopback ports for servers that are told where to listen."""

from __future__ import annotations

import random
import socket

from saga.errors import StackError

# Below the range from which the kernel takes ports for outgoing connections (from 32768 on), so that a port found free
# is not gone a moment later because some client connected to somewhere.
_LOWEST, _HIGHEST = 20_000, 32_000
_TRIES = 500

_random = random.SystemRandom()  # parallel test runs seeded alike must not walk through the same ports


def free_port(*, besides: frozenset[int] = frozenset()) -> int:
    """A TCP port of 127.0.0.1 on which nobody listens now, and not one of ``besides``.

    Somebody may still take it before the server does: callers start again with another one when that happens.
    """
    for _ in range(_TRIES):
        port = _random.randint(_LOWEST, _HIGHEST)
        if port not in besides and is_free(port):
            return port
    raise StackError(f"no free port between {_LOWEST} and {_HIGHEST}; stop what listens there (see `ss -ltn`)")


def free_ports(count: int) -> tuple[int, ...]:
    """``count`` different free ports."""
    ports: list[int] = []
    while len(ports) < count:
        ports.append(free_port(besides=frozenset(ports)))
    return tuple(ports)


def is_free(port: int) -> bool:
    """Whether a server could listen on ``port`` of 127.0.0.1 now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As servers do: a port whose last connections are still fading out can be listened on.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
