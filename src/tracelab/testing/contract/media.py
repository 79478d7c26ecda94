"""Uploads, variants, serving, removal (sections 2 and 4)."""

from typing import Any

from tracelab.testing.contract.target import Contract, eventually, nobody
from tracelab.testing.media import film, picture, png_bomb
from tracelab.testing.person import Person

TOO_LARGE_BYTES = 115 << 20


class MediaContract:
    """What media must do."""

    async def test_variants(self, contract: Contract) -> None:
        """201 `processing`, then `ready`: original, thumb and medium, served to whoever has the id."""
        ann, bob = await contract.people(2)
        content = picture("PNG", (1600, 1200))
        medium = await contract.upload(ann, content)
        assert (medium["owner_id"], medium["content_type"], medium["size_bytes"]) == (ann.id, "image/png", len(content))
        assert medium["status"] in ("processing", "ready")
        await self._ready(contract, bob, medium["id"])
        assert medium["urls"].keys() == {"original", "thumb", "medium"}
        for variant, kind in (("original", "image/png"), ("thumb", "image/jpeg"), ("medium", "image/jpeg")):
            status, body, headers = await self._fetch(contract, f"/media/{medium['id']}/{variant}")
            assert (status, headers["Content-Type"]) == (200, kind)
            assert variant != "original" or body == content
        assert (await self._fetch(contract, f"/media/{medium['id']}/huge"))[0] == 404
        assert await contract.status("GET", f"/api/media/{nobody()}", bob) == 404

    async def test_video(self, contract: Contract) -> None:
        """A video has a poster in two sizes."""
        (ann,) = await contract.people(1)
        medium = await contract.upload(ann, film("mp4"))
        await self._ready(contract, ann, medium["id"])
        status, _, headers = await self._fetch(contract, f"/media/{medium['id']}/thumb")
        assert (status, headers["Content-Type"]) == (200, "image/jpeg")

    async def test_serving(self, contract: Contract) -> None:
        """Immutable; `ETag` 304; one `Range` 206; past the end 416 with the size; nothing that it could run."""
        (ann,) = await contract.people(1)
        content = picture("PNG", (64, 64))
        url = f"/media/{(await contract.upload(ann, content))['id']}/original"
        _, _, headers = await self._fetch(contract, url)
        assert "immutable" in headers["Cache-Control"]
        assert headers["X-Content-Type-Options"] == "nosniff"
        known = {"If-None-Match": headers["ETag"]}
        assert (await self._fetch(contract, url, **known))[0] == 304
        for asked, part in (("bytes=0-9", content[:10]), ("bytes=10-", content[10:]), ("bytes=-5", content[-5:])):
            status, body, _ = await self._fetch(contract, url, Range=asked)
            assert (status, body) == (206, part), asked
        status, _, headers = await self._fetch(contract, url, Range="bytes=999999-")
        assert (status, headers["Content-Range"]) == (416, f"bytes */{len(content)}")

    async def test_content_decides(self, contract: Contract) -> None:
        """Not the name: 415 for what is not taken, 422 for what is torn, disguised or a bomb, 400 for no form."""
        (ann,) = await contract.people(1)
        for foreign in (b"<html>" + b" " * 999, b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"MZ" + bytes(200)):
            problem = await contract.upload(ann, foreign, status=415)
            assert problem["status"] == 415
        for hostile in (
            picture("PNG")[:-20],
            picture("GIF", mode="P")[:-1],
            picture("JPEG") + b"<script>",
            png_bomb(30_000),
        ):
            await contract.upload(ann, hostile, status=422)
        headers = {"Authorization": f"Bearer {ann.token}"}
        async with contract.session.post("/api/media", data=b"no form", headers=headers) as reply:
            assert reply.status == 400

    async def test_too_large(self, contract: Contract) -> None:
        """413 for a file that says it is too large, before it is sent."""
        (ann,) = await contract.people(1)
        sent = {"Content-Type": "multipart/form-data; boundary=X", "Content-Length": str(TOO_LARGE_BYTES)}
        headers = {"Authorization": f"Bearer {ann.token}", **sent}

        async def nothing() -> Any:
            yield b"--X"

        async with contract.session.post("/api/media", data=nothing(), headers=headers) as reply:
            assert reply.status == 413

    async def test_removal(self, contract: Contract) -> None:
        """Its owner's alone: 403, 204, then 404, of the metadata and of every variant."""
        ann, bob = await contract.people(2)
        medium = await contract.picture(ann)
        path = f"/api/media/{medium}"
        assert [await contract.status("DELETE", path, who) for who in (bob, ann, ann)] == [403, 204, 404]

        async def gone() -> list[int]:
            return [
                await contract.status("GET", path, bob),
                (await self._fetch(contract, f"/media/{medium}/original"))[0],
            ]

        await eventually(gone, [404, 404])

    async def _ready(self, contract: Contract, person: Person, medium: str) -> None:
        async def status() -> str:
            return str((await contract.document("GET", f"/api/media/{medium}", person))["status"])

        await eventually(status, "ready", within_s=60)

    async def _fetch(self, contract: Contract, url: str, **headers: str) -> tuple[int, bytes, Any]:
        async with contract.session.get(url, headers=headers) as reply:
            return reply.status, await reply.read(), reply.headers
