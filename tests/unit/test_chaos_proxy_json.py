"""JSON as Go has it, and addresses: what the differences to Python's are."""

import asyncio
import json

import pytest

from tracelab.chaos.proxy import address, gojson
from tracelab.chaos.proxy.gojson import BadJson, Number, Object


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (b' {"a": [1, -2.5e3, true, null]} what follows', [("a", ["1", "-2.5e3", True, None])]),
        (b'"\\u00e9\\ud83d\\ude00\\n"', "é😀\n"),
        (b"5", "5"),
        (b'"\\ud800"', "\ufffd"),
        (b'{"a":1,"a":2}', [("a", "1"), ("a", "2")]),
        (b"[]", []),
    ],
)  # fmt: skip
def test_the_first_value_is_read(text: bytes, value: object) -> None:
    """Objects keep their pairs, numbers their spelling; half a surrogate is replaced."""
    assert gojson.parse(text) == value


@pytest.mark.parametrize("text", ["EOF:", "EOF: \n", "unexpected EOF:[", 'unexpected EOF:"a', "unexpected EOF:-"])
def test_an_end_is_named(text: str) -> None:
    """Nothing at all, or the middle of something."""
    message, _, body = text.partition(":")
    with pytest.raises(BadJson, match=f"^{message}$"):
        gojson.parse(body.encode())


def test_depth_is_bounded() -> None:
    """An error, not a stack that overflows."""
    with pytest.raises(BadJson, match="exceeded max depth"):
        gojson.parse(b"[" * 100_000)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1.0, "1"), (0.0, "0"), (0.1, "0.1"), (1e-7, "1e-7"), (1e-6, "0.000001"), (1e25, "1e+25"),
        (16777217.0, "16777216"),
        (0.30000001192092896, "0.3"), (-0.5, "-0.5"), (3.4028235e38, "3.4028235e+38"), (1e20, "100000000000000000000"),
    ],
)  # fmt: skip
def test_floats_are_written_as_float32(value: float, text: str) -> None:
    """In the fewest digits, without an exponent as long as Go has none."""
    assert gojson.float32(value) == text
    assert float(json.loads(text)) == pytest.approx(value, rel=1e-6)


def test_text_is_safe_in_html() -> None:
    """As Go writes it; everything else stays what it is."""
    assert (
        gojson.encode({"é<": ["&>\u2028\n", True, None, 7]}) == '{"é\\u003c":["\\u0026\\u003e\\u2028\\n",true,null,7]}'
    )


def test_fields_are_found_in_any_case() -> None:
    """The last one counts, null leaves a field alone, and nested objects are merged."""
    known = gojson.fields({"name": "string", "rate": "int64", "attributes": "object"})
    value = Object([
        ("NAME", "a"), ("name", "b"), ("Rate", Number("5")), ("rate", None), ("other", True),
        ("attributes", Object([("x", True)])), ("ATTRIBUTES", Object([("y", False)])),
    ])  # fmt: skip
    found = gojson.decode(value, known, struct="T", whole="T")
    assert found == {"name": "b", "rate": 5, "attributes": [("x", True), ("y", False)]}


@pytest.mark.parametrize(
    ("text", "shown"),
    [("127.0.0.1:80", "127.0.0.1:80"), ("[::1]:80", "[::1]:80"), (":80", ":80"), ("", ":0"),
     ("127.0.0.1:", "127.0.0.1:0"),
     ("127.0.0.1:http", "127.0.0.1:80"), ("127.0.0.1:+80", "127.0.0.1:80")],
)  # fmt: skip
def test_addresses_are_written_as_go_does(text: str, shown: str) -> None:
    """Resolved, with brackets where there are colons."""
    assert str(asyncio.run(address.resolve(text))) == shown


def test_a_name_is_looked_up() -> None:
    """IPv4 first."""
    assert str(asyncio.run(address.resolve("localhost:80"))) == "127.0.0.1:80"
    with pytest.raises(address.AddressError, match=r"lookup no\.such\.invalid: no such host"):
        asyncio.run(address.resolve("no.such.invalid:80"))
