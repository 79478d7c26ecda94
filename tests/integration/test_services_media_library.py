"""Media over a real object store: quotas, removal, crashes at any step, and the sweep after them."""

import asyncio
import io
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path
from time import monotonic, time
from typing import BinaryIO

import pytest

from tracelab.services.media import filming
from tracelab.services.media.content import UnreadableMedia
from tracelab.services.media.crew import Crew
from tracelab.services.media.domain import (
    BeingMade,
    Library,
    MediaMissing,
    Medium,
    NotTheOwner,
    OverQuota,
    Status,
    StoreUnavailable,
    entries,
)
from tracelab.services.media.repository import JsonCatalogue, S3Store
from tracelab.services.media.sweep import GRACE_S, LEAVING_S, Sweeper, Swept
from tracelab.services.media.upload import scratch
from tracelab.services.media.workshop import Workshop
from tracelab.testing.media import film, picture

_SERVER = """
import socket, sys
from tracelab.runtimes.embedded.objectstore import main
main({"data": sys.argv[2], "access_key": "key", "secret_key": "secret-secret"},
     {"http": socket.socket(fileno=int(sys.argv[1]))})
"""
QUOTA_BYTES = 200_000
ANN, BOB = "ann", "bob"
PICTURE = picture("PNG", (400, 300))


class Server:
    """An object store that can be stopped and killed."""

    def __init__(self, data: Path) -> None:
        self._data = data
        with socket.create_server(("127.0.0.1", 0)) as found:
            self.port = found.getsockname()[1]
        self.start()

    def start(self) -> None:
        """Start it on the same port and data, and wait until it answers."""
        with socket.create_server(("127.0.0.1", self.port)) as listener:
            number = listener.fileno()
            command = [sys.executable, "-c", _SERVER, str(number), str(self._data)]
            self.process = subprocess.Popen(command, pass_fds=[number])
        deadline = monotonic() + 60
        while monotonic() < deadline:
            with suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{self.port}/tracelab/health", timeout=5):
                return
            assert self.process.poll() is None
        raise AssertionError("the object store never answered")

    def kill(self) -> None:
        """End it at once."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(30)


class Instance:
    """One instance of media, without its HTTP."""

    def __init__(self, store: S3Store, crew: Crew, *, name: str = "media#1", ahead_s: float = 0.0) -> None:
        catalogue = JsonCatalogue()
        self.store = store
        self.library = Library(store=store, studio=crew, catalogue=catalogue, instance=name, quota_bytes=QUOTA_BYTES)
        self.workshop = Workshop(self.library, scratch)
        self.sweeper = Sweeper(
            library=self.library,
            store=store,
            catalogue=catalogue,
            workshop=self.workshop,
            instance=name,
            clock=lambda: time() + ahead_s,
        )

    async def upload(self, media_id: str, owner_id: str = ANN, content: bytes = PICTURE) -> Medium:
        """Add a medium whose variants nobody makes yet."""
        with scratch() as data:
            data.write(content)
            return await self.library.add(
                media_id=media_id, owner_id=owner_id, created_at="now", data=data, size_bytes=len(content)
            )

    async def made(self, medium: Medium) -> Medium:
        """Make its variants."""
        self.workshop.make(medium)
        await self.workshop.wait(medium.id, 60)
        return await self.library.medium(medium.id)

    async def names(self) -> list[str]:
        """Return everything that the bucket holds."""
        return [entry.name async for entry in entries(self.store, "")]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Yield one object store for the module."""
    started = Server(tmp_path_factory.mktemp("objects"))
    yield started
    started.kill()


@pytest.fixture(scope="module")
def crew() -> Iterator[Crew]:
    """Yield workers for the module."""
    made = Crew(filming.find(None))
    yield made
    made.close()


@pytest.fixture
async def store(server: Server, request: pytest.FixtureRequest) -> AsyncIterator[S3Store]:
    """Yield a bucket of the test's own."""
    bucket = f"bucket-{abs(hash(request.node.nodeid)) % 10**12}"
    made = S3Store(f"http://key:secret-secret@127.0.0.1:{server.port}/{bucket}", target="object-store")
    await made.prepare()
    yield made
    made.close()


@pytest.fixture
async def media(store: S3Store, crew: Crew) -> AsyncIterator[Instance]:
    """Yield one instance."""
    made = Instance(store, crew)
    yield made
    await made.sweeper.close()
    await made.workshop.close()


