"""http_error: requests that match are answered with `status`; the server does not see them.

The answer ends the connection, which is what lets us not care where the request's body ends. It says `X-Tracelab-Fault`
with the toxic's name. Its toxicity is drawn for each request, since clients keep connections.
"""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from tracelab.chaos.proxy.direction import Direction
from tracelab.chaos.proxy.request import Request, Requests
from tracelab.chaos.proxy.stage import Road, Stage
from tracelab.chaos.proxy.toxic import Toxic, ToxicType
from tracelab.conventions import HEADER_FAULT


class HttpError(Stage):
    """Passes what is not meant; once it has answered it drops all that still comes."""

    def __init__(self, road: Road, toxic: Toxic) -> None:
        super().__init__(road, toxic)
        self._requests = Requests(is_at_start=not road.received_bytes)
        self._number = 0
        self._is_answered = False

    def feed(self, data: bytes, at_s: float) -> None:
        """Answer what is meant."""
        if self._is_answered:
            return
        for part in self._requests.feed(data):
            if isinstance(part, bytes):
                self.out.feed(part, at_s)
                continue
            self._number += 1
            if self.toxic.match.holds(part) and self.road.draw(self.toxic, self._number) < self.toxic.toxicity:
                self._is_answered = True
                self.out.eof(at_s)
                self.road.answer(self._answer(part))
                return
            self.out.feed(part.raw, at_s)

    def eof(self, at_s: float) -> None:
        """Hand on a head that will never be complete, then the end."""
        if not self._is_answered:
            self.leave()
            self.out.eof(at_s)

    def take_over(self, old: Stage) -> None:
        """Go on where the other was in the stream."""
        if isinstance(old, HttpError):
            self._requests, self._number, self._is_answered = old._requests, old._number, old._is_answered  # noqa: SLF001

    def leave(self) -> None:
        """Hand on the beginning of a head."""
        if rest := self._requests.rest():
            self.out.feed(rest, 0.0)

    def _answer(self, request: Request) -> bytes:
        status = self.toxic.attributes["status"]
        name = self.toxic.name.encode("ascii", "backslashreplace").decode()
        name = "".join(filter(str.isprintable, name))
        body = f"{name}: injected by tracelab\n".encode()
        head = (
            f"HTTP/1.1 {status} {HTTPStatus(status).phrase if status in _KNOWN else 'Injected'}\r\n"
            f"content-type: text/plain; charset=utf-8\r\ncontent-length: {len(body)}\r\n"
            f"{HEADER_FAULT}: {name}\r\nconnection: close\r\n\r\n"
        )
        return head.encode() + (b"" if request.method == "HEAD" else body)


_KNOWN = frozenset(HTTPStatus)


def _refuse(attributes: Mapping[str, Any]) -> str | None:
    status = attributes["status"]
    if 200 <= status <= 599 and status not in (204, 205, 304):
        return None
    return f"status must be 200 to 599 and allow a body: {status}"


TYPE = ToxicType(
    name="http_error",
    go_name="HTTPErrorToxic",
    attributes={"status": "int64"},
    stage=HttpError,
    streams=(Direction.UPSTREAM,),
    refuse=_refuse,
    is_per_request=True,
)
