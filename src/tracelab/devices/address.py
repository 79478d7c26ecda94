"""An address of its own for each phone: limits by address then see people, not one machine."""

import socket
from functools import lru_cache
from random import Random
from urllib.parse import urlsplit

_LOOPBACK = ("127.0.0.1", "localhost")
_HOSTS = 253 * 254 * 254  # 127.1.0.1 ... 127.253.253.254, leaving 127.0.0.0/16 to real listeners


def address_of(seed: int, index: int) -> str:
    """Return the loopback address of one phone; phones of one seed never share one."""
    number = (Random(f"address/{seed}").randrange(_HOSTS) + index) % _HOSTS
    upper, low = divmod(number, 254)
    high, middle = divmod(upper, 254)
    return f"127.{1 + high}.{middle}.{1 + low}"


def can_reach(url: str) -> bool:
    """Claim that a gateway can be reached from such an address: it is on loopback, and this system lets us bind one."""
    return (urlsplit(url).hostname or "127.0.0.1") in _LOOPBACK and can_bind()


@lru_cache(maxsize=1)
def can_bind() -> bool:
    """Claim that this system lets a client bind any address of 127.0.0.0/8 (Linux does, macOS does not)."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        try:
            probe.bind(("127.1.2.3", 0))
        except OSError:
            return False
    return True
