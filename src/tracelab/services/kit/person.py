"""For whom a statement runs: PostgreSQL's row policies go by ``app.user_id``, which goes along with the statement.

Who nobody is said to be sees no row of anybody (`tracelab.services.kit.rowsecurity`): forgetting to say so shows.
"""

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any, Final, Self

import psycopg
from psycopg.abc import Params
from psycopg.pq import PipelineStatus, TransactionStatus

_person: ContextVar[str | None] = ContextVar("person", default=None)
_SAY: Final = (
    "SELECT set_config('app.user_id', %s, true)"  # true: for this transaction, and not for the next of the pool
)


def act_as(user_id: str) -> None:
    """Let all that this task, and those it starts, asks of a database be asked for a person."""
    _person.set(user_id)


@contextlib.contextmanager
def acting_as(user_id: str) -> Iterator[None]:
    """Let what is asked of a database in this block be asked for a person."""
    token = _person.set(user_id)
    try:
        yield
    finally:
        _person.reset(token)


class PersonalCursor(psycopg.AsyncCursor[Any]):
    """Says with the first statement of each transaction for whom it is.

    Both travel in one pipeline, and with them ``BEGIN`` where there is one: it is the same number of round trips. A
    statement on its own is a transaction with what was said before it, as the pipeline's end is the transaction's
    (PostgreSQL, "Pipelining" in the frontend/backend protocol).
    """

    async def execute(
        self,
        query: Any,
        params: Params | None = None,
        *,
        prepare: bool | None = None,
        binary: bool | None = None,
    ) -> Self:
        """Execute a statement for the person at hand, if there is one."""
        person = _person.get()
        wire = self.connection.pgconn
        is_first = wire.transaction_status == TransactionStatus.IDLE and wire.pipeline_status == PipelineStatus.OFF
        if person is None or not is_first:
            return await super().execute(query, params, prepare=prepare, binary=binary)
        async with self.connection.pipeline():
            await self.connection.execute(_SAY, (person,), prepare=True)
            await super().execute(query, params, prepare=prepare, binary=binary)
        return self
