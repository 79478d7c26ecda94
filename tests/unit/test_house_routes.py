"""The topology's routes are the services' own: the gateway is configured from the former."""

import importlib
import json
from typing import Any

import pytest

from tracelab.platform.social import SOCIAL
from tracelab.platform.topology import Component, Kind, Protocol
from tracelab.settings import edge_variable, roles_variable, service

URLS = {
    Protocol.POSTGRESQL: "postgresql://role:secret@127.0.0.1:1/name",
    Protocol.REDIS: "redis://:secret@127.0.0.1:1/0",
    Protocol.S3: "http://access:secret@127.0.0.1:1/media",
    Protocol.HTTP: "http://127.0.0.1:1",
}


def openapi(component: Component) -> Any:
    """Return what a service says of itself."""
    environment = {
        "TRACELAB_SERVICE": component.name,
        "TRACELAB_INSTANCE": f"{component.name}#1",
        "TRACELAB_SERVICE_TOKEN": "token",
        **{edge_variable(e.target): URLS[e.protocol] for e in SOCIAL.edges_from(component.name) if e.protocol in URLS},
        **{roles_variable(c.name): "owner:secret,system:secret" for c in SOCIAL.of_kind(Kind.DATABASE)},
    }
    module, _, factory = str(component.app).partition(":")
    served: Any = getattr(importlib.import_module(module), factory)(service(environment))
    return served.app.openapi()


def routes(component: Component) -> set[tuple[str, str]]:
    """Return what the service itself serves."""
    return {(method.upper(), path) for path, methods in openapi(component)["paths"].items() for method in methods}


@pytest.mark.parametrize("component", SOCIAL.of_kind(Kind.SERVICE, Kind.IDENTITY_PROVIDER), ids=lambda c: c.name)
def test_declared_routes_are_the_services_own(component: Component) -> None:
    """Nothing is declared that is not served, and nothing served that is not declared; health is not in an OpenAPI."""
    declared = {(route.method, route.template) for route in component.routes if "/health/" not in route.template}
    assert routes(component) == declared


@pytest.mark.parametrize("component", SOCIAL.of_kind(Kind.SERVICE), ids=lambda c: c.name)
def test_every_error_is_documented_as_a_problem(component: Component) -> None:
    """Also the 422 of a parameter, which FastAPI documents by itself in a form of its own."""
    document = openapi(component)
    errors = [
        (path, method, status, kind)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
        for status, response in operation["responses"].items()
        for kind in response.get("content", {})
        if int(status) >= 400
    ]
    assert errors
    assert {kind for *_, kind in errors} == {"application/problem+json"}
    assert "ValidationError" not in json.dumps(document)
