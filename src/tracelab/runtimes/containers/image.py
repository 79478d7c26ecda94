"""Which image each component runs from, and whether ours is there. Nothing here imports the engine's library."""

import hashlib
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Final

import tracelab
from tracelab import settings
from tracelab.errors import UnknownName
from tracelab.platform.topology import Kind
from tracelab.runtimes.containers import glance, label

BUNDLED: Final = "bundled"
UPSTREAM: Final = "upstream"
TRACELAB: Final = "tracelab"
_LOCK: Final = Path(__file__).with_name("images.lock")
_PACKAGE: Final = Path(tracelab.__file__).parent
_CHECKOUT: Final = _PACKAGE.parent.parent
_IN_IMAGE: Final = ("Dockerfile", "pyproject.toml", "src/tracelab")
# The word of the image that each kind of store (and the gateway) runs from, where it is not ours.
MAKERS: Final = {
    Kind.DATABASE: "postgres",
    Kind.CACHE: "valkey",
    Kind.OBJECT_STORE: "object-store",
    Kind.GATEWAY: "nginx",
}
# Rooms that no component runs: a change there makes no image old.
_NOT_RUN: Final = ("chaos", "cli", "experiment", "gate", "report", "testing")


def chosen_set(asked: str | None) -> str:
    """Return which set of images is meant: asked for, ``TRACELAB_IMAGES``, else the bundled one.

    Raises:
        UnknownName: there is no such set.
    """
    word = asked or settings.images() or BUNDLED
    if word not in (BUNDLED, UPSTREAM):
        raise UnknownName("set of images", word, (BUNDLED, UPSTREAM), hint="tracelab up --images bundled")
    return word


def locked() -> dict[str, str]:
    """Return the lock file: the pinned image of each word."""
    lines = [line.split() for line in _LOCK.read_text(encoding="utf-8").splitlines()]
    return {words[0]: words[1] for words in lines if words and not words[0].startswith("#")}


def reference(word: str) -> str:
    """Return the image of a word: its setting, else what is pinned; for ``tracelab`` the bundled one."""
    default = f"{TRACELAB}:{tracelab.__version__}" if word == TRACELAB else locked()[word]
    return settings.image(word) or default


def chosen(images: str) -> dict[str, str]:
    """Return the image of each word in a set; in the bundled one it is ours, where no setting replaces it."""
    ours = {TRACELAB: reference(TRACELAB)}
    if images == UPSTREAM:
        return {word: reference(word) for word in locked()} | ours
    return {word: settings.image(word) or ours[TRACELAB] for word in MAKERS.values()} | ours


def replaced(kinds: Collection[Kind]) -> list[str]:
    """Return the words of the images that a setting replaces, of some kinds of component."""
    return [word for kind, word in MAKERS.items() if kind in kinds and settings.image(word)]


def source() -> str:
    """Return a hash of what the bundled image is built from; empty where this is no checkout."""
    if checkout() is None:
        return ""
    digest = hashlib.sha256()
    for path in _sources():
        digest.update(str(path.relative_to(_CHECKOUT)).encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _sources() -> Iterator[Path]:
    for name in _IN_IMAGE:
        path = _CHECKOUT / name
        found = [path] if path.is_file() else path.rglob("*")
        yield from sorted(p for p in found if p.is_file() and "__pycache__" not in p.parts and not _is_not_run(p))


def _is_not_run(path: Path) -> bool:
    return path.is_relative_to(_PACKAGE) and path.relative_to(_PACKAGE).parts[0] in _NOT_RUN


def checkout() -> Path | None:
    """Return the folder that the bundled image can be built from, if this package stands in one."""
    return _CHECKOUT if all((_CHECKOUT / name).exists() for name in _IN_IMAGE) else None


def is_there() -> bool:
    """Claim, by a glance, that the bundled image is there, and not built from other sources than these."""
    labels = glance.labels_of(reference(TRACELAB))
    return labels is not None and not is_stale(labels)


def is_stale(labels: dict[str, str]) -> bool:
    """Claim that we built it ourselves, from other sources; one that somebody else built is theirs to judge."""
    built_from = labels.get(label.SOURCE, "")
    return bool(built_from and source() and built_from != source())


def variable(word: str) -> str:
    """Return the setting that replaces the image of a word."""
    return f"TRACELAB_IMAGE_{word.upper().replace('-', '_')}"
