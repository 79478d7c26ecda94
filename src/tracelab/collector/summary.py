"""What `tracelab status` says of caches, databases and the backend beside ours, from the metrics."""

from collections.abc import Iterator, Mapping
from typing import Any

from tracelab.collector.metrics import Family
from tracelab.collector.onward import Onward
from tracelab.conventions import (
    CACHES,
    METRIC_CACHE_READS,
    METRIC_DB_BUFFER_READS,
    METRIC_REDIS_READS,
    METRIC_STORE_UP,
)


def stores(families: Mapping[str, Family]) -> dict[str, Any]:
    """Return the share of hits of each cache (as the platform's rules count them) and of each store's own reads.

    A ratio is None before anything was read.
    """
    reads = _by(families, METRIC_CACHE_READS, "cache")
    own = {**_by(families, METRIC_DB_BUFFER_READS, "instance"), **_by(families, METRIC_REDIS_READS, "instance")}
    up = {labels["instance"]: value for labels, value in _rows(families, METRIC_STORE_UP)}
    return {
        "caches": [{"name": name, **_ratio(reads.get(name, {}))} for name in dict.fromkeys((*CACHES, *sorted(reads)))],
        "stores": [{"name": name, "is_up": value == 1, **_ratio(own.get(name, {}))} for name, value in up.items()],
    }


def onward(sender: Onward | None) -> dict[str, Any] | None:
    """Return how sending telemetry to another backend goes; None where it is not sent."""
    if sender is None:
        return None
    counts = dict(sender.counts)
    totals = {result: sum(c for (_, r), c in counts.items() if r == result) for result in _RESULTS}
    return {"url": sender.url, **totals, "waiting": sender.waiting, "why": sender.why}


_RESULTS = ("sent", "failed", "refused", "dropped")


def _ratio(results: Mapping[str, float]) -> dict[str, Any]:
    reads = sum(results.values())
    return {"reads": int(reads), "hit_ratio": round(results.get("hit", 0.0) / reads, 4) if reads else None}


def _by(families: Mapping[str, Family], metric: str, label: str) -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, float]] = {}
    for labels, value in _rows(families, metric):
        if label in labels and "result" in labels:
            results = found.setdefault(labels[label], {})
            results[labels["result"]] = results.get(labels["result"], 0.0) + value
    return found


def _rows(families: Mapping[str, Family], metric: str) -> Iterator[tuple[dict[str, str], float]]:
    for family in families.values():
        if family.name == metric:
            yield from ((dict(labels), series.value) for labels, series in family.series.items())
