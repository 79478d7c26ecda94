"""Run one component of the platform as a container's only program: ``python -m ...component KIND``.

Everything comes from ``TRACELAB_`` variables; ``TRACELAB_KIND`` goes before the words of the command, which may then be
those that another image would need for the same. Servers take this process's place (exec), so that they are the
container's first process and get the engine's signals; what is Python runs in it. A restart finds its data again.
"""

import importlib
import json
import os
import secrets
import shutil
import socket
import sys
from collections.abc import Mapping
from pathlib import Path

from tracelab import settings
from tracelab.errors import TracelabError, UnknownName
from tracelab.runtimes import postgresql, program, valkey
from tracelab.runtimes.containers import gateway, source, standby
from tracelab.runtimes.containers.tool import PLAIN, run
from tracelab.settings import Given

_EVERYWHERE = "0.0.0.0"  # noqa: S104 -- a container's own network; what is published is published on loopback
_BACKLOG = 1024
_DATAGRAM_BUFFER_BYTES = 1 << 20


def main() -> int:
    """Run the component that ``TRACELAB_KIND`` or else the first argument names, until it ends."""
    kinds = {
        "database": _database,
        "cache": _cache,
        "gateway": _gateway,
        "object-store": _object_store,
        "collector": _collector,
        "service": _service,
        "identity-provider": _service,
        "source": _source,
    }
    given = settings.component()
    try:
        kind = given.get("kind") or (sys.argv[1] if len(sys.argv) > 1 else "")
        if kind not in kinds:
            raise UnknownName("component kind", kind, kinds, hint="docker run IMAGE service")
        if "source" in given and kind != "source":
            source.follow(Path(given["source"]))
        kinds[kind](given)
    except TracelabError as cause:
        sys.stderr.write(f"{cause.message}\n")
        return int(cause.exit_code)
    return 0


def _database(given: Given) -> None:
    data, binary = Path(given["data"]) / "postgres", program.find(program.POSTGRES)
    follower, following = given.get("follower_password", ""), list[str]()
    if "primary" in given:
        following = standby.follow(data, binary, given)
    else:
        if not (data / "PG_VERSION").exists():
            _make_cluster(data, binary, given)
        if follower:
            standby.admit(data, binary, database=given["database"], password=follower)
    words = postgresql.options(
        major=int((data / "PG_VERSION").read_text().strip()),
        listen=_EVERYWHERE,
        has_statements=postgresql.has_statements(binary),
        is_replicated=bool(follower),
    )
    _become([str(binary), "-D", str(data), "-p", given["port"], *words, *following])


def _make_cluster(data: Path, binary: Path, given: Given) -> None:
    """Make a cluster with its one database and the roles of it, whole or not at all."""
    passwords = postgresql.Passwords(
        service=given["password"], owner=given["owner_password"], system=given["system_password"]
    )
    making = data.with_name("postgres.making")
    shutil.rmtree(making, ignore_errors=True)
    secret = data.with_name("postgres.superuser")
    secret.touch(mode=0o600)
    secret.write_text(secrets.token_hex(24))
    run([str(binary.with_name("initdb")), "-D", str(making), *postgresql.INITDB, f"--pwfile={secret}"])
    secret.unlink()  # nobody logs in as the superuser
    with (making / "pg_hba.conf").open("a") as rules:
        rules.write("host all all all scram-sha-256\n")
    statements = (
        postgresql.DROPPED
        + (postgresql.STATEMENTS if postgresql.has_statements(binary) else "")
        + postgresql.monitor(given["monitor_password"])
        + postgresql.ownership(given["database"], passwords)
    )
    run([str(binary), "--single", "-D", str(making), *postgresql.SINGLE, postgresql.DATABASE], statements)
    making.rename(data)


def _cache(given: Given) -> None:
    folder, binary = Path(given["data"]), program.find(program.VALKEY)
    text = valkey.configuration(listen=_EVERYWHERE, port=int(given["port"]), password=given["password"], folder=folder)
    path = folder / "valkey.conf"
    path.touch(mode=0o600)
    path.write_text(text)
    _become([str(binary), str(path)])


def _gateway(given: Given) -> None:
    binary, network = str(program.find(program.NGINX)), given.get("network", "")
    _become(gateway.command(binary, given["configuration"], given["access_log"], network=network))


def _object_store(given: Given) -> None:
    objects = Path(given["data"]) / "objects"
    objects.mkdir(exist_ok=True)
    options = {
        "data": str(objects),
        "access_key": given["access_key"],
        "secret_key": given["secret_key"],
    }
    _serve("tracelab.runtimes.embedded.objectstore:main", options, {"http": _listen(given)})


def _collector(given: Given) -> None:
    receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _DATAGRAM_BUFFER_BYTES)
    receiver.bind((_EVERYWHERE, int(given["statsd_port"])))
    options = {
        "folder": given["data"],
        "access_log": given["access_log"],
        "environment": given["environment"],
        "boot": secrets.token_hex(4),
        "life": given["life"],
        "gateway_instance": given["gateway_instance"],
        "grpc_port": int(given["grpc_port"]),
        "host": _EVERYWHERE,
        "onward": given.get("onward"),
        "otlp_to": given.get("otlp_to"),
        "stores": json.loads(given.get("stores", "{}")),
    }
    _serve("tracelab.collector.server:main", options, {"http": _listen(given), "statsd": receiver})


def _service(given: Given) -> None:
    os.environ["TRACELAB_BOOT"] = secrets.token_hex(4)  # a container that starts again keeps its environment
    _serve("tracelab.services.kit.process:main", {"app": given["app"]}, {"http": _listen(given)})


def _source(given: Given) -> None:
    source.hand_out(Path(given["mounted"]), Path(given["source"]))


def _listen(given: Given) -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((_EVERYWHERE, int(given["port"])))
    listener.listen(_BACKLOG)
    return listener


def _become(command: list[str]) -> None:
    sys.stdout.flush()
    os.execve(command[0], command, PLAIN)  # noqa: S606 -- there is no shell but the one that we name


def _serve(entry: str, options: Mapping[str, object], sockets: Mapping[str, socket.socket]) -> None:
    module, function = entry.split(":")
    getattr(importlib.import_module(module), function)(options, sockets)


if __name__ == "__main__":
    sys.exit(main())
