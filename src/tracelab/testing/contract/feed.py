"""Posts, timelines, likes, comments (sections 2 to 4)."""

from uuid import UUID

from tracelab.testing.contract.target import Contract, eventually, nobody
from tracelab.testing.person import Person


class FeedContract:
    """What feed must do."""

    async def test_post(self, contract: Contract) -> None:
        """201, a UUIDv7; anybody who is logged in reads it, with URLs of its media; 404; 422 for what is none."""
        ann, bob = await contract.people(2)
        medium = await contract.picture(ann)
        post = await contract.post(ann, " hello ", media_ids=[medium, medium])
        assert UUID(post["id"]).version == 7
        assert (post["text"], post["author_id"], post["likes"], post["comments"]) == ("hello", ann.id, 0, 0)
        shown = await contract.document("GET", f"/api/posts/{post['id']}", bob)
        assert [(m["id"], m["urls"]["thumb"]) for m in shown["media"]] == [(medium, f"/media/{medium}/thumb")]
        assert await contract.status("GET", f"/api/posts/{nobody()}", bob) == 404
        for wrong in (
            {},
            {"text": " "},
            {"text": "x" * 1001},
            {"text": "x", "more": 1},
            {"text": "x", "media_ids": [1]},
        ):
            assert await contract.status("POST", "/api/posts", ann, body=wrong) == 422, wrong

    async def test_edit_and_delete(self, contract: Contract) -> None:
        """The author alone (403); seen at once in the post and in timelines; deleted is 404."""
        ann, bob = await contract.people(2)
        await contract.ask("POST", f"/api/users/{ann.id}/follow", bob)
        post = await contract.post(ann, "one")
        path = f"/api/posts/{post['id']}"
        await eventually(lambda: self._texts(contract, bob), ["one"])
        for method in ("PATCH", "DELETE"):
            assert await contract.status(method, path, bob, body={"text": "two"}) == 403
        assert await contract.status("PATCH", path, ann, body={}) == 422
        edited = await contract.document("PATCH", path, ann, body={"text": "two"})
        assert edited["edited_at"] > post["created_at"]
        await eventually(lambda: self._texts(contract, bob), ["two"])
        assert (await contract.document("GET", path, bob))["text"] == "two"
        assert await contract.status("DELETE", path, ann) == 204
        await eventually(lambda: self._texts(contract, bob), [])
        assert [await contract.status(m, path, ann) for m in ("GET", "DELETE")] == [404, 404]

    async def test_timeline(self, contract: Contract) -> None:
        """Its owner's alone (403); own posts and those of whom one follows, newest first, each once by cursor."""
        ann, bob, cid = await contract.people(3)
        await contract.ask("POST", f"/api/users/{bob.id}/follow", ann)
        for number, author in enumerate((ann, bob, cid, bob)):
            await contract.post(author, str(number))
        await eventually(lambda: self._texts(contract, ann), ["3", "1", "0"])
        paged = await contract.pages(f"/api/timeline/{ann.id}", ann, limit=1)
        assert [item["text"] for item in paged] == ["3", "1", "0"]
        assert await contract.status("GET", f"/api/timeline/{bob.id}", ann) == 403
        await contract.ask("DELETE", f"/api/users/{bob.id}/follow", ann)
        await eventually(lambda: self._texts(contract, ann), ["0"])
        for wrong in ("limit=0", "limit=101", "cursor=x"):
            assert await contract.status("GET", f"/api/timeline/{ann.id}?{wrong}", ann) == 422, wrong

    async def test_posts_and_timelines_are_revalidated(self, contract: Contract) -> None:
        """`ETag` and `private, no-cache`; 304 until something changes."""
        (ann,) = await contract.people(1)
        post = await contract.post(ann)
        await eventually(lambda: self._texts(contract, ann), ["said"])
        for path in (f"/api/posts/{post['id']}", f"/api/timeline/{ann.id}"):
            first = await contract.ask("GET", path, ann)
            assert first.headers["Cache-Control"] == "private, no-cache"
            known = {"If-None-Match": first.headers["ETag"]}
            assert await contract.status("GET", path, ann, headers=known) == 304
            await contract.document("PATCH", f"/api/posts/{post['id']}", ann, body={"text": path})

            async def again(path: str = path, known: dict[str, str] = known) -> int:
                return await contract.status("GET", path, ann, headers=known)

            await eventually(again, 200)

    async def test_likes(self, contract: Contract) -> None:
        """Idempotent both ways; counted; 404 for a post that is not there."""
        ann, bob = await contract.people(2)
        post = await contract.post(ann)
        path = f"/api/posts/{post['id']}/like"
        counts = [(await contract.document(m, path, bob))["likes"] for m in ("POST", "POST", "DELETE", "DELETE")]
        assert counts == [1, 1, 0, 0]
        for method in ("POST", "DELETE"):
            assert await contract.status(method, f"/api/posts/{nobody()}/like", bob) == 404

    async def test_comments(self, contract: Contract) -> None:
        """201; newest first by cursor; counted in the post; 422; 404."""
        ann, bob = await contract.people(2)
        post = await contract.post(ann)
        path = f"/api/posts/{post['id']}/comments"
        for number in range(3):
            said = await contract.ask("POST", path, bob, body={"text": str(number)})
            assert (said.status, said.document["author_id"]) == (201, bob.id)
        assert [c["text"] for c in await contract.pages(path, ann, limit=2)] == ["2", "1", "0"]
        assert (await contract.document("GET", f"/api/posts/{post['id']}", ann))["comments"] == 3
        assert await contract.status("POST", path, bob, body={"text": " "}) == 422
        assert await contract.status("POST", f"/api/posts/{nobody()}/comments", bob, body={"text": "x"}) == 404
        assert await contract.status("GET", f"/api/posts/{nobody()}/comments", bob) == 404

    async def _texts(self, contract: Contract, person: Person) -> list[str]:
        page = await contract.document("GET", f"/api/timeline/{person.id}", person)
        return [item["text"] for item in page["items"]]
