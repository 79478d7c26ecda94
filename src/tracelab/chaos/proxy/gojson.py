"""JSON as Go's encoding/json reads and writes it, with its error texts, which Toxiproxy's clients and users know.

Reading: the first value counts and what follows it is ignored; keys match in any case; null leaves a field as it was;
of a key given twice the last counts; a float is no integer.
"""

import json
import re
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, NoReturn

_DEPTH = 200  # Go's is 10,000
_SPACE = b" \t\r\n"
_ESCAPES = {0x62: "\b", 0x66: "\f", 0x6E: "\n", 0x72: "\r", 0x74: "\t", 0x22: '"', 0x5C: "\\", 0x2F: "/"}
_QUOTED = {7: "\\a", 8: "\\b", 9: "\\t", 10: "\\n", 11: "\\v", 12: "\\f", 13: "\\r", 0x27: "\\'", 0x5C: "\\\\"}
_INTEGER = re.compile(r"-?[0-9]+")
_INT64 = range(-(2**63), 2**63)


class BadJson(ValueError):
    """What Go would say."""


class Number(str):
    """A number as it is spelled."""

    __slots__ = ()


class Object(list[tuple[str, Any]]):
    """An object's pairs in their order, as often as they were given."""


def parse(data: bytes) -> Any:
    """Return the first value: Object, list, str, Number, bool or None.

    Raises:
        BadJson: ``EOF`` where there is nothing, ``unexpected EOF`` where it ends in the middle, else what is wrong.
    """
    if not data.strip(_SPACE):
        raise BadJson("EOF")
    return _Scanner(data).value("looking for beginning of value", 0)


class _Scanner:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def value(self, where: str, depth: int) -> Any:
        byte = self._next(skip_space=True)
        if depth > _DEPTH:
            raise BadJson("exceeded max depth")
        if byte == 0x7B:
            return self._object(depth)
        if byte == 0x5B:
            return self._array(depth)
        if byte == 0x22:
            return self._string()
        if byte == 0x2D or 0x30 <= byte <= 0x39:
            return self._number(byte)
        for word, meant in ((b"true", True), (b"false", False), (b"null", None)):
            if byte == word[0]:
                for expected in word[1:]:
                    if self._next() != expected:
                        self._fail(f"in literal {word.decode()} (expecting {_quoted(expected)})")
                return meant
        return self._fail(where)

    def _next(self, *, skip_space: bool = False) -> int:
        data = self._data
        while skip_space and self._at < len(data) and data[self._at] in _SPACE:
            self._at += 1
        if self._at >= len(data):
            raise BadJson("unexpected EOF")
        self._at += 1
        return data[self._at - 1]

    def _fail(self, where: str) -> NoReturn:
        raise BadJson(f"invalid character {_quoted(self._data[self._at - 1])} {where}")

    def _object(self, depth: int) -> Object:
        pairs = Object()
        byte = self._next(skip_space=True)
        if byte == 0x7D:
            return pairs
        while True:
            if byte != 0x22:
                self._fail("looking for beginning of object key string")
            key = self._string()
            if self._next(skip_space=True) != 0x3A:
                self._fail("after object key")
            pairs.append((key, self.value("looking for beginning of value", depth + 1)))
            byte = self._next(skip_space=True)
            if byte == 0x7D:
                return pairs
            if byte != 0x2C:
                self._fail("after object key:value pair")
            byte = self._next(skip_space=True)

    def _array(self, depth: int) -> list[Any]:
        values: list[Any] = []
        if self._next(skip_space=True) == 0x5D:
            return values
        self._at -= 1
        while True:
            values.append(self.value("looking for beginning of value", depth + 1))
            byte = self._next(skip_space=True)
            if byte == 0x5D:
                return values
            if byte != 0x2C:
                self._fail("after array element")

    def _string(self) -> str:
        parts: list[str] = []
        begin = self._at
        while (byte := self._next()) != 0x22:
            if byte < 0x20:
                self._fail("in string literal")
            if byte != 0x5C:
                continue
            parts.append(self._data[begin : self._at - 1].decode("utf-8", "replace"))
            parts.append(self._escape())
            begin = self._at
        parts.append(self._data[begin : self._at - 1].decode("utf-8", "replace"))
        joined = "".join(parts)
        # Two escapes may be one character (a surrogate pair); half of one is none.
        return joined.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")

    def _escape(self) -> str:
        byte = self._next()
        if byte == 0x75:
            code = 0
            for _ in range(4):
                digit = self._next()
                if chr(digit) not in "0123456789abcdefABCDEF":
                    self._fail("in \\u hexadecimal character escape")
                code = code * 16 + int(chr(digit), 16)
            return chr(code)
        if byte not in _ESCAPES:
            self._fail("in string escape code")
        return _ESCAPES[byte]

    def _number(self, byte: int) -> Number:
        begin = self._at - 1
        if byte == 0x2D:
            byte = self._next()
            if not 0x30 <= byte <= 0x39:
                self._fail("in numeric literal")
        if byte != 0x30:
            self._digits()
        if self._peek() == 0x2E:
            self._at += 1
            self._need_digit("after decimal point in numeric literal")
        if self._peek() in (0x65, 0x45):
            self._at += 1
            if self._peek() in (0x2B, 0x2D):
                self._at += 1
            self._need_digit("in exponent of numeric literal")
        return Number(self._data[begin : self._at].decode())

    def _peek(self) -> int:
        return self._data[self._at] if self._at < len(self._data) else -1

    def _digits(self) -> None:
        while 0x30 <= self._peek() <= 0x39:
            self._at += 1

    def _need_digit(self, where: str) -> None:
        if not 0x30 <= self._next() <= 0x39:
            self._fail(where)
        self._digits()


