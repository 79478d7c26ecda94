"""Back to a known state without a reboot: stores emptied in place, everything in front of them started anew.

Who reads or writes is stopped first, so that nothing arrives in a store that was emptied already; and what services
remember (keys, tokens, copies) is of the people that are gone.
"""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import docker
import psycopg
from docker.errors import DockerException
from psycopg import sql

from tracelab.errors import InfrastructureError
from tracelab.platform.topology import Kind
from tracelab.runtimes import probe
from tracelab.runtimes.containers import engine
from tracelab.runtimes.containers.table import Row
from tracelab.runtimes.postgresql import owner_of
from tracelab.runtimes.wiring import HOST

# Who is stopped, in this order, and started again in the other: first who needs those that come after.
FRONT: Final = ((Kind.GATEWAY,), (Kind.SERVICE,), (Kind.IDENTITY_PROVIDER, Kind.OBJECT_STORE))
_CONNECT_S: Final = 10
# Alembic's table says which schema this is, and is no data.
_TABLES: Final = """
SELECT schemaname, tablename FROM pg_tables
WHERE schemaname !~ '^(pg_|information_schema$)' AND tablename <> 'alembic_version'
"""
_FILES: Final = ("sh", "-c", "find /data -type f | wc -l && find /data -mindepth 1 -delete")


def empty(client: docker.DockerClient, rows: Sequence[Row]) -> Iterator[tuple[str, str]]:
    """Empty every store; yield of each its instance and what was in it. Standbys follow by themselves.

    Raises:
        InfrastructureError: one cannot be emptied; those after it were left as they are.
    """
    for row in rows:
        if row.kind == Kind.DATABASE:
            found = _tables(client, row)
            if found is not None:
                yield row.instance, found
        elif row.kind == Kind.CACHE:
            yield row.instance, asyncio.run(probe.flush(row.port, row.question.word))
        elif row.kind == Kind.OBJECT_STORE:
            yield row.instance, _objects(client, row)


def _tables(client: docker.DockerClient, row: Row) -> str | None:
    """Remove every row, of whatever schema, and start every sequence anew; None for a standby."""
    name = row.question.word
    given = _environment(client, row)
    user, password = owner_of(name), given.get("TRACELAB_OWNER_PASSWORD")
    if password is None:  # its makers' image
        user, password = given.get("POSTGRES_USER", ""), given.get("POSTGRES_PASSWORD", "")
    if "TRACELAB_PRIMARY" in given:
        return None
    try:
        with psycopg.connect(
            host=HOST, port=row.port, dbname=name, user=user, password=password, connect_timeout=_CONNECT_S
        ) as connection:
            tables = [sql.Identifier(*names) for names in connection.execute(_TABLES)]
            counts = [
                connection.execute(sql.SQL("SELECT count(*) FROM {}").format(table)).fetchone() for table in tables
            ]
            if tables:
                every = sql.SQL(", ").join(tables)
                connection.execute(sql.SQL("TRUNCATE {} RESTART IDENTITY CASCADE").format(every))
    except psycopg.Error as cause:
        raise InfrastructureError(f"{row.instance} cannot be emptied: {cause}", hint="tracelab status") from cause
    return f"{sum(count[0] for count in counts if count)} rows of {len(tables)} tables"


def _objects(client: docker.DockerClient, row: Row) -> str:
    """Remove its files; a server that is started anew makes its folders again."""
    try:
        made = client.api.exec_create(row.container, [*_FILES])
        said = client.api.exec_start(made["Id"]).decode(errors="replace").strip()
        code = client.api.exec_inspect(made["Id"])["ExitCode"]
    except DockerException as cause:
        raise engine.explain(cause) from cause
    if code:
        raise InfrastructureError(f"{row.instance} cannot be emptied: {said}", hint="tracelab status")
    return f"{said.split()[0]} files"


def _environment(client: docker.DockerClient, row: Row) -> Mapping[str, str]:
    words: list[str] = client.api.inspect_container(row.container)["Config"]["Env"] or []
    return dict(word.split("=", 1) for word in words if "=" in word)
