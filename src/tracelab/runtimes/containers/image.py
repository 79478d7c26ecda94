"""Which image each component runs from, whether it is there, and how it gets there."""

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import docker
from docker.errors import APIError, BuildError, DockerException, ImageNotFound

import tracelab
from tracelab import settings
from tracelab.errors import InfrastructureError, UnknownName
from tracelab.runtimes.containers import glance, label

BUNDLED: Final = "bundled"
UPSTREAM: Final = "upstream"
TRACELAB: Final = "tracelab"
_LOCK: Final = Path(__file__).with_name("images.lock")
_PACKAGE: Final = Path(tracelab.__file__).parent
_CHECKOUT: Final = _PACKAGE.parent.parent
_IN_IMAGE: Final = ("Dockerfile", "pyproject.toml", "src/tracelab")

OnText = Callable[[str], None]


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
        yield from sorted(p for p in found if p.is_file() and "__pycache__" not in p.parts)


def checkout() -> Path | None:
    """Return the folder that the bundled image can be built from, if this package stands in one."""
    return _CHECKOUT if all((_CHECKOUT / name).exists() for name in _IN_IMAGE) else None


def is_there() -> bool:
    """Claim, by a glance, that the bundled image is there, and not built from other sources than these."""
    labels = glance.labels_of(reference(TRACELAB))
    return labels is not None and not _is_stale(labels)


def _is_stale(labels: dict[str, str]) -> bool:
    """Claim that we built it ourselves, from other sources; one that somebody else built is theirs to judge."""
    built_from = labels.get(label.SOURCE, "")
    return bool(built_from and source() and built_from != source())


def ensure(client: docker.DockerClient, words: tuple[str, ...], on_text: OnText) -> None:
    """See that the images of some words are there: pull what is pinned, build what is ours.

    Raises:
        InfrastructureError: one can be neither found nor had; the message says which, and how to get or replace it.
    """
    for word in words:
        name = reference(word)
        try:
            found = client.images.get(name)
        except ImageNotFound:
            found = None
        if word == TRACELAB:
            if found is None or (settings.image(word) is None and _is_stale(dict(found.labels))):
                _build(client, name, on_text)
        elif found is None:
            _pull(client, word, name, on_text)


def _pull(client: docker.DockerClient, word: str, name: str, on_text: OnText) -> None:
    on_text(f"pulling {name}")
    try:
        client.images.pull(name)
    except DockerException as cause:
        raise InfrastructureError(
            f"the image {name} of {word} is not here, and cannot be pulled: {_said(cause)}",
            hint=f"docker pull {name}; or name another: {_variable(word)}=IMAGE tracelab up --images upstream; "
            "or tracelab up --images bundled",
        ) from cause


def _build(client: docker.DockerClient, name: str, on_text: OnText) -> None:
    folder = checkout()
    if folder is None or settings.image(TRACELAB) is not None:
        raise InfrastructureError(
            f"the image {name} is not here, and there is no checkout of tracelab to build it from",
            hint=f"in a checkout: docker build -t {name} . ; or name another: {_variable(TRACELAB)}=IMAGE tracelab up",
        )
    on_text(f"building {name} from {folder}, once; this takes some minutes")
    arguments = {"SOURCE": source()}
    base = settings.base_image()
    if base is not None:
        arguments["BASE_IMAGE"] = base
    try:
        client.images.build(path=str(folder), tag=name, buildargs=arguments, rm=True, forcerm=True, timeout=1800)
    except BuildError as cause:
        said = "".join(str(line.get("stream", line.get("error", ""))) for line in _lines(cause))
        raise InfrastructureError(
            f"the image {name} cannot be built: {cause.msg}\n" + said[-1500:], hint=_by_hand(name)
        ) from cause
    except APIError as cause:
        raise InfrastructureError(f"the image {name} cannot be built: {_said(cause)}", hint=_by_hand(name)) from cause


def _by_hand(name: str) -> str:
    return (
        f"docker build -t {name} . ; where its base cannot be pulled, TRACELAB_BASE_IMAGE names any Debian-based image"
        " with Python 3.11 or newer"
    )


def _lines(cause: BuildError) -> list[dict[str, Any]]:
    return [line for line in cause.build_log if isinstance(line, dict)]


def _said(cause: DockerException) -> str:
    return str(getattr(cause, "explanation", None) or cause)


def _variable(word: str) -> str:
    return f"TRACELAB_IMAGE_{word.upper().replace('-', '_')}"