async def test_a_medium_is_processing_until_its_variants_exist(media: Instance) -> None:
    """Upload, variants, metadata; nothing remains to be done."""
    medium = await media.upload("m1")
    assert medium.status is Status.PROCESSING
    with pytest.raises(BeingMade):
        await media.library.open("m1", "thumb", None)
    assert (await media.made(medium)).status is Status.READY
    for variant in ("original", "thumb", "medium"):
        content = await media.library.open("m1", variant, None)
        await content.close()
    with pytest.raises(MediaMissing):
        await media.library.open("m1", "video", None)
    assert not [name for name in await media.names() if name.startswith("todo/")]


async def test_the_quota_is_kept(media: Instance) -> None:
    """What is above it is refused before and after the body, leaves nothing, and what was removed counts no more."""
    large = QUOTA_BYTES // 3 - 100
    for number in range(3):
        await media.store.put(f"owners/{ANN}/m{number}.{large}", io.BytesIO(b""), 0, "text/plain")
    assert await media.library.used_bytes(ANN) == 3 * large
    with pytest.raises(OverQuota):
        await media.library.admit(ANN, large)
    await media.library.admit(BOB, large)
    noise = picture("PNG", (60, 60)) + bytes(QUOTA_BYTES)
    before = await media.names()
    with pytest.raises(OverQuota):
        await media.upload("m9", content=noise)
    assert await media.names() == before
    for number in range(3):
        await media.library.purge(f"m{number}", ANN)
    assert await media.library.used_bytes(ANN) == 0
    await media.upload("m9")


