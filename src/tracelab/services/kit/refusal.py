"""Calls that a policy did not let happen: each kind is an ``error.type``, and an event on the span in hand."""

from typing import Final

from opentelemetry import trace

from tracelab.conventions import (
    BULKHEAD_FULL,
    CIRCUIT_OPEN,
    DEADLINE_EXCEEDED,
    EDGE,
    ERROR_TYPE,
    EVENT_BREAKER_REJECTED,
    EVENT_CALL_REFUSED,
)

_SAID: Final = {
    CIRCUIT_OPEN: "failed too often just now",
    BULKHEAD_FULL: "has too many calls under way",
    DEADLINE_EXCEEDED: "cannot answer in the time that is left",
}


class Refused(Exception):
    """A call over an edge was not made; `error_type` is one of ``circuit_open, bulkhead_full, deadline_exceeded``."""

    def __init__(self, edge: str, error_type: str) -> None:
        super().__init__(f"{edge.partition('->')[2] or edge} {_SAID[error_type]}; try again")
        self.edge = edge
        self.error_type = error_type


def refuse(edge: str, error_type: str) -> Refused:
    """Return the refusal to raise, and say so on the span in hand. There is no CLIENT span: nobody was called."""
    note_refusal(edge, error_type)
    return Refused(edge, error_type)


def note_refusal(edge: str, error_type: str) -> None:
    """Say on the span in hand that a policy kept a call, or its repetition, from being made."""
    event = EVENT_BREAKER_REJECTED if error_type == CIRCUIT_OPEN else EVENT_CALL_REFUSED
    trace.get_current_span().add_event(event, {EDGE: edge, ERROR_TYPE: error_type})
