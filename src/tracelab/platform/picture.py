"""Draw a topology as SVG: who talks to whom, read off the same data that everything else is derived from.

``python -m tracelab.platform.picture > docs/platform.svg``
"""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from html import escape

from tracelab.platform.social import WHOLE
from tracelab.platform.topology import Component, Edge, Kind, Topology

_WIDTH = 116
_HEIGHT = 40
_GAP_X = 30
_GAP_Y = 92
_MARGIN = 24
_LEGEND = 54
_LONG = 16  # characters of a name that fit into its box
_ASIDE = (_WIDTH + _GAP_X / 4) / 2
_COLOURS = {
    Kind.GATEWAY: "#7c3aed",
    Kind.SERVICE: "#2563eb",
    Kind.DATABASE: "#0f766e",
    Kind.CACHE: "#b91c1c",
    Kind.OBJECT_STORE: "#a16207",
    Kind.IDENTITY_PROVIDER: "#be185d",
    Kind.COLLECTOR: "#475569",
}
_MEANINGS = {
    Kind.GATEWAY: "NGINX",
    Kind.SERVICE: "service (FastAPI)",
    Kind.DATABASE: "PostgreSQL server",
    Kind.CACHE: "Valkey server",
    Kind.OBJECT_STORE: "S3 storage",
    Kind.IDENTITY_PROVIDER: "OpenID and OAuth",
    Kind.COLLECTOR: "everybody sends to it",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Box:
    """Where a component stands, in pixels."""

    component: Component
    x: float
    y: float

    @property
    def centre(self) -> float:
        return self.x + _WIDTH / 2


def draw(topology: Topology) -> str:
    """Return an SVG document: the gateway above the services, each service above its stores, standbys below all."""
    boxes = {b.component.name: b for b in _placed(topology)}
    width = max(b.x for b in boxes.values()) + _WIDTH + _MARGIN
    height = max(b.y for b in boxes.values()) + _HEIGHT + _MARGIN + _LEGEND
    lines = [
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" '
            f'font-family="ui-sans-serif, system-ui, sans-serif" font-size="13">'
        ),
        f"<title>{escape(topology.name)}: {len(boxes)} components, {len(topology.edges)} edges</title>",
        f'<rect width="{width:g}" height="{height:g}" fill="#ffffff"/>',
        *(_arrowhead(kind, colour) for kind, colour in _COLOURS.items()),
        *(_line(e, boxes) for e in topology.edges if not e.is_telemetry),
        *(text for box in boxes.values() for text in _rectangle(box)),
        *_legend(topology, height),
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def _placed(topology: Topology) -> Iterator[_Box]:
    """Yield every component's place: columns are services, and a store stands below the first that uses it."""
    services = topology.of_kind(Kind.SERVICE)
    step = 2 * (_WIDTH + _GAP_X / 2)
    columns = {s.name: _MARGIN + i * step for i, s in enumerate(services)}
    middle = _MARGIN + (len(services) * step - _GAP_X / 2 - _WIDTH) / 2
    rows = {name: _MARGIN + i * (_HEIGHT + _GAP_Y) for i, name in enumerate(("top", "services", "stores", "standbys"))}
    for gateway in topology.of_kind(Kind.GATEWAY):
        yield _Box(component=gateway, x=middle, y=rows["top"])
    for collector in topology.of_kind(Kind.COLLECTOR):
        yield _Box(component=collector, x=max(columns.values()) + _WIDTH / 2 + _GAP_X / 4, y=rows["top"])
    for provider in topology.of_kind(Kind.IDENTITY_PROVIDER):
        callers = [e.source for e in topology.edges if e.target == provider.name and e.source in columns]
        yield _Box(component=provider, x=columns[callers[0]] + (_WIDTH + _GAP_X / 4) / 2, y=rows["top"])
    for service in services:
        stores = [
            topology.component(e.target)
            for e in topology.edges_from(service.name)
            if topology.component(e.target).kind in (Kind.DATABASE, Kind.CACHE, Kind.OBJECT_STORE)
            and topology.component(e.target).replica_of is None
        ]
        left = columns[service.name]
        yield _Box(component=service, x=left + (_WIDTH + _GAP_X / 4) / 2, y=rows["services"])
        for position, store in enumerate(stores):
            offset = position * (_WIDTH + _GAP_X / 4) if len(stores) > 1 else (_WIDTH + _GAP_X / 4) / 2
            yield _Box(component=store, x=left + offset, y=rows["stores"])
            for standby in (c for c in topology.components if c.replica_of == store.name):
                # A little aside, so that the line of those who read there passes its primary.
                yield _Box(component=standby, x=left + offset + _ASIDE, y=rows["standbys"])


def _arrowhead(kind: Kind, colour: str) -> str:
    return (
        f'<marker id="{kind}" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="6" markerHeight="6" orient="auto">'
        f'<path d="M0 0 L8 4 L0 8 z" fill="{colour}"/></marker>'
    )


def _line(edge: Edge, boxes: dict[str, _Box]) -> str:
    source, target = boxes[edge.source], boxes[edge.target]
    kind = target.component.kind
    style = f'fill="none" stroke="{_COLOURS[kind]}" stroke-opacity="0.6" stroke-width="1.4" marker-end="url(#{kind})"'
    if source.y == target.y:
        # One service calls another: an arc above the row, the higher the farther.
        rise = 14 + abs(source.centre - target.centre) / 16
        a, b = source.centre, target.centre
        lean = 12 if a < b else -12
        top = f"{(a + b) / 2:g} {source.y - 2 * rise:g}"
        return f'<path d="M{a + lean:g} {source.y:g} Q{top} {b - lean:g} {target.y:g}" {style}/>'
    if source.y > target.y:
        return f'<path d="M{source.centre:g} {source.y:g} L{target.centre:g} {target.y + _HEIGHT:g}" {style}/>'
    return f'<path d="M{source.centre:g} {source.y + _HEIGHT:g} L{target.centre:g} {target.y:g}" {style}/>'


def _rectangle(box: _Box) -> Iterator[str]:
    colour, name = _COLOURS[box.component.kind], box.component.name
    size = ' font-size="11"' if len(name) > _LONG else ""
    yield (
        f'<rect x="{box.x:g}" y="{box.y:g}" width="{_WIDTH}" height="{_HEIGHT}" rx="7" '
        f'fill="#ffffff" stroke="{colour}" stroke-width="1.8"{_dashed(box.component)}/>'
    )
    yield (
        f'<text x="{box.centre:g}" y="{box.y + _HEIGHT / 2 + 4.5:g}" text-anchor="middle" fill="{colour}"{size}>'
        f"{escape(name)}</text>"
    )


def _dashed(component: Component) -> str:
    return ' stroke-dasharray="5 3"' if component.replica_of else ""


def _legend(topology: Topology, height: float) -> Iterator[str]:
    kinds = [k for k in _COLOURS if topology.of_kind(k)]
    for position, kind in enumerate(kinds):
        x = _MARGIN + position * 178
        yield f'<circle cx="{x + 5:g}" cy="{height - 28:g}" r="5" fill="{_COLOURS[kind]}"/>'
        yield f'<text x="{x + 17:g}" y="{height - 23.5:g}" fill="#334155">{escape(_MEANINGS[kind])}</text>'
    if any(c.replica_of for c in topology.components):
        yield f'<text x="{_MARGIN}" y="{height - 46:g}" fill="#334155">dashed: with --db-replicas</text>'


if __name__ == "__main__":
    sys.stdout.write(draw(WHOLE))
