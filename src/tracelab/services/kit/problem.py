"""Errors on the wire: RFC 9457 ``application/problem+json``, with the trace id."""

import logging
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.exceptions import HTTPException

from tracelab.services.kit.refusal import Refused
from tracelab.telemetry.tracing import note_error_type, trace_id

log = logging.getLogger(__name__)
_MEDIA_TYPE: Final = "application/problem+json"


class ProblemOut(BaseModel):
    """An error as it goes over the wire."""

    type: str
    title: str
    status: int
    detail: str
    trace_id: str


_SCHEMA: Final = {**ProblemOut.model_json_schema(), "title": "Problem"}
_REFERENCE: Final = {"$ref": "#/components/schemas/Problem"}


class Problem(Exception):
    """An answer that is an error: raised by routes, or made from a domain's exceptions (`install`)."""

    def __init__(
        self, status: int, detail: str, *, retry_after_s: int | None = None, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.headers = dict(headers or {})
        if retry_after_s is not None:
            self.headers["Retry-After"] = str(retry_after_s)


def problem_response(problem: Problem) -> Response:
    """Return the response of a problem."""
    body = ProblemOut(
        type="about:blank",
        title=HTTPStatus(problem.status).phrase,
        status=problem.status,
        detail=problem.detail,
        trace_id=trace_id(),
    )
    return Response(body.model_dump_json(), problem.status, problem.headers, media_type=_MEDIA_TYPE)


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return what a route says in its OpenAPI about the errors that it answers."""
    return {
        status: {"description": HTTPStatus(status).phrase, "content": {_MEDIA_TYPE: {"schema": _REFERENCE}}}
        for status in statuses
    }


def document_refusals(app: FastAPI) -> None:
    """Have the OpenAPI say how a refused request is answered: unless told, FastAPI documents a form of its own."""
    generate = app.openapi

    def openapi() -> dict[str, Any]:
        document = generate()
        for operations in document.get("paths", {}).values():
            for operation in operations.values():
                refused = operation["responses"].get("422")
                if refused is not None and _MEDIA_TYPE not in refused["content"]:
                    operation["responses"]["422"] = problems(422)[422]
        schemas = document.setdefault("components", {}).setdefault("schemas", {})
        schemas["Problem"] = _SCHEMA
        for name in ("HTTPValidationError", "ValidationError"):
            schemas.pop(name, None)
        return document

    app.openapi = openapi  # type: ignore[method-assign]  # as FastAPI's documentation has it


def install(app: FastAPI, translations: Mapping[type[Exception], int]) -> None:
    """Answer every error as a problem; `translations` gives the status of a domain's own exceptions.

    An exception says by `retry_after_s` when it is worth trying again; a 503 always is.
    A database that does not answer, or whose pool is full, is a 503 that may be tried again.
    """

    async def known(_request: Request, error: Exception) -> Response:
        status = next(status for kind, status in translations.items() if isinstance(error, kind))
        retry_after_s = getattr(error, "retry_after_s", 1 if status == 503 else None)
        return problem_response(Problem(status, str(error), retry_after_s=retry_after_s))

    async def ready_made(_request: Request, error: Exception) -> Response:
        assert isinstance(error, Problem)
        return problem_response(error)

    async def refused(_request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        if isinstance(error.__cause__, UnicodeError):  # FastAPI calls other bodies that are no JSON unprocessable
            return problem_response(Problem(422, "body: expected JSON in UTF-8"))
        return problem_response(Problem(error.status_code, str(error.detail), headers=error.headers))

    async def invalid(_request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        wrong = "; ".join(f"{'.'.join(str(part) for part in e['loc'])}: {e['msg']}" for e in error.errors()[:5])
        return problem_response(Problem(422, wrong))

    async def refused_by_policy(_request: Request, error: Exception) -> Response:
        assert isinstance(error, Refused)
        note_error_type(error.error_type)
        return problem_response(Problem(503, str(error), retry_after_s=1))

    async def no_database(_request: Request, error: Exception) -> Response:
        note_error_type(getattr(error, "error_type", ""))
        log.warning("the database does not answer", extra={"error": type(error).__name__})
        return problem_response(Problem(503, "the database does not answer; try again", retry_after_s=1))

    async def unforeseen(_request: Request, error: Exception) -> Response:
        log.error("unforeseen error", exc_info=error)
        return problem_response(Problem(500, "something went wrong here"))

    for kind in translations:
        app.add_exception_handler(kind, known)
    app.add_exception_handler(Problem, ready_made)
    app.add_exception_handler(HTTPException, refused)
    app.add_exception_handler(RequestValidationError, invalid)
    for kind in (OperationalError, InterfaceError, PoolTimeout):
        app.add_exception_handler(kind, no_database)
    app.add_exception_handler(Refused, refused_by_policy)
    app.add_exception_handler(Exception, unforeseen)
