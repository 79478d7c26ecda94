"""The time that is left for a request: it comes with the request, shrinks, and goes along with every call."""

import contextlib
import math
from collections.abc import Iterator
from contextvars import ContextVar
from time import monotonic
from typing import Final

from starlette.types import ASGIApp, Receive, Scope, Send

from tracelab.conventions import DEADLINE_EXCEEDED, HEADER_DEADLINE_MS
from tracelab.services.kit.problem import Problem, problem_response
from tracelab.services.kit.refusal import refuse
from tracelab.telemetry.tracing import note_error_type

LEAST_S: Final = 0.02  # with less left nothing is begun
_HEADER: Final = HEADER_DEADLINE_MS.lower().encode()
_until_s: ContextVar[float] = ContextVar("tracelab_deadline", default=math.inf)


def remaining_s() -> float:
    """Return how much time the request in hand has; infinite where nobody waits."""
    return _until_s.get() - monotonic()


def at_most(limit_s: float) -> float:
    """Return a limit, shortened to what remains; never negative."""
    return max(0.0, min(limit_s, remaining_s()))


def demand(edge: str) -> None:
    """Raise `Refused` where too little time is left to begin a call over `edge`."""
    if remaining_s() < LEAST_S:
        raise refuse(edge, DEADLINE_EXCEEDED)


def header() -> dict[str, str]:
    """Return what tells the callee how much time is left; nothing where nobody waits."""
    left_s = remaining_s()
    return {} if math.isinf(left_s) else {HEADER_DEADLINE_MS: str(max(0, int(left_s * 1000)))}


@contextlib.contextmanager
def within(limit_s: float) -> Iterator[None]:
    """Allow what happens inside at most so much time."""
    token = _until_s.set(min(_until_s.get(), monotonic() + limit_s))
    try:
        yield
    finally:
        _until_s.reset(token)


@contextlib.contextmanager
def of_its_own(limit_s: float = math.inf) -> Iterator[None]:
    """Free what happens inside from the request's deadline: it is for others too, or for nobody who waits."""
    token = _until_s.set(monotonic() + limit_s)
    try:
        yield
    finally:
        _until_s.reset(token)


class Deadlines:
    """Middleware: reads ``X-Tracelab-Deadline-Ms``, and answers at once where it leaves no time to do anything."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request under its deadline."""
        if scope["type"] == "http":
            for name, value in scope["headers"]:
                if name == _HEADER and value.isdigit():
                    left_s = int(value) / 1000
                    if left_s < LEAST_S:
                        note_error_type(DEADLINE_EXCEEDED)
                        await problem_response(TOO_LATE)(scope, receive, send)
                        return
                    _until_s.set(monotonic() + left_s)  # the request's task is its own context
                    break
        await self._app(scope, receive, send)


TOO_LATE: Final = Problem(503, "too little time is left to answer; try again", retry_after_s=1)
