"""What every request of a Run carries, so that its traces can be told from others: run, scenario, phase."""

from collections.abc import Mapping

from opentelemetry.context import Context

from tracelab.conventions import BAGGAGE_PHASE, BAGGAGE_RUN, BAGGAGE_SCENARIO, HTTP_METHOD, PEER_SERVICE, SCREEN
from tracelab.telemetry import propagation


class Marks:
    """The marks of one Run, shared by all its phones; `enter` changes the phase for everything sent from now on."""

    def __init__(self, *, run: str, scenario: str, phase: str = "warmup") -> None:
        self._fixed = {BAGGAGE_RUN: run, BAGGAGE_SCENARIO: scenario}
        self.enter(phase)

    def enter(self, phase: str) -> None:
        """Begin a phase."""
        self.phase = phase
        self.attributes: Mapping[str, str] = {**self._fixed, BAGGAGE_PHASE: phase}
        self.context: Context = propagation.with_baggage(self.attributes)
        carrier: dict[str, str] = {}
        propagation.inject(carrier, self.context)
        self.baggage = carrier.get("baggage", "")
        self._of_request: dict[tuple[str, str, str], Mapping[str, str]] = {}

    def of_request(self, method: str, target: str, screen: str) -> Mapping[str, str]:
        """Return the attributes of a client span; made once a phase, because a request is a matter of microseconds."""
        key = (method, target, screen)
        found = self._of_request.get(key)
        if found is None:
            found = {HTTP_METHOD: method, PEER_SERVICE: target, **self.attributes}
            if screen:
                found = {**found, SCREEN: screen}
            self._of_request[key] = found
        return found
