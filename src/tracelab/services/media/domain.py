"""What a medium is, who owns it and how much; the steps of an upload and of a removal. Knows no framework.

Everything is objects of one store::

    media/{id}/meta, original, thumb, medium, video      what is known of a medium, and its bytes
    owners/{user}/{id}.{bytes}                           whose it is, and what it counts: the quota is their sum
    todo/{id}                                            what has been begun and not finished: to be made, or to go
    leavers/{user}                                       whose media all go

An intention is written before the first byte and removed after the last, so a crash at any point leaves either
a finished medium, or a ``todo`` that `tracelab.services.media.sweep` finishes or undoes.
"""

import io
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import BinaryIO, Final, Protocol

from tracelab.services.media.byterange import Span
from tracelab.services.media.content import SNIFF_BYTES, VIDEOS, UnreadableMedia, UnsupportedMedia, sniff

MAX_UPLOAD_BYTES: Final = 100 * 1024 * 1024
MAX_BATCH: Final = 100
PAGE: Final = 1000  # objects of one listing
SIDES: Final = {"thumb": 320, "medium": 1280}  # variant -> longest side, pixels: JPEGs, of a video its poster
VARIANTS: Final = ("original", *SIDES)
FILM: Final = "video"  # an MP4 of 480 lines, of videos alone
_CONTENT_TYPE: Final = {**dict.fromkeys(SIDES, "image/jpeg"), FILM: "video/mp4"}
_META: Final = "application/json"


class Status(StrEnum):
    """How far a medium is."""

    PROCESSING = "processing"
    READY = "ready"
    FAILED = "failed"


class TooLarge(Exception):
    """The file is larger than `MAX_UPLOAD_BYTES`."""


class OverQuota(Exception):
    """With this file its owner would have more than the quota."""


class MediaMissing(Exception):
    """There is no such medium, or no such variant of it."""


class BeingMade(Exception):
    """The variant does not exist yet."""


class NotTheOwner(Exception):
    """Somebody else's medium."""


class StoreUnavailable(Exception):
    """The object store cannot be reached."""


class RangeUnsatisfiable(Exception):
    """The range lies past the end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What decoding showed; `duration_ms` of videos alone, 0 where the file does not say."""

    width: int
    height: int
    duration_ms: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Medium:
    """What is known of one medium."""

    id: str
    owner_id: str
    content_type: str
    size_bytes: int
    width: int
    height: int
    duration_ms: int | None
    created_at: str
    status: Status

    @property
    def is_video(self) -> bool:
        """Claim that it moves, and has the variant `FILM`."""
        return self.content_type in VIDEOS

    @property
    def variants(self) -> tuple[str, ...]:
        """Return what it can be asked for."""
        return (*VARIANTS, FILM) if self.is_video else VARIANTS