async def test_of_uploads_at_the_same_time_none_gets_past_the_quota(media: Instance) -> None:
    """Each sees the others' claims: what is kept fits."""
    content = picture("PNG", (60, 60)) + bytes(QUOTA_BYTES // 2)
    results = await asyncio.gather(*(media.upload(f"m{n}", content=content) for n in range(4)), return_exceptions=True)
    assert all(isinstance(result, Medium | OverQuota) for result in results), results
    assert await media.library.used_bytes(ANN) <= QUOTA_BYTES


async def test_only_the_owner_removes(media: Instance) -> None:
    """Others may not, what is gone is missing, and nothing of it remains."""
    medium = await media.upload("m1")
    await media.made(medium)
    with pytest.raises(NotTheOwner):
        await media.library.owned("m1", BOB)
    await media.library.purge((await media.library.owned("m1", ANN)).id, ANN)
    with pytest.raises(MediaMissing):
        await media.library.owned("m1", ANN)
    assert await media.names() == []


async def test_what_is_removed_while_it_is_made_stays_removed(media: Instance) -> None:
    """The job ends, and writes nothing afterwards."""
    medium = await media.upload("m1", content=film("mp4"))
    media.workshop.make(medium)
    await asyncio.sleep(0)
    await media.workshop.drop("m1")
    await media.library.purge("m1", ANN)
    with scratch() as data:  # another instance's, which could not be told
        data.write(film("mp4"))
        with pytest.raises(MediaMissing):
            await media.library.make(medium, data)
    late = Instance(media.store, media.library._studio, ahead_s=GRACE_S + 60)  # type: ignore[arg-type]
    await late.sweeper.collect()
    assert await media.names() == []


async def test_everything_of_somebody_goes(media: Instance) -> None:
    """All media of one, none of another; again is no error; and what arrives late goes too, for a while."""
    for number in range(3):
        await media.made(await media.upload(f"a{number}"))
    await media.upload("a3")  # not made yet
    await media.upload("b0", BOB)
    for _ in range(2):
        assert await media.sweeper.leave(ANN, 30)
    left = await media.names()
    assert all("b0" in name or name == f"leavers/{ANN}" for name in left), left
    await media.upload("a4")
    assert (await media.sweeper.follow_up()).removed == 1
    later = Instance(media.store, media.library._studio, ahead_s=LEAVING_S + 1)  # type: ignore[arg-type]
    await later.sweeper.follow_up()
    assert f"leavers/{ANN}" not in await media.names()
    await later.workshop.close()


async def test_a_crash_in_the_middle_of_the_variants_is_resumed(media: Instance, crew: Crew) -> None:
    """The same instance takes it up at its next start, another one when it is old."""
    await media.upload("m1")
    await media.upload("m2")
    other = Instance(media.store, crew, name="media#2")
    assert await other.sweeper.follow_up() == Swept()
    again = Instance(media.store, crew, ahead_s=1)  # started after the files were written
    assert (await again.sweeper.follow_up()).resumed == 2
    for media_id in ("m1", "m2"):
        await again.workshop.wait(media_id, 60)
        assert (await media.library.medium(media_id)).status is Status.READY
    assert not [name for name in await media.names() if name.startswith("todo/")]
    await media.upload("m3")
    rescuer = Instance(media.store, crew, name="media#2", ahead_s=GRACE_S + 60)
    assert (await rescuer.sweeper.follow_up()).resumed == 1
    await rescuer.workshop.wait("m3", 60)
    assert (await media.library.medium("m3")).status is Status.READY


async def test_a_reader_has_made_what_a_crash_left(media: Instance) -> None:
    """Whoever asks first begins the making."""
    await media.upload("m1")
    await media.workshop.wait("m1", 60)
    await (await media.library.open("m1", "thumb", None)).close()


@pytest.mark.parametrize("steps", range(1, 4))
async def test_an_upload_that_never_finished_is_undone(media: Instance, crew: Crew, steps: int) -> None:
    """Whatever had been written of it goes, once it cannot be under way any more."""

    class Stop(Exception):
        pass

    class Crashing(S3Store):
        done = 0

        async def put(self, name: str, data: BinaryIO, size_bytes: int, content_type: str) -> None:
            if self.done == steps:
                raise Stop
            self.done += 1
            await media.store.put(name, data, size_bytes, content_type)

    dying = Instance(media.store, crew)
    dying.library._store = Crashing("http://key:secret@127.0.0.1:1/x", target="object-store")
    dying.library._store.list = media.store.list  # type: ignore[method-assign]
    with pytest.raises(Stop):
        await dying.upload("m1")
    assert len(await media.names()) == steps
    assert await Instance(media.store, crew, name="media#2").sweeper.follow_up() == Swept()
    assert (await Instance(media.store, crew, ahead_s=GRACE_S + 60).sweeper.follow_up()).removed == 1
    assert await media.names() == []
    with pytest.raises(MediaMissing):
        await media.library.medium("m1")


async def test_what_nobody_owns_is_collected(media: Instance, crew: Crew) -> None:
    """Objects without metadata, metadata without an owner, claims on nothing; nothing whole, nothing new."""
    await media.made(await media.upload("whole"))
    kept = await media.names()
    for name in ("media/o1/original", "media/o2/thumb", f"owners/{ANN}/o3.5000"):
        await media.store.put(name, io.BytesIO(b"x"), 1, "text/plain")
    await media.upload("o4")
    await media.store.remove(f"owners/{ANN}/o4.{len(PICTURE)}")
    await media.store.remove("todo/o4")
    assert await media.sweeper.collect() == Swept()
    old = Instance(media.store, crew, ahead_s=GRACE_S + 60)
    assert (await old.sweeper.collect()).removed == 4
    assert await media.names() == kept


async def test_an_upload_in_parts_that_never_ended_is_dropped(media: Instance) -> None:
    """The store keeps parts for ever unless somebody tells it."""
    client = media.store._client
    client._create_multipart_upload(media.store._bucket, "media/torn/original", {})
    assert await media.store.drop_uploads(time() - 60) == 0
    assert await media.store.drop_uploads(time() + 60) == 1
    assert await media.store.drop_uploads(time() + 60) == 0


async def test_a_film_has_a_poster_and_a_smaller_one(media: Instance) -> None:
    """A video's variants: two pictures, and a film; what cannot be made fails alone."""
    medium = await media.upload("m1", content=film("webm"))
    assert medium.variants == ("original", "thumb", "medium", "video")
    done = await media.made(medium)
    assert done.status is Status.READY
    content = await media.library.open("m1", "video", None)
    assert content.content_type == "video/mp4"
    await content.close()
    with pytest.raises(UnreadableMedia):
        await media.upload("m2", content=film("mp4")[:-100])


async def asked_again(media: Instance, media_id: str) -> Medium:
    """Return a medium, once the store is asked again: it has failed too often just now."""
    async with asyncio.timeout(20):
        while True:
            try:
                return await media.library.medium(media_id)
            except StoreUnavailable:
                await asyncio.sleep(0.05)


async def test_without_its_store_an_upload_is_refused_and_nothing_breaks(
    server: Server, media: Instance, crew: Crew
) -> None:
    """Every step says so, jobs wait for the store's return, and are finished then."""
    medium = await media.upload("m1")
    server.kill()
    try:
        for step in (media.library.admit(ANN, 1), media.upload("m2"), media.library.medium("m1")):
            with pytest.raises(StoreUnavailable):
                await step
        media.workshop.make(medium)
        await media.workshop.wait("m1", 30)
        assert not media.workshop.busy_with
        with pytest.raises(StoreUnavailable):
            await media.sweeper.follow_up()
    finally:
        server.start()
    assert (await asked_again(media, "m1")).status is Status.PROCESSING
    later = Instance(media.store, crew, ahead_s=30)
    assert (await later.sweeper.follow_up()).resumed == 1
    await later.workshop.wait("m1", 60)
    assert (await media.library.medium("m1")).status is Status.READY
