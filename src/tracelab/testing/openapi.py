"""The platform's OpenAPI: what each service says of itself, merged (``python -m tracelab.testing.openapi``)."""

import importlib
import json
import sys
from pathlib import Path
from typing import Any, Final

from tracelab import settings
from tracelab.platform.openapi import PATH
from tracelab.platform.social import SOCIAL
from tracelab.platform.topology import Component, Kind, Protocol
from tracelab.services.kit.problem import problems

_NOWHERE: Final = {  # a service that describes itself asks no edge
    Protocol.POSTGRESQL: "postgresql://role:secret@127.0.0.1:1/name",
    Protocol.REDIS: "redis://:secret@127.0.0.1:1/0",
    Protocol.S3: "http://access:secret@127.0.0.1:1/media",
    Protocol.HTTP: "http://127.0.0.1:1",
}

_BY_THE_GATEWAY: Final = {str(status): answer for status, answer in problems(414, 431).items()}


def document_of(component: Component) -> Any:
    """Return what a service says of itself, internal endpoints included."""
    environment = {
        "TRACELAB_SERVICE": component.name,
        "TRACELAB_INSTANCE": f"{component.name}#1",
        "TRACELAB_SERVICE_TOKEN": "token",
        **{
            settings.edge_variable(edge.target): _NOWHERE[edge.protocol]
            for edge in SOCIAL.edges_from(component.name)
            if edge.protocol in _NOWHERE
        },
    }
    module, _, factory = str(component.app).partition(":")
    served: Any = getattr(importlib.import_module(module), factory)(settings.service(environment))
    return served.app.openapi()


def merged() -> dict[str, Any]:
    """Return one document of everything that the gateway routes.

    Raises:
        ValueError: two services mean different things by one name.
    """
    paths: dict[str, Any] = {}
    components: dict[str, dict[str, Any]] = {}
    for service in SOCIAL.of_kind(Kind.SERVICE):
        document = document_of(service)
        public = {(route.method.lower(), route.template) for route in service.routes if route.is_public}
        for path, operations in document["paths"].items():
            for method, operation in operations.items():
                if (method, path) in public:
                    operation["responses"] |= _BY_THE_GATEWAY
                    paths.setdefault(path, {})[method] = {"tags": [service.name], **operation}
        for kind, definitions in document.get("components", {}).items():
            for name, definition in definitions.items():
                if components.setdefault(kind, {}).setdefault(name, definition) != definition:
                    raise ValueError(f"{service.name} means something else by {name} than the service before it")
    whole = {
        "openapi": "3.1.0",
        "info": {"title": "tracelab's social platform", "version": "1"},
        "tags": [{"name": service.name} for service in SOCIAL.of_kind(Kind.SERVICE)],
        "paths": paths,
        "components": components,
    }
    return _without_unused(whole)


def render() -> str:
    """Return the document as it is committed."""
    return json.dumps(merged(), indent=1, ensure_ascii=False) + "\n"


def _without_unused(document: dict[str, Any]) -> dict[str, Any]:
    """Drop definitions that no public operation reaches: those of internal endpoints."""
    for kind, reference in (("schemas", '"#/components/schemas/{}"'), ("securitySchemes", '"{}": []')):
        while True:
            text = json.dumps(document)
            unused = [name for name in document["components"][kind] if reference.format(name) not in text]
            if not unused:
                break
            for name in unused:
                del document["components"][kind][name]
    return document


if __name__ == "__main__":
    Path(sys.argv[1] if len(sys.argv) > 1 else str(PATH)).write_text(render(), encoding="utf-8")