@dataclass(frozen=True, slots=True, kw_only=True)
class Intention:
    """What has been begun with a medium, by which instance; `is_removal`: it goes."""

    media_id: str
    owner_id: str
    by: str
    is_removal: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """An open variant: its bytes come in chunks, `content_range` is set when only a part was asked for."""

    chunks: AsyncGenerator[bytes, None]
    content_type: str
    size_bytes: int
    content_range: str | None

    async def close(self) -> None:
        """Let go of it unread."""
        await anext(self.chunks, b"")  # a generator that was never entered would clean up nothing
        await self.chunks.aclose()


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A line of a listing."""

    name: str
    modified_s: float


class ObjectStore(Protocol):
    """Where bytes are kept. Everything raises `StoreUnavailable`."""

    async def put(self, name: str, data: BinaryIO, size_bytes: int, content_type: str) -> None:
        """Store an object, whole or not at all."""
        ...

    async def get(self, name: str) -> bytes:
        """Return a small object; raise `MediaMissing`."""
        ...

    async def open(self, name: str, span: Span | None) -> Content:
        """Open an object for streaming; raise `MediaMissing` or `RangeUnsatisfiable`."""
        ...

    async def fetch(self, name: str, into: BinaryIO) -> None:
        """Copy an object into a file; raise `MediaMissing`."""
        ...

    async def list(self, prefix: str, after: str = "") -> list[Entry]:
        """Return at most `PAGE` objects whose names begin so, by name, those after `after`."""
        ...

    async def remove(self, name: str) -> None:
        """Remove an object; one that is not there is removed."""
        ...

    async def drop_uploads(self, before_s: float) -> int:
        """Forget uploads in parts that began before then and never ended; return how many."""
        ...


class Studio(Protocol):
    """Decodes and encodes somewhere else, within limits. What it returns, the caller closes."""

    async def look(self, data: BinaryIO, content_type: str) -> Facts:
        """Decode enough to know that it can be; raise `UnsupportedMedia` or `UnreadableMedia`."""
        ...

    async def stills(self, data: BinaryIO, content_type: str, sides: Mapping[str, int]) -> dict[str, BinaryIO]:
        """Return JPEGs whose longest side is at most as given; raise `UnreadableMedia`."""
        ...

    async def film(self, data: BinaryIO, content_type: str) -> dict[str, BinaryIO]:
        """Return the smaller film; raise `UnreadableMedia`."""
        ...


class Catalogue(Protocol):
    """Turns metadata into bytes and back."""

    def dump(self, value: Medium | Intention) -> bytes:
        """Return the stored form."""
        ...

    def medium(self, data: bytes) -> Medium:
        """Read a medium."""
        ...

    def intention(self, data: bytes) -> Intention:
        """Read an intention."""
        ...


def urls(media_id: str, variants: Sequence[str] = VARIANTS) -> dict[str, str]:
    """Return the path of every variant; it follows from the id alone."""
    return {variant: f"/media/{media_id}/{variant}" for variant in variants}


def batch(ids: Iterable[str]) -> dict[str, dict[str, str]]:
    """Return the paths of many media: of what every medium has."""
    return {media_id: urls(media_id) for media_id in ids}


class Library:
    """Takes uploads, makes their variants, opens and removes them."""

    def __init__(
        self, *, store: ObjectStore, studio: Studio, catalogue: Catalogue, instance: str, quota_bytes: int
    ) -> None:
        self._store = store
        self._studio = studio
        self._catalogue = catalogue
        self._instance = instance
        self._quota_bytes = quota_bytes

    # --- coming ---------------------------------------------------------------------------------

    async def admit(self, owner_id: str, size_bytes: int) -> None:
        """Claim that an owner may add so many bytes; raise `OverQuota`. Asked before a body is read."""
        used = await self.used_bytes(owner_id)
        if used + size_bytes > self._quota_bytes:
            raise OverQuota(f"{used:,} of {self._quota_bytes:,} bytes are used; remove something first")

    async def used_bytes(self, owner_id: str) -> int:
        """Return how many bytes of originals an owner has, uploads under way included."""
        return sum([int(name.rpartition(".")[2]) async for name in self._names(f"owners/{owner_id}/")])

    async def add(self, *, media_id: str, owner_id: str, created_at: str, data: BinaryIO, size_bytes: int) -> Medium:
        """Store an upload; its variants are still to be made (`make`).

        Raises:
            UnsupportedMedia: the content is nothing that we take.
            UnreadableMedia: it cannot be decoded.
            OverQuota: its owner has too much already.
            StoreUnavailable: nothing is kept for long.
        """
        data.seek(0)
        content_type = sniff(data.read(SNIFF_BYTES))
        facts = await self._studio.look(data, content_type)
        medium = Medium(
            id=media_id,
            owner_id=owner_id,
            content_type=content_type,
            size_bytes=size_bytes,
            width=facts.width,
            height=facts.height,
            duration_ms=facts.duration_ms,
            created_at=created_at,
            status=Status.PROCESSING,
        )
        await self._intend(media_id, owner_id)
        # The claim stands before it is added up, so of two uploads at the same time both see each other.
        await self._put(f"owners/{owner_id}/{media_id}.{size_bytes}", b"", _META)
        try:
            await self.admit(owner_id, 0)
        except OverQuota:
            await self.purge(media_id, owner_id)
            raise
        data.seek(0)
        await self._store.put(f"media/{media_id}/original", data, size_bytes, content_type)
        await self._remember(medium)
        return medium

    async def make(self, medium: Medium, data: BinaryIO) -> Medium:
        """Make and store the variants, then say so in the metadata.

        Raises:
            MediaMissing: it was removed in the meantime.
        """
        status = Status.READY
        try:
            await self._keep(medium, await self._studio.stills(data, medium.content_type, SIDES))
            if medium.is_video:
                await self._keep(medium, await self._studio.film(data, medium.content_type))
        except (UnreadableMedia, UnsupportedMedia):
            status = Status.FAILED
        done = replace(medium, status=status)
        await self.medium(medium.id)  # gone: what was made now must not bring it back
        await self._remember(done)
        await self._store.remove(f"todo/{medium.id}")
        return done

    # --- there ----------------------------------------------------------------------------------

    async def medium(self, media_id: str) -> Medium:
        """Return what is known of a medium; raise `MediaMissing`."""
        return self._catalogue.medium(await self._store.get(f"media/{media_id}/meta"))

    async def open(self, media_id: str, variant: str, span: Span | None) -> Content:
        """Open a variant.

        Raises:
            MediaMissing: there is no such medium or variant.
            BeingMade: there will be.
            RangeUnsatisfiable: the range lies past the end.
        """
        if variant not in (*VARIANTS, FILM):
            raise MediaMissing(f"a medium has the variants {', '.join(VARIANTS)}; asked for {variant!r}")
        try:
            return await self._store.open(f"media/{media_id}/{variant}", span)
        except MediaMissing:
            medium = await self.medium(media_id)
            if medium.status is Status.PROCESSING and variant in medium.variants:
                raise BeingMade(f"{variant} is still being made") from None
            raise

    async def fetch(self, media_id: str, into: BinaryIO) -> None:
        """Copy an original into a file; raise `MediaMissing`."""
        await self._store.fetch(f"media/{media_id}/original", into)

    # --- going ----------------------------------------------------------------------------------

    async def owned(self, media_id: str, owner_id: str) -> Medium:
        """Return a medium that is its owner's to remove; raise `MediaMissing` or `NotTheOwner`."""
        medium = await self.medium(media_id)
        if medium.owner_id != owner_id:
            raise NotTheOwner("only its owner removes a medium")
        return medium

    async def purge(self, media_id: str, owner_id: str) -> None:
        """Remove everything of a medium, whatever there is of it; idempotent."""
        await self._intend(media_id, owner_id, is_removal=True)
        await self._store.remove(f"media/{media_id}/meta")  # from now on it is gone for everybody
        async for name in self._names(f"media/{media_id}/"):
            await self._store.remove(name)
        if owner_id:
            async for name in self._names(f"owners/{owner_id}/{media_id}."):
                await self._store.remove(name)
        await self._store.remove(f"todo/{media_id}")

    async def leave(self, owner_id: str) -> None:
        """Write down that everything of somebody goes: `purge_all` does it, now or after a crash."""
        await self._put(f"leavers/{owner_id}", b"", _META)

    async def of_owner(self, owner_id: str) -> list[str]:
        """Return the ids of everything that somebody has, uploads under way included."""
        return [_id_of(name) async for name in self._names(f"owners/{owner_id}/")]

    # --- what every step does -------------------------------------------------------------------

    async def _names(self, prefix: str) -> AsyncIterator[str]:
        async for entry in entries(self._store, prefix):
            yield entry.name

    async def _keep(self, medium: Medium, made: Mapping[str, BinaryIO]) -> None:
        try:
            for variant, content in made.items():
                size_bytes = content.seek(0, io.SEEK_END)
                content.seek(0)
                name = f"media/{medium.id}/{variant}"
                await self._store.put(name, content, size_bytes, _CONTENT_TYPE[variant])
        finally:
            for content in made.values():
                content.close()

    async def _intend(self, media_id: str, owner_id: str, *, is_removal: bool = False) -> None:
        intention = Intention(media_id=media_id, owner_id=owner_id, by=self._instance, is_removal=is_removal)
        await self._put(f"todo/{media_id}", self._catalogue.dump(intention), _META)

    async def _remember(self, medium: Medium) -> None:
        await self._put(f"media/{medium.id}/meta", self._catalogue.dump(medium), _META)

    async def _put(self, name: str, content: bytes, content_type: str) -> None:
        await self._store.put(name, io.BytesIO(content), len(content), content_type)


async def entries(store: ObjectStore, prefix: str) -> AsyncIterator[Entry]:
    """Yield all objects whose names begin so; what is removed meanwhile does not disturb."""
    page = await store.list(prefix)
    while page:
        for entry in page:
            yield entry
        page = await store.list(prefix, page[-1].name) if len(page) == PAGE else []


def _id_of(name: str) -> str:
    """Return the medium of ``owners/{user}/{id}.{bytes}``."""
    return name.rpartition("/")[2].partition(".")[0]
