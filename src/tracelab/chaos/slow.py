"""Slow: every answer over the edges to a component comes later; with baggage only that to chosen requests."""

from collections.abc import Mapping
from typing import Final

from tracelab import quantity
from tracelab.chaos import probe
from tracelab.chaos.edgefault import EdgeFault, Look
from tracelab.chaos.fault import Effect
from tracelab.chaos.planned import Setting
from tracelab.chaos.remote import Toxic
from tracelab.chaos.requests import BAGGAGE, baggage_of, header_of
from tracelab.chaos.site import Site
from tracelab.chaos.target import Listener, of_http, towards, word_count
from tracelab.errors import UsageError

_MOST_S = 60.0


def _delay(text: str) -> float:
    seconds = quantity.duration_s(text)
    if not 0 < seconds <= _MOST_S:
        raise UsageError(f"{text!r}: expected more than nothing and at most 60s", hint="--latency 300ms")
    return seconds


SETTINGS: Final = (
    Setting(name="latency", help="So much later.", takes="TIME", default="300ms", read=_delay),
    Setting(name="jitter", help="Give or take so much.", takes="TIME", read=quantity.duration_s),
    BAGGAGE,
)


def build(site: Site, target: str, settings: Mapping[str, str], *, ttl_s: float) -> EdgeFault:
    """Return the fault.

    Raises:
        UsageError: there is no such edge, or only requests of HTTP can be chosen.
    """
    word_count(target, 1, 2)
    latency_s, jitter_s = _delay(settings.get("latency", "300ms")), quantity.duration_s(settings.get("jitter", "0ms"))
    if jitter_s > latency_s:
        raise UsageError(
            f"--jitter {settings['jitter']} is more than the latency, and nothing can come sooner than it does",
            hint=f"tracelab chaos slow {target} --latency {quantity.format_duration(jitter_s)}",
        )
    baggage = baggage_of(settings)
    found = towards(site.topology, site.listeners, target)
    if baggage:
        found = of_http(found, target, "chosen by its baggage")
    attributes = {"latency": round(latency_s * 1000), "jitter": round(jitter_s * 1000)}
    kind, stream = ("http_latency", "upstream") if baggage else ("latency", "downstream")
    return EdgeFault(
        kind="slow",
        target=target,
        ttl_s=ttl_s,
        harm=site.harm,
        proxy=site.proxy,
        listeners=found,
        toxics=[
            Toxic(edge=each.name, type=kind, stream=stream, attributes=attributes, baggage=baggage) for each in found
        ],
        look=_look(latency_s, jitter_s, header_of(baggage)),
    )


def _look(latency_s: float, jitter_s: float, headers: Mapping[str, str]) -> Look:
    asked = quantity.format_duration(latency_s)
    if jitter_s:
        asked += f" +-{quantity.format_duration(jitter_s)}"
    attempts = max(1, min(5, int(1.5 / latency_s)))
    wait_s = 2 * (latency_s + jitter_s) + 1

    def look(_fault_id: str, listener: Listener) -> Effect:
        protocol = listener.edge.protocol
        direct = probe.answer_ms(listener.upstream, protocol, timeout_s=wait_s, attempts=attempts)
        through = probe.answer_ms(listener.address, protocol, timeout_s=wait_s, attempts=attempts, headers=headers)
        if direct is None or through is None:
            return Effect(text=f"{listener.name} does not answer", is_there=False)
        added = through - direct
        return Effect(
            text=f"asked for {asked} more, measured {added:.0f} ms more on {listener.name}",
            is_there=added >= 1000 * (latency_s - jitter_s) * 0.8,
        )

    return look
