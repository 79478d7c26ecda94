"""Ranges and validators of what is served (RFC 9110, sections 13 and 14). Knows no framework."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """A byte range that was asked for: from `first`, up to and including `last`, or the last `suffix` bytes."""

    first: int | None
    last: int | None
    suffix: int | None = None

    def __str__(self) -> str:
        if self.suffix is not None:
            return f"bytes=-{self.suffix}"
        return f"bytes={self.first}-{'' if self.last is None else self.last}"


def etag(media_id: str, variant: str) -> str:
    """Return the validator of a variant: what a URL shows never changes."""
    return f'"{media_id}-{variant}"'


def is_named(validator: str, header: str | None) -> bool:
    """Claim that an ``If-None-Match`` header names a validator."""
    return header is not None and (
        header.strip() == "*" or validator in (tag.strip().removeprefix("W/") for tag in header.split(","))
    )


def read_range(header: str | None) -> Span | None:
    """Read a ``Range`` header of one byte range; anything else asks for the whole (RFC 9110, 14.2)."""
    if header is None or not header.startswith("bytes=") or "," in header:
        return None
    first, dash, last = header.removeprefix("bytes=").strip().partition("-")
    if not dash or not (first or last) or not all(_is_count(part) for part in (first, last) if part):
        return None
    if not first:
        return Span(first=None, last=None, suffix=int(last))
    if last and int(last) < int(first):
        return None
    return Span(first=int(first), last=int(last) if last else None)


def _is_count(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 19
