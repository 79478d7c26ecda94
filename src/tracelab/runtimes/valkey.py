"""How we run Valkey, whoever starts it: a cache and a message bus, with a password and no persistence."""

from pathlib import Path

_CONFIGURATION = """\
bind {listen}
protected-mode yes
port {port}
requirepass {password}
dir {folder}
daemonize no
save ""
appendonly no
maxmemory 64mb
maxmemory-policy allkeys-lru
tcp-backlog 511
loglevel notice
logfile ""
"""


def configuration(*, listen: str, port: int, password: str, folder: Path) -> str:
    """Return ``valkey.conf``; Redis reads it too."""
    return _CONFIGURATION.format(listen=listen, port=port, password=password, folder=f'"{folder}"')
