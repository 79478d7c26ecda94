"""Metrics as Prometheus reads them: its text format 0.0.4, and OpenMetrics 1.0, which can carry exemplars."""

from collections.abc import Mapping
from typing import Final

from tracelab.collector.metrics import Exemplar, Family, Labels, Series

TEXT: Final = "text/plain; version=0.0.4; charset=utf-8"
OPEN_METRICS: Final = "application/openmetrics-text; version=1.0.0; charset=utf-8"


def is_open(accept: str) -> bool:
    """Claim that an ``Accept`` header asks for OpenMetrics."""
    return "application/openmetrics-text" in accept


def render(families: Mapping[str, Family], *, is_open_metrics: bool) -> str:
    """Return all families, sorted by name; exemplars in OpenMetrics alone, since the older format has none."""
    lines: list[str] = []
    for name, family in sorted(families.items()):
        shown = name.removesuffix("_total") if is_open_metrics and family.kind == "counter" else name
        lines += [f"# HELP {shown} {_help(family.help)}", f"# TYPE {shown} {family.kind}"]
        for labels, series in sorted(family.series.items()):
            if family.kind == "histogram":
                lines += _histogram(name, labels, series, is_open_metrics=is_open_metrics)
            else:
                lines.append(_sample(name, labels, series.value))
    if is_open_metrics:
        lines.append("# EOF")
    return "\n".join(lines) + "\n" if lines else ""


def _histogram(name: str, labels: Labels, series: Series, *, is_open_metrics: bool) -> list[str]:
    lines = []
    seen = 0
    for index, count in enumerate(series.buckets):
        seen += count
        edge = _edge(series.bounds[index], is_open_metrics=is_open_metrics) if index < len(series.bounds) else "+Inf"
        line = _sample(f"{name}_bucket", (*labels, ("le", edge)), seen)
        exemplar = series.exemplars.get(index)
        lines.append(line + _exemplar(exemplar) if is_open_metrics and exemplar is not None else line)
    lines.append(_sample(f"{name}_sum", labels, series.value))
    lines.append(_sample(f"{name}_count", labels, series.count))
    return lines


def _edge(bound: float, *, is_open_metrics: bool) -> str:
    text = f"{bound:g}"
    return f"{text}.0" if is_open_metrics and "." not in text and "e" not in text else text


def _exemplar(exemplar: Exemplar) -> str:
    return f' # {{trace_id="{exemplar.trace_id}"}} {exemplar.value:.15g} {exemplar.at_s:.3f}'


def _sample(name: str, labels: Labels, value: float) -> str:
    inside = ",".join(f'{key}="{_escape(text)}"' for key, text in labels)
    return f"{name}{{{inside}}} {value:.15g}" if inside else f"{name} {value:.15g}"


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _help(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", " ")
