"""The whole policy in front of a dependency that is called through somebody else's client."""

from collections.abc import Awaitable, Callable
from time import monotonic
from typing import TypeVar

from tracelab.conventions import CIRCUIT_OPEN
from tracelab.services.kit import breaker, deadline
from tracelab.services.kit.bulkhead import Bulkhead
from tracelab.services.kit.policy import Policy
from tracelab.services.kit.refusal import refuse

_Result = TypeVar("_Result")


class Guard:
    """Lets calls through one by one: deadline, breaker, bulkhead. `failures` are what counts against the callee."""

    def __init__(self, edge: str, policy: Policy, *, failures: tuple[type[BaseException], ...]) -> None:
        self._edge = edge
        self._failures = failures
        self._breaker = breaker.told(edge, policy.breaker)
        self._bulkhead = Bulkhead(edge, calls=policy.calls, acquire_s=policy.acquire_s)

    async def call(self, make: Callable[[], Awaitable[_Result]], *, may_last: bool = False) -> _Result:
        """Make a call, or raise `Refused`. One that `may_last` (a large body) is not slow, however long it takes."""
        deadline.demand(self._edge)
        await self._bulkhead.enter()
        try:
            ticket = self._breaker.admit()
            if ticket == breaker.NO:
                raise refuse(self._edge, CIRCUIT_OPEN)
            began_s = monotonic()
            try:
                result = await make()
            except self._failures:
                self._breaker.failed(ticket)
                raise
            except Exception:
                self._breaker.succeeded(ticket, monotonic() - began_s)  # it answered, if only with a no
                raise
            self._breaker.succeeded(ticket, 0.0 if may_last else monotonic() - began_s)
            return result
        finally:
            self._bulkhead.leave()
