"""Partition: two components, or one and everybody else, cannot reach each other."""

from collections.abc import Mapping
from typing import Final

from tracelab.chaos import probe
from tracelab.chaos.edgefault import EdgeFault
from tracelab.chaos.fault import Effect
from tracelab.chaos.planned import Setting
from tracelab.chaos.remote import Toxic
from tracelab.chaos.site import Site
from tracelab.chaos.target import Listener, between, word_count
from tracelab.errors import UsageError

MODES: Final = ("refuse", "blackhole", "reset")
_QUIET_S = 0.3


def _mode(text: str) -> str:
    if text not in MODES:
        raise UsageError(f"mode {text!r}: expected {', '.join(MODES)}", hint="tracelab chaos partition feed media")
    return text


SETTINGS: Final = (
    Setting(
        name="mode",
        help="How it shows: 'refuse' (nobody listens), 'blackhole' (no answer at all), 'reset' (cut off).",
        takes="MODE",
        default="refuse",
        read=_mode,
    ),
    Setting(name="one-way", help="Only calls from the first to the second; by default those back as well."),
)


def build(site: Site, target: str, settings: Mapping[str, str], *, ttl_s: float) -> EdgeFault:
    """Return the fault.

    Raises:
        UsageError: there is no such edge.
    """
    word_count(target, 1, 2)
    mode, is_one_way = settings.get("mode", "refuse"), "one-way" in settings
    if is_one_way and len(target.split()) == 1:
        raise UsageError(
            f"partition {target} --one-way: from whom to whom? expected two words",
            hint="tracelab chaos partition feed profile --one-way",
        )
    found = between(site.topology, site.listeners, target, one_way=is_one_way)
    return EdgeFault(
        kind="partition",
        target=target,
        ttl_s=ttl_s,
        harm=site.harm,
        proxy=site.proxy,
        listeners=found,
        toxics=[toxic for listener in found for toxic in _toxics(listener.name, mode)],
        look={"refuse": _refused, "blackhole": _unanswered, "reset": _reset}[mode],
        resets=mode == "reset",
    )


def _toxics(edge: str, mode: str) -> list[Toxic]:
    if mode == "refuse":
        return [Toxic(edge=edge, type="refuse")]
    if mode == "reset":
        return [
            Toxic(edge=edge, type="reset_peer", stream=stream, attributes={"timeout": 0})
            for stream in ("upstream", "downstream")
        ]
    # New connections get no answer, and those that are there fall silent in both directions.
    silence = [
        Toxic(edge=edge, type="timeout", stream=stream, attributes={"timeout": 0})
        for stream in ("upstream", "downstream")
    ]
    return [Toxic(edge=edge, type="connect_timeout"), *silence]


def _refused(_fault_id: str, listener: Listener) -> Effect:
    return _effect("connect", probe.connect(listener.address), "refused", listener)


def _unanswered(_fault_id: str, listener: Listener) -> Effect:
    return _effect("connect", probe.connect(listener.address, timeout_s=_QUIET_S), "timed out", listener)


def _reset(_fault_id: str, listener: Listener) -> Effect:
    return _effect("request", probe.ask(listener.address, listener.edge.protocol, timeout_s=1.0), "reset", listener)


def _effect(what: str, seen: probe.Seen, wanted: str, listener: Listener) -> Effect:
    text = f"{what} {seen.outcome} in {seen.took_ms:.1f} ms on {listener.name}"
    return Effect(text=text, is_there=seen.outcome == wanted)
