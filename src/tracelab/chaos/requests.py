"""Requests that a fault is meant for, chosen by what they carry in their W3C baggage through every hop."""

from collections.abc import Mapping
from typing import Final
from urllib.parse import quote

from tracelab.chaos.planned import Setting
from tracelab.errors import UsageError


def _pairs(text: str) -> dict[str, str]:
    pairs = [pair.partition("=") for pair in text.split(",")]
    if not all(key.strip() and equals and value.strip() for key, equals, value in pairs):
        raise UsageError(f"baggage {text!r}: expected KEY=VALUE", hint="--baggage tracelab.harm=media")
    return {key.strip(): value.strip() for key, _, value in pairs}


BAGGAGE: Final = Setting(
    name="baggage",
    help="Only requests that carry this in their baggage; the value may be a glob.",
    takes="KEY=VALUE",
    read=_pairs,
)


def baggage_of(settings: Mapping[str, str]) -> dict[str, str]:
    """Return the baggage of the requests that are meant; empty for all."""
    return _pairs(settings["baggage"]) if settings.get("baggage") else {}


def header_of(baggage: Mapping[str, str]) -> dict[str, str]:
    """Return the header of a request that is meant, for a look at the effect; globs are taken for themselves."""
    members = [f"{key}={quote(value.replace('*', 'x').replace('?', 'x'))}" for key, value in baggage.items()]
    return {"baggage": ",".join(members)} if members else {}
