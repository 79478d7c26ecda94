"""Errors: a share of the requests to a component is answered with a status by the edge proxy, in its place."""

import math
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

_MOST_ATTEMPTS = 600
_MISSED = 6  # so many errors are expected among the attempts: none at all is then one chance in 400


def _status(text: str) -> int:
    if not (text.isdecimal() and 400 <= int(text) <= 599):
        raise UsageError(f"status {text!r}: expected an error, 400 to 599", hint="--status 503")
    return int(text)


def _share(text: str) -> float:
    ratio = quantity.share(text)
    if not 0 < ratio <= 1:
        raise UsageError(f"share {text!r}: expected more than nothing and at most 100%", hint="--share 20%")
    return ratio


SETTINGS: Final = (
    Setting(name="status", help="The answer.", takes="STATUS", default="503", read=_status),
    Setting(name="share", help="Which share of the requests gets it.", takes="SHARE", default="100%", read=_share),
    BAGGAGE,
)


def build(site: Site, target: str, settings: Mapping[str, str], *, ttl_s: float) -> EdgeFault:
    """Return the fault.

    Raises:
        UsageError: there is no such edge, or nothing speaks HTTP on it.
    """
    word_count(target, 1, 2)
    status, share = _status(settings.get("status", "503")), _share(settings.get("share", "100%"))
    baggage = baggage_of(settings)
    found = of_http(towards(site.topology, site.listeners, target), target, "answered with an error")
    return EdgeFault(
        kind="errors",
        target=target,
        ttl_s=ttl_s,
        harm=site.harm,
        proxy=site.proxy,
        listeners=found,
        toxics=[
            Toxic(
                edge=each.name,
                type="http_error",
                stream="upstream",
                attributes={"status": status},
                share_ratio=share,
                baggage=baggage,
            )
            for each in found
        ],
        look=_look(status, share, header_of(baggage)),
    )


def _look(status: int, share: float, headers: Mapping[str, str]) -> Look:
    attempts = min(_MOST_ATTEMPTS, math.ceil(_MISSED / share))

    def look(fault_id: str, listener: Listener) -> Effect:
        seen = [
            probe.ask(listener.address, listener.edge.protocol, timeout_s=2.0, headers=headers) for _ in range(attempts)
        ]
        ours = sum(each.status == status and each.fault.startswith(fault_id) for each in seen)
        return Effect(
            text=f"asked for {status} on {share * 100:g} %, measured {ours} of {attempts} on {listener.name}",
            is_there=ours > 0,
        )

    return look
