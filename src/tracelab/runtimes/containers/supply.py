"""See that images are there: pull what is pinned, build what is ours; say which one cannot be had, and what to do."""

from collections.abc import Callable
from typing import Any, Final

import docker
from docker.errors import APIError, BuildError, DockerException, ImageNotFound

from tracelab import settings
from tracelab.errors import InfrastructureError
from tracelab.runtimes.containers.image import TRACELAB, checkout, is_stale, reference, source, variable

_BUILD_LIMIT_S: Final = 1800

OnText = Callable[[str], None]


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
            if found is None or (settings.image(word) is None and is_stale(dict(found.labels))):
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
            hint=f"docker pull {name}; or name another: {variable(word)}=IMAGE tracelab up --images upstream; "
            "or tracelab up --images bundled",
        ) from cause


def _build(client: docker.DockerClient, name: str, on_text: OnText) -> None:
    folder = checkout()
    if folder is None or settings.image(TRACELAB) is not None:
        raise InfrastructureError(
            f"the image {name} is not here, and there is no checkout of tracelab to build it from",
            hint=f"in a checkout: docker build -t {name} . ; or name another: {variable(TRACELAB)}=IMAGE tracelab up",
        )
    on_text(f"building {name} from {folder}, once; this takes some minutes")
    arguments = {"SOURCE": source()}
    base = settings.base_image()
    if base is not None:
        arguments["BASE_IMAGE"] = base
    try:
        client.images.build(
            path=str(folder), tag=name, buildargs=arguments, rm=True, forcerm=True, timeout=_BUILD_LIMIT_S
        )
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
