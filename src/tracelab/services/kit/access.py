"""Who may ask: an OpenAPI says of each operation which token it needs."""

from collections.abc import Iterator, Sequence
from typing import Any, Final

from fastapi import APIRouter, FastAPI
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute

from tracelab.conventions import HEADER_SERVICE_TOKEN
from tracelab.services.kit.viewer import internal, viewer

_SCHEMES: Final = {
    viewer: ("access", {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}),
    internal: ("service", {"type": "apiKey", "in": "header", "name": HEADER_SERVICE_TOKEN}),
}


def document_access(app: FastAPI, routers: Sequence[APIRouter]) -> None:
    """Have the OpenAPI name the token of every operation whose route depends on `viewer` or `internal`."""
    generate = app.openapi

    def openapi() -> dict[str, Any]:
        document = generate()
        routes = [route for router in routers for route in router.routes if isinstance(route, APIRoute)]
        for route in (route for route in routes if route.include_in_schema):
            for call in _calls(route.dependant):
                if call not in _SCHEMES:
                    continue
                name, scheme = _SCHEMES[call]
                document.setdefault("components", {}).setdefault("securitySchemes", {})[name] = scheme
                for method in route.methods or ():
                    document["paths"][route.path_format][method.lower()]["security"] = [{name: []}]
        return document

    app.openapi = openapi  # type: ignore[method-assign]  # as FastAPI's documentation has it


def _calls(dependant: Dependant) -> Iterator[Any]:
    for needed in dependant.dependencies:
        yield needed.call
        yield from _calls(needed)
