"""The types of toxic, one module each: Toxiproxy's, then ours."""

from tracelab.chaos.proxy.toxic import ToxicType
from tracelab.chaos.proxy.toxics import (
    bandwidth,
    connect_timeout,
    corrupt,
    http_error,
    http_latency,
    latency,
    limit_data,
    loss,
    noop,
    refuse,
    reset_peer,
    slicer,
    slow_close,
    timeout,
)

TYPES: dict[str, ToxicType] = {
    module.TYPE.name: module.TYPE
    for module in (
        bandwidth,
        latency,
        limit_data,
        noop,
        reset_peer,
        slicer,
        slow_close,
        timeout,
        connect_timeout,
        corrupt,
        http_error,
        http_latency,
        loss,
        refuse,
    )
}
