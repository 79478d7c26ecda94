"""What a phone may say on a socket, and what happens to it when it says anything else."""

import asyncio
from collections.abc import Iterable
from typing import Any

import pytest

from tracelab.services.messaging.line import MAX_OWED, Garbage, Line, check

DEEP = "[" * 20_000


@pytest.mark.parametrize(
    "frame",
    ["1", "3", "41", '42["typing"]', '42["typing",{"on":true}]', '4212["message:send",{"body":"x\\ny"}]', '42/x,["a"]'],
)
def test_packets_of_a_phone_pass(frame: str) -> None:
    """Close, pong, disconnect, and events with and without an acknowledgement."""
    assert not check(frame, has_connected=True)


@pytest.mark.parametrize("frame", ["40", '40{"token":"x"}', "40/admin,", '40/admin,{"token":"x"}'])
def test_a_connection_begins_once(frame: str) -> None:
    """CONNECT comes first, with an object or nothing, and not again."""
    assert check(frame, has_connected=False)
    with pytest.raises(Garbage):
        check(frame, has_connected=True)


@pytest.mark.parametrize(
    "frame",
    [
        "",
        "garbage",
        "0",
        "2probe",
        "5",
        "6",
        "3probe",
        "b4AAA",
        "4",
        "49",
        "42",
        "42{}",
        "42[]",
        "42[1]",
        '42["a",1,2]',
        '42["connect",{"HTTP_AUTHORIZATION":"Bearer x"}]',
        '42["disconnect"]',
        '42["a"',
        "42" + DEEP,
        '42["a",' + "9" * 5000 + "]",
        '421234567890["a"]',
        '42²["a"]',
        '43["a"]',
        "44",
        '451-["a",{"_placeholder":true,"num":0}]',
        '459999999999-["a"]',
        '40["token"]',
        "401{}",
    ],
)
def test_garbage_is_told_from_packets(frame: str) -> None:
    """Other packet types, binary, reserved events, and what is no JSON, however deep or long."""
    with pytest.raises(Garbage):
        check(frame, has_connected=frame.startswith("42"))


def test_nothing_but_connect_may_come_first() -> None:
    """Events of a socket whose owner is not known are garbage."""
    with pytest.raises(Garbage):
        check('42["typing"]', has_connected=False)


class _Wire:
    """The two ends of a line: what comes is given, what goes is kept."""

    def __init__(self, comes: Iterable[Any] = ()) -> None:
        self._comes = iter(comes)
        self.went: list[Any] = []
        self.line = Line(self._receive, self._send)

    async def _receive(self) -> Any:
        return next(self._comes)

    async def _send(self, event: Any) -> None:
        self.went.append(event)


def frame(text: str | None) -> dict[str, Any]:
    return {"type": "websocket.receive", "text": text, "bytes": b"x" if text is None else None}


@pytest.mark.parametrize("bad", ["garbage", None])
async def test_garbage_closes_the_line_and_nothing_goes_over_it_any_more(bad: str | None) -> None:
    """The peer is told why (1002); the server underneath hears of an end, and may clean up."""
    wire = _Wire([frame('40{"token":"x"}'), frame(bad), frame('42["typing"]')])
    assert await wire.line.receive() == frame('40{"token":"x"}')
    assert (await wire.line.receive())["type"] == "websocket.disconnect"
    assert (await wire.line.receive())["type"] == "websocket.disconnect"
    await wire.line.send({"type": "websocket.send", "text": "2"})
    await wire.line.send({"type": "websocket.close"})
    assert [(event["type"], event["code"]) for event in wire.went] == [("websocket.close", 1002)]


async def test_a_phone_that_does_not_read_is_closed() -> None:
    """What it is behind is bounded; what is sent is no longer owed."""
    wire = _Wire()
    for _ in range(3 * MAX_OWED):
        assert wire.line.owe()
        await wire.line.send({"type": "websocket.send", "text": '42["message:new",{}]'})
    for _ in range(MAX_OWED):
        assert wire.line.owe()
    assert not wire.line.owe()
    await asyncio.sleep(0)
    assert wire.went[-1] == {"type": "websocket.close", "code": 1008, "reason": ""}


async def test_who_shows_no_token_in_time_is_closed_and_who_does_stays() -> None:
    """A connection alone is nobody's."""
    late, known = _Wire(), _Wire()
    for wire in (late, known):
        wire.line.close_after(0.01)
    known.line.accepted()
    async with asyncio.timeout(5):
        while not late.went:  # noqa: ASYNC110 - a list, and no event
            await asyncio.sleep(0.005)
    assert late.went[0]["code"] == 1008
    assert known.went == []
    late.line.ended()
    known.line.ended()
