"""The topology's routes are the services' own: the gateway is configured from the former."""

import json

import pytest

from tracelab.platform import openapi
from tracelab.platform.social import SOCIAL
from tracelab.platform.topology import Component, Kind
from tracelab.testing.openapi import document_of, render

ASKS_NO_TOKEN = {
    "POST /api/auth/register",
    "POST /api/auth/login",
    "POST /api/auth/refresh",  # has a token of its own
    "GET /api/auth/google",
    "GET /api/auth/github",
    "GET /api/auth/{provider}/callback",
    "POST /api/validate/token",
    "GET /.well-known/jwks.json",
    "GET /media/{media_id}/{variant}",
}


def routes(component: Component) -> set[tuple[str, str]]:
    """Return what the service itself serves."""
    return {(method.upper(), path) for path, methods in document_of(component)["paths"].items() for method in methods}


@pytest.mark.parametrize("component", SOCIAL.of_kind(Kind.SERVICE, Kind.IDENTITY_PROVIDER), ids=lambda c: c.name)
def test_declared_routes_are_the_services_own(component: Component) -> None:
    """Nothing is declared that is not served, and nothing served that is not declared; health is not in an OpenAPI."""
    declared = {(route.method, route.template) for route in component.routes if "/health/" not in route.template}
    assert routes(component) == declared


@pytest.mark.parametrize("component", SOCIAL.of_kind(Kind.SERVICE), ids=lambda c: c.name)
def test_every_error_is_documented_as_a_problem(component: Component) -> None:
    """Also the 422 of a parameter, which FastAPI documents by itself in a form of its own."""
    document = document_of(component)
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


def test_the_committed_openapi_is_the_services_own() -> None:
    """What the gateway publishes is what the services say: `just render` writes it."""
    assert openapi.text() == render()


def test_the_openapi_says_which_token_is_needed() -> None:
    """Of every public operation but those that log somebody in, or serve anybody."""
    paths = json.loads(openapi.text())["paths"]
    found = {f"{method.upper()} {path}": o for path, methods in paths.items() for method, o in methods.items()}
    secured = {name: operation for name, operation in found.items() if operation.get("security") == [{"access": []}]}
    assert found.keys() - secured.keys() == ASKS_NO_TOKEN
    assert all("401" in operation["responses"] for operation in secured.values())
