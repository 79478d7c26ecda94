"""Uploads and variants through the gateway."""

import asyncio
import io
import uuid
from collections.abc import AsyncIterator
from time import monotonic
from typing import Any

import aiohttp
import pytest
from PIL import Image

from tracelab.platform.handle import Platform

pytestmark = pytest.mark.platform


@pytest.fixture
async def owner(platform: Platform) -> AsyncIterator[aiohttp.ClientSession]:
    """A client of the gateway who is logged in."""
    name = f"media_{uuid.uuid4().hex[:12]}"
    body = {"username": name, "email": f"{name}@example.org", "password": uuid.uuid4().hex, "display_name": name}
    async with aiohttp.ClientSession(platform.gateway, cookie_jar=aiohttp.DummyCookieJar()) as client:
        async with client.post("/api/auth/register", json=body) as response:
            assert response.status == 201, await response.text()
            token = (await response.json())["access_token"]
        client.headers["Authorization"] = f"Bearer {token}"
        yield client


def photo() -> bytes:
    """Return a JPEG that does not shrink to nothing."""
    out = io.BytesIO()
    Image.effect_noise((1600, 1200), 60).convert("RGB").save(out, "JPEG", quality=90)
    return out.getvalue()


async def upload(owner: aiohttp.ClientSession, content: bytes, *, status: int = 201) -> Any:
    """Upload content under a name that says nothing true."""
    form = aiohttp.FormData()
    form.add_field("file", io.BytesIO(content), filename="video.mp4", content_type="video/mp4")
    async with owner.post("/api/media", data=form) as response:
        assert response.status == status, await response.text()
        return await response.json()


async def test_an_image_becomes_its_variants(owner: aiohttp.ClientSession) -> None:
    """What was uploaded comes back as it was, and smaller; the metadata says when all is there."""
    content = photo()
    medium = await upload(owner, content)
    assert (medium["content_type"], medium["width"], medium["height"]) == ("image/jpeg", 1600, 1200)
    deadline = monotonic() + 20
    while medium["status"] != "ready":
        assert monotonic() < deadline, medium
        await asyncio.sleep(0.05)
        async with owner.get(f"/api/media/{medium['id']}") as response:
            medium = await response.json()
    async with owner.get(medium["urls"]["original"]) as response:
        assert await response.read() == content
        assert "immutable" in response.headers["Cache-Control"]
    for variant, side in (("thumb", 320), ("medium", 1280)):
        async with owner.get(medium["urls"][variant]) as response:
            with Image.open(io.BytesIO(await response.read())) as image:
                assert max(image.size) == side


async def test_a_variant_can_be_asked_for_before_it_is_made(owner: aiohttp.ClientSession) -> None:
    """A post may be read at once after the upload."""
    medium = await upload(owner, photo())
    async with owner.get(medium["urls"]["thumb"]) as response:
        assert response.status == 200


@pytest.mark.parametrize(
    ("asked", "start", "end"), [("bytes=10-19", 10, 20), ("bytes=1000-", 1000, None), ("bytes=-50", -50, None)]
)
async def test_a_range_is_served(owner: aiohttp.ClientSession, asked: str, start: int, end: int | None) -> None:
    """Part of a variant, from the front, the middle or the end."""
    content = photo()
    medium = await upload(owner, content)
    async with owner.get(medium["urls"]["original"], headers={"Range": asked}) as response:
        assert response.status == 206
        assert await response.read() == content[start:end]
        assert response.headers["Content-Range"].endswith(f"/{len(content)}")


async def test_what_a_browser_has_is_not_sent_again(owner: aiohttp.ClientSession) -> None:
    """The validator answers 304; a range past the end 416; what does not exist 404."""
    medium = await upload(owner, photo())
    url = medium["urls"]["original"]
    async with owner.get(url) as response:
        validator = response.headers["ETag"]
    async with owner.get(url, headers={"If-None-Match": validator}) as response:
        assert response.status == 304
    async with owner.get(url, headers={"Range": "bytes=999999999-"}) as response:
        assert response.status == 416
    async with owner.get(f"/media/{uuid.uuid4()}/thumb") as response:
        assert response.status == 404
    async with owner.get(f"/media/{medium['id']}/huge") as response:
        assert response.status == 404


async def test_only_images_are_taken(owner: aiohttp.ClientSession, platform: Platform) -> None:
    """Content decides, not the name; without a token nothing is taken; a body without a file is malformed."""
    await upload(owner, b"<html>" + b"x" * 1000, status=415)
    await upload(owner, photo()[:100], status=415)
    async with owner.post("/api/media", data=b"no form") as response:
        assert response.status == 400
    async with aiohttp.ClientSession(platform.gateway) as anonymous, anonymous.post("/api/media", data=b"") as response:
        assert response.status == 401
