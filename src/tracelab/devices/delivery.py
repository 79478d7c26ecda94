"""Messages on their way: from the moment a person wanted to send until the other phone rings."""

import threading
from dataclasses import dataclass

from tracelab.clock import now_ns
from tracelab.devices.outcome import OK, TIMEOUT, Attempt, OnDone

OPERATION = "message delivery"
PATIENCE_S = 5.0


@dataclass(frozen=True, slots=True)
class _OnItsWay:
    intended_ns: int
    sent_ns: int
    trace_id: str
    person: str


class Deliveries:
    """Matches what was sent with what arrived, by `client_id`; phones of one process share it."""

    def __init__(self, on_done: OnDone) -> None:
        self._on_done = on_done
        self._waiting: dict[str, _OnItsWay] = {}
        self._lock = threading.Lock()

    def sent(self, client_id: str, *, intended_ns: int, sent_ns: int, trace_id: str, person: str) -> None:
        """Begin to wait for a message; call it before the message leaves."""
        with self._lock:
            self._waiting[client_id] = _OnItsWay(intended_ns, sent_ns, trace_id, person)

    def arrived(self, client_id: str) -> None:
        """Take note that the receiver has it; what nobody waits for any more is passed over."""
        self._end(client_id, OK)

    def failed(self, client_id: str, outcome: str) -> None:
        """Take note that it will never arrive."""
        self._end(client_id, outcome)

    def give_up(self, *, after_s: float = PATIENCE_S) -> int:
        """Time out what was sent `after_s` ago or earlier, and return how many still wait."""
        limit_ns = now_ns() - int(after_s * 1e9)
        with self._lock:
            overdue = [key for key, message in self._waiting.items() if message.sent_ns <= limit_ns]
        for key in overdue:
            self._end(key, TIMEOUT)
        return len(self._waiting)

    def _end(self, client_id: str, outcome: str) -> None:
        done_ns = now_ns()
        with self._lock:
            message = self._waiting.pop(client_id, None)
        if message is not None:
            self._on_done(
                Attempt(
                    operation=OPERATION,
                    intended_ns=message.intended_ns,
                    sent_ns=message.sent_ns,
                    done_ns=done_ns,
                    status=0,
                    outcome=outcome,
                    trace_id=message.trace_id,
                    person=message.person,
                )
            )