def _quoted(byte: int) -> str:
    if byte in _QUOTED:
        return f"'{_QUOTED[byte]}'"
    if 0x20 <= byte < 0x7F or (byte > 0xA0 and byte != 0xAD):
        return f"'{chr(byte)}'"
    return f"'\\x{byte:02x}'" if byte < 0x80 else f"'\\u00{byte:02x}'"


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """A field of a Go struct.

    Kinds are ``string``, ``bool``, ``int``, ``int64``, ``float32``, ``float64`` and ``object``. Go's errors call the
    field `path`, and its type `go_type` where that is not its kind.
    """

    name: str
    kind: str
    path: str
    go_type: str = ""


def fields(kinds: Mapping[str, str], prefix: str = "") -> tuple[Field, ...]:
    """Return fields of a struct by their kinds."""
    return tuple(Field(name=name, kind=kind, path=prefix + name) for name, kind in kinds.items())


def decode(value: Any, known: Iterable[Field], *, struct: str, whole: str) -> dict[str, Any]:
    """Return what an object says of fields; what it leaves out, or says null of, is not among it.

    `struct` is Go's name of the type in errors about a field, `whole` its type in an error about the value as a whole.

    Raises:
        BadJson: a value is not of its field's kind.
    """
    if value is None:
        return {}
    if not isinstance(value, Object):
        raise mistyped(value, whole)
    by_name = {field.name: field for field in known}
    found: dict[str, Any] = {}
    for key, item in value:
        field = by_name.get(key) or by_name.get(key.casefold())
        if field is None or item is None:
            continue
        try:
            read = _read(item, field.kind)
        except ValueError as cause:
            raise BadJson(
                f"json: cannot unmarshal {cause} into Go struct field {struct}.{field.path}"
                f" of type {field.go_type or field.kind}"
            ) from None
        found[field.name] = Object([*found.get(field.name, ()), *read]) if isinstance(read, Object) else read
    return found


def mistyped(value: Any, go_type: str) -> BadJson:
    """Return the error of a value that cannot be of a type."""
    return BadJson(f"json: cannot unmarshal {_kind(value)} into Go value of type {go_type}")


def _kind(value: Any) -> str:
    for kind, name in ((bool, "bool"), (Number, "number"), (str, "string"), (Object, "object"), (list, "array")):
        if isinstance(value, kind):
            return name
    raise TypeError(type(value))


def _read(value: Any, kind: str) -> Any:
    if kind == "object" and isinstance(value, Object):
        return value
    if kind == "string" and isinstance(value, str) and not isinstance(value, Number):
        return value
    if kind == "bool" and isinstance(value, bool):
        return value
    if not isinstance(value, Number) or kind in ("string", "bool", "object"):
        raise ValueError(_kind(value))
    if kind.startswith("int"):
        if not _INTEGER.fullmatch(value) or len(value) > 20 or int(value) not in _INT64:
            raise ValueError(f"number {value}")
        return int(value)
    number = float(value)
    if kind == "float32":
        try:
            (number,) = struct.unpack("f", struct.pack("f", number))
        except OverflowError:
            raise ValueError(f"number {value}") from None
    if number in (float("inf"), float("-inf")):
        raise ValueError(f"number {value}")
    return number


def encode(value: Any) -> str:
    """Return a value as Go writes it: no spaces, and nothing that HTML would take for markup. Floats are float32."""
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{encode(str(key))}:{encode(item)}" for key, item in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ",".join(map(encode, value)) + "]"
    if isinstance(value, float):
        return float32(value)
    text = json.dumps(value, ensure_ascii=False)
    if isinstance(value, str):
        for character in "<>&\u2028\u2029":
            text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def float32(value: float) -> str:
    """Return the shortest digits that are the float32 next to a number."""
    value = _as_float32(value)
    digits = next(text for text in (f"{value:.{n}e}" for n in range(17)) if _as_float32(float(text)) == value)
    if value and not _as_float32(1e-6) <= abs(value) < _as_float32(1e21):
        mantissa, _, exponent = digits.partition("e")
        return f"{mantissa}e{exponent[0]}{exponent[1:].lstrip('0') if exponent[0] == '-' else exponent[1:]}"
    plain = f"{Decimal(digits):f}"
    return plain.rstrip("0").rstrip(".") if "." in plain else plain


def _as_float32(value: float) -> float:
    (number,) = struct.unpack("f", struct.pack("f", value))
    return float(number)
