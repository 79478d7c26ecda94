"""Run one component of the platform as a container's only program: ``python -m ...component KIND``.

Everything comes from ``TRACELAB_`` variables; ``TRACELAB_KIND`` goes before the words of the command, which may then be
those that another image would need for the same. Servers take this process's place (exec), so that they are the
container's first process and get the engine's signals; what is Python runs in it. A restart finds its data again.
"""

import importlib
import os
import secrets
import shutil
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from tracelab import settings
from tracelab.errors import InfrastructureError, TracelabError, UnknownName
from tracelab.runtimes import postgresql, program, valkey
from tracelab.runtimes.containers import gateway, source
from tracelab.settings import Given

_EVERYWHERE = "0.0.0.0"  # noqa: S104 -- a container's own network; what is published is published on loopback
_BACKLOG = 1024
_DATAGRAM_BUFFER_BYTES = 1 << 20
_PLAIN = {"PATH": "/usr/bin:/bin", "LC_ALL": "C"}


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
    if not (data / "PG_VERSION").exists():
        passwords = postgresql.Passwords(
            service=given["password"], owner=given["owner_password"], system=given["system_password"]
        )
        _make_cluster(data, binary, role=given["database"], passwords=passwords)
    major = int((data / "PG_VERSION").read_text().strip())
    words = ["-D", str(data), "-p", given["port"], *postgresql.options(major=major, listen=_EVERYWHERE)]
    _become([str(binary), *words])


def _make_cluster(data: Path, binary: Path, *, role: str, passwords: postgresql.Passwords) -> None:
    """Make a cluster with its one database and the roles of it, whole or not at all."""
    making = data.with_name("postgres.making")
    shutil.rmtree(making, ignore_errors=True)
    secret = data.with_name("postgres.superuser")
    secret.touch(mode=0o600)
    secret.write_text(secrets.token_hex(24))
    _run([str(binary.with_name("initdb")), "-D", str(making), *postgresql.INITDB, f"--pwfile={secret}"])
    secret.unlink()  # nobody logs in as the superuser
    with (making / "pg_hba.conf").open("a") as rules:
        rules.write("host all all all scram-sha-256\n")
    statements = postgresql.DROPPED + postgresql.ownership(role, passwords)
    _run([str(binary), "--single", "-D", str(making), *postgresql.SINGLE, postgresql.DATABASE], statements)
    making.rename(data)


def _run(command: list[str], text: str = "") -> None:
    done = subprocess.run(command, input=text, capture_output=True, text=True, env=_PLAIN, check=False)
    if done.returncode:
        raise InfrastructureError(f"{command[0]} ended with {done.returncode}: {(done.stderr or done.stdout)[-2000:]}")


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
    options = {
        "data": str(Path(given["data"]) / "objects"),
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
    os.execve(command[0], command, _PLAIN)  # noqa: S606 -- there is no shell but the one that we name


def _serve(entry: str, options: Mapping[str, object], sockets: Mapping[str, socket.socket]) -> None:
    module, function = entry.split(":")
    getattr(importlib.import_module(module), function)(options, sockets)


if __name__ == "__main__":
    sys.exit(main())
