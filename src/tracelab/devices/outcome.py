"""What became of one thing that a person waited for, in a word."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from http import HTTPStatus

from urllib3.exceptions import NewConnectionError
from urllib3.exceptions import TimeoutError as Urllib3Timeout

OK = "ok"
ERROR = "error"  # 5xx, or a refused message
LIMITED = "limited"  # 429: the platform asked to come back later
UNEXPECTED = "unexpected"  # a 4xx that nobody asked for
TIMEOUT = "timeout"
REFUSED = "refused"
RESET = "reset"
DROPPED = "dropped"  # the generator had nobody free to begin it


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One request, or one message on its way, as its phone saw it. Nanoseconds since the epoch.

    `intended_ns` is when the person wanted it sent; `status` is 0 where no reply came; `is_hostile`: by somebody who
    means harm.
    """

    operation: str
    intended_ns: int
    sent_ns: int
    done_ns: int
    status: int
    outcome: str
    trace_id: str
    person: str
    degraded: str = ""
    is_hostile: bool = False


OnDone = Callable[[Attempt], None]


class NoAnswer(Exception):
    """A person did not get what they asked for; the step ends here, and the sample already says why."""

    def __init__(self, operation: str, outcome: str, *, status: int = 0, retry_after_s: float = 0.0) -> None:
        super().__init__(f"{operation}: {outcome}" + (f" ({status})" if status else ""))
        self.operation = operation
        self.outcome = outcome
        self.status = status
        self.retry_after_s = retry_after_s


def of_status(status: int, expected: Collection[int] = ()) -> str:
    """Return the outcome that an HTTP status means to a person who expected 2xx, 3xx, or one of `expected`."""
    if status < HTTPStatus.BAD_REQUEST or status in expected:
        return OK
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return ERROR
    return LIMITED if status == HTTPStatus.TOO_MANY_REQUESTS else UNEXPECTED


def of_error(error: BaseException) -> str:
    """Return the outcome that an exception of the transport means: refused, timeout or reset."""
    # urllib3 derives NewConnectionError from its time-out, so it is asked first.
    if isinstance(error, NewConnectionError | ConnectionRefusedError):
        return REFUSED
    if isinstance(error, Urllib3Timeout | TimeoutError):
        return TIMEOUT
    return RESET
