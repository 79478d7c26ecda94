"""Times, sizes, shares and rates as people write them: ``300ms``, ``10MB``, ``20%``, ``40/s``. Never without a unit."""

import math
import re
from collections.abc import Mapping

from tracelab.errors import UsageError

_NUMBER = re.compile(r"\s*([0-9]+(?:\.[0-9]*)?|\.[0-9]+)\s*(.*?)\s*")

_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}
_BYTES = {
    "B": 1,
    "kB": 1000,
    "KB": 1000,
    "MB": 1000**2,
    "GB": 1000**3,
    "KiB": 1024,
    "MiB": 1024**2,
    "GiB": 1024**3,
}
_PER_S = {"/s": 1.0, "/m": 1 / 60, "/min": 1 / 60, "/h": 1 / 3600}
_SHARES = {"%": 0.01}


def _read(kind: str, text: object, units: Mapping[str, float], example: str) -> float:
    found = _NUMBER.fullmatch(str(text))
    if found is None:
        raise UsageError(f"{text!r} is not a {kind}; expected a number and a unit, e.g. {example}")
    number, unit = found.groups()
    if not unit:
        raise UsageError(f"{kind} {text!r} has no unit; write {number}{next(iter(units))} or the like, e.g. {example}")
    if unit not in units:
        raise UsageError(f"{kind} {text!r}: unknown unit {unit!r}; known: {', '.join(units)}, e.g. {example}")
    value = float(number) * units[unit]
    if not math.isfinite(value):
        raise UsageError(f"{kind} {text!r} is too large, e.g. {example}")
    return value


def duration_s(text: object) -> float:
    """Read a time (``300ms``, ``20s``, ``2m``, ``1h``) as seconds.

    Raises:
        UsageError: it is no number with a unit of time.
    """
    return _read("time", text, {"s": 1.0, **_SECONDS}, "300ms, 20s or 2m")


def size_bytes(text: object) -> int:
    """Read a size (``10MB``; ``MiB`` counts in 1024s) as bytes.

    Raises:
        UsageError: it is no number with a unit of size.
    """
    return round(_read("size", text, {"MB": 1000**2, **_BYTES}, "10MB"))


def share(text: object) -> float:
    """Read a share (``20%``) as a ratio from 0 to 1.

    Raises:
        UsageError: it has no ``%``, or is more than the whole.
    """
    value = _read("share", text, _SHARES, "20%")
    if value > 1:
        raise UsageError(f"share {text!r} is more than the whole; expected 0% to 100%")
    return value


def rate_per_s(text: object) -> float:
    """Read a rate (``40/s``, ``60/m``) as events per second.

    Raises:
        UsageError: it is no number with a unit of rate.
    """
    return _read("rate", text, _PER_S, "40/s")


def format_duration(seconds: float) -> str:
    """Write a time as people do, so that `duration_s` reads it back: ``300ms``, ``1.5s``, ``2m``."""
    if seconds >= 120 and seconds % 60 == 0:
        return f"{seconds / 60:g}m"
    if 0 < seconds < 1:
        return f"{seconds * 1000:.12g}ms"
    return f"{seconds:.12g}s"
