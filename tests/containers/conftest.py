"""A container engine for the tests of this folder, or a loud word that they cannot run here.

With `TRACELAB_ENGINE_REQUIRED` set (CI does, where it could start an engine) they fail instead of saying so.
`TRACELAB_BASE_IMAGE` names what our image is built upon, where the Dockerfile's own base cannot be pulled.
"""

import fcntl
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest

from tracelab.errors import InfrastructureError
from tracelab.runtimes.containers import engine, glance, image, supply


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark everything below this folder."""
    for item in items:
        if "containers" in item.path.parts:
            item.add_marker(pytest.mark.containers)
            item.add_marker(pytest.mark.timeout(900))  # the first one may have to build the image


def cannot(why: str) -> None:
    """Say that these tests cannot run here; fail where somebody said that they can."""
    if os.environ.get("TRACELAB_ENGINE_REQUIRED"):
        pytest.fail(f"TRACELAB_ENGINE_REQUIRED is set, but {why}", pytrace=False)
    pytest.skip(f"cannot run here because {why}")


@pytest.fixture(scope="session", autouse=True)
def bundled() -> str:
    """Return the bundled image, built from this checkout where it is not there or not current."""
    if not glance.is_answering():
        cannot(f"no container engine answers at {glance.address() or 'any of the usual places'}")
    try:
        with (
            (Path(tempfile.gettempdir()) / "tracelab-tests-image.lock").open("w") as lock,
            engine.connected() as client,
        ):
            fcntl.flock(lock, fcntl.LOCK_EX)  # one of several processes builds it
            supply.ensure(client, (image.TRACELAB,), lambda _text: None)
    except InfrastructureError as cause:
        cannot(cause.message)
    return image.reference(image.TRACELAB)


@pytest.fixture
def client() -> Iterator[docker.DockerClient]:
    """Yield a client of the engine."""
    with engine.connected() as found:
        yield found
